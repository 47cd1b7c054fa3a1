"""A fake of the commands: writes down how it was called. See `mlc_fake`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from .model import WEIGHTS
from .model import write as write_folder

FLAGS = {
    "convert_weight": ("--quantization", "--device"),
    "gen_config": (
        "--quantization", "--conv-template", "--context-window-size", "--prefill-chunk-size",
    ),
    "compile": ("--quantization", "--device", "--opt"),
}  # fmt: skip
PARTS = {
    "convert_weight": (WEIGHTS, "tensor-cache.json"),
    "gen_config": ("mlc-chat-config.json", "tokenizer.json"),
    "compile": ("lib.so",),
}


def main() -> None:
    command, *rest = sys.argv[1:]
    parser = argparse.ArgumentParser()
    parser.add_argument("source", type=Path)
    parser.add_argument("--output", "-o", type=Path, required=True)
    for flag in FLAGS[command]:
        parser.add_argument(flag, required=True)
    told = vars(parser.parse_args(rest))
    source, output = told.pop("source"), told.pop("output")
    if not source.exists():
        sys.exit(f"{source} does not exist")
    folder = output.parent if command == "compile" else output
    folder.mkdir(parents=True, exist_ok=True)
    whole = folder / "whole"
    write_folder(whole)
    for name in PARTS[command]:
        (whole / name).rename(folder / name)
    for path in whole.iterdir():
        path.unlink()
    whole.rmdir()
    with (folder / "calls.jsonl").open("a") as log:
        log.write(json.dumps([command, told]) + "\n")


main()
