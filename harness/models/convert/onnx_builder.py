"""Hugging Face folder -> ONNX folder, through onnxruntime-genai's own model builder, for the CPU.

Run as `python onnx_builder.py JOB`, where JOB is JSON: {"source": folder, "target": folder,
"options": {"precision": "fp32" | "int4" | …, "<builder's extra option>": value}}. Prints one JSON
line {"tool", "versions"}; `--versions` prints it and does nothing else. Stands alone: it runs under
any interpreter that has onnxruntime-genai with onnx, onnx-ir, onnxruntime, transformers and torch.

Options beside `precision` go to the builder as its `--extra_options` (`block_size`,
`accuracy_level`, …) and belong into the artifact's provenance: they change the model.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

TOOL = "onnx-builder"
PACKAGES = ("onnxruntime-genai", "onnxruntime", "onnx", "onnx-ir", "transformers", "torch")
PRECISIONS = {"f32": "fp32", "fp32": "fp32", "int4": "int4", "int8": "int8"}
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def main(argument: str) -> None:
    """Do one job, or say which tools would do it."""
    if argument != "--versions":
        job = json.loads(argument)
        source, target = Path(job["source"]).resolve(), Path(job["target"]).resolve()
        options = dict(job.get("options") or {})
        precision = str(options.pop("precision", ""))
        if precision not in PRECISIONS:
            expected = ", ".join(sorted(PRECISIONS))
            raise ValueError(f"precision {precision!r} on cpu: expected one of {expected}")
        if not (source / "config.json").is_file():
            raise FileNotFoundError(f"{source}: no Hugging Face folder (config.json is missing)")
        if target.exists():
            raise FileExistsError(f"{target}: exists already")
        build(source, target, PRECISIONS[precision], options)
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


def build(source: Path, target: Path, precision: str, options: dict[str, object]) -> None:
    """Run the builder in a process of its own; its talk is kept for the error message only."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder"]
        command += ["--input", str(source), "--output", str(target), "--precision", precision]
        command += ["--execution_provider", "cpu", "--cache_dir", scratch]
        # The builder asks the hub for a token before it opens a local folder; this says "none".
        extra = {"hf_token": "false", **options}
        command += ["--extra_options", *(f"{key}={value}" for key, value in extra.items())]
        done = subprocess.run(
            command,
            env={**os.environ, **OFFLINE},
            cwd=scratch,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    if done.returncode != 0 or not (target / "genai_config.json").is_file():
        said = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        raise RuntimeError(f"{source}: the builder failed: {said[-1] if said else 'in silence'}")


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) == 2 else "")
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        sys.exit(f"{TOOL}: {type(error).__name__}: {reason}")
