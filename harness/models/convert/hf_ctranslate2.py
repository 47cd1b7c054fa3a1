"""Hugging Face folder -> CTranslate2 folder, through CTranslate2's own converter.

Run as `python hf_ctranslate2.py JOB`, where JOB is JSON: {"source": folder, "target": folder,
"options": {"precision": "f32" | "int8"}}. Prints one JSON line {"tool", "versions"}; `--versions`
prints it and does nothing else. Stands alone: it runs under any interpreter that has ctranslate2
with transformers and torch.

The tokenizer is copied beside the weights: CTranslate2 itself has none. int8 quantises the linear
layers and the embeddings, by row; what is left stays float32.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

TOOL = "hf-ctranslate2"
PACKAGES = ("ctranslate2", "transformers", "torch")
PRECISIONS = {"f32": "float32", "int8": "int8"}
TOKENIZER = "tokenizer.json"
SPECIAL = ("bos_token", "eos_token", "unk_token")


def main(argument: str) -> None:
    """Do one job, or say which tools would do it."""
    if argument != "--versions":
        job = json.loads(argument)
        source, target, options = Path(job["source"]), Path(job["target"]), job.get("options") or {}
        if set(options) != {"precision"} or options["precision"] not in PRECISIONS:
            expected = ", ".join(PRECISIONS)
            raise ValueError(f"options {options}: expected precision alone, one of {expected}")
        if not (source / "config.json").is_file():
            raise FileNotFoundError(f"{source}: no Hugging Face folder (config.json is missing)")
        if target.exists():
            raise FileExistsError(f"{target}: exists already")
        convert(source, target, PRECISIONS[options["precision"]])
    sys.stdout.write(json.dumps({"tool": TOOL, "versions": versions()}) + "\n")


def versions() -> dict[str, str]:
    """Of the packages that decide the output; without importing them."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def convert(source: Path, target: Path, quantization: str) -> None:
    """Write weights, vocabulary and tokenizer of `source` into the folder `target`."""
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1")
    converters = import_module("ctranslate2.converters")
    converter = converters.TransformersConverter(str(source), copy_files=[TOKENIZER])
    converter.convert(str(target), quantization=quantization)
    name_every_token(target / "config.json")


def name_every_token(config: Path) -> None:
    """An empty name for a special token that the model lacks."""
    # The engine (4.8.5) refuses null here, which its converter writes for a model without BOS;
    # elsewhere null is a value, such as a layer_norm_epsilon, and the engine refuses a text.
    content = json.loads(config.read_text("utf-8"))
    content.update({name: "" for name in SPECIAL if name in content and content[name] is None})
    config.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) == 2 else "")
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        sys.exit(f"{TOOL}: {type(error).__name__}: {reason}")
