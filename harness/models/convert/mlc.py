"""Hugging Face folder -> MLC folder, through MLC-LLM's own commands.

Run as `python mlc.py JOB`, where JOB is JSON: {"source": folder, "target": folder, "options":
{"precision": "bf16" | "f16" | "int4", "conv_template": "chatml", "device": "cpu", …}}. Prints one
JSON line {"tool", "versions"}; `--versions` prints it and does nothing else. Stands alone: it runs
under any interpreter that has mlc_llm with a TVM that can compile.

- MLC-LLM's quantization q0f32 computes in float32, but stores the weights rounded to bfloat16:
  so the precision is called bf16.
- `conv_template` names an entry of MLC-LLM's own registry. There is no default: a wrong one changes
  every chat, and the model's own template is never read.
- The library is compiled for one `device`, one context and one size of prefill step.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

TOOL = "mlc"
MODULES = ("mlc_llm", "tvm")
QUANTIZATIONS = {"bf16": "q0f32", "f16": "q0f16", "int4": "q4f32_1"}
OPTIONS = {"conv_template", "device", "opt", "context_window_size", "prefill_chunk_size"}
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
CHUNK = 2048


def main(argument: str) -> None:
    """Do one job, or say which tools would do it."""
    if argument != "--versions":
        job = json.loads(argument)
        source, target = Path(job["source"]).resolve(), Path(job["target"]).resolve()
        options = dict(job.get("options") or {})
        precision = str(options.pop("precision", ""))
        if precision not in QUANTIZATIONS:
            expected = ", ".join(sorted(QUANTIZATIONS))
            raise ValueError(f"precision {precision!r}: expected one of {expected}")
        if unknown := sorted(set(options) - OPTIONS):
            raise ValueError(f"unknown options {unknown}: {TOOL} takes {sorted(OPTIONS)}")
        if "conv_template" not in options:
            raise ValueError("which chat template of MLC-LLM: give the option `conv_template`")
        if target.exists():
            raise FileExistsError(f"{target}: exists already")
        convert(source, target, QUANTIZATIONS[precision], options)
    sys.stdout.write(json.dumps({"tool": TOOL, "versions": versions()}) + "\n")


def versions() -> dict[str, str]:
    """Of the modules that decide the output; without importing them. Wheels' names vary by device."""
    known = packages_distributions()
    found = {}
    for name in MODULES:
        if name in known:
            found[name] = f"{known[name][0]} {version(known[name][0])}"
        else:  # a build by hand lies on the path, without any metadata
            found[name] = "unknown" if find_spec(name) else "missing"
    return found


def convert(source: Path, target: Path, quantization: str, options: dict[str, object]) -> None:
    """Weights, settings with the tokenizer's files, and the compiled library."""
    context, chunk = sizes(source, options)
    device = str(options.get("device", "cpu"))
    quantized = ["--quantization", quantization]
    run("convert_weight", source, *quantized, "--device", device, "--output", target)
    run(
        "gen_config", source, *quantized, "--conv-template", options["conv_template"],
        "--context-window-size", context, "--prefill-chunk-size", chunk, "--output", target,
    )  # fmt: skip
    run(
        "compile", target / "mlc-chat-config.json", *quantized, "--device", device,
        "--opt", options.get("opt", "O2"), "--output", target / "lib.so",
    )  # fmt: skip


def sizes(source: Path, options: dict[str, object]) -> tuple[int, int]:
    """Tokens of the context, by default all that the model is made for, and of a prefill step."""
    try:
        config = json.loads((source / "config.json").read_text("utf-8"))
    except FileNotFoundError:
        said = f"{source}: no Hugging Face folder (config.json is missing)"
        raise FileNotFoundError(said) from None
    if config.get("rope_theta") is None:
        raise ValueError(f"{source}: no rope_theta in config.json: MLC-LLM would take 10000")
    context = int(str(options.get("context_window_size", config["max_position_embeddings"])))
    return context, min(context, int(str(options.get("prefill_chunk_size", CHUNK))))


def run(command: str, *arguments: object) -> None:
    """In a process of its own; its talk is kept for the error message only."""
    done = subprocess.run(
        [sys.executable, "-m", "mlc_llm", command, *map(str, arguments)],
        env={**os.environ, **OFFLINE},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode != 0:
        said = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        raise RuntimeError(f"{command} failed: {said[-1] if said else 'in silence'}")


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) == 2 else "")
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        sys.exit(f"{TOOL}: {type(error).__name__}: {reason}")
