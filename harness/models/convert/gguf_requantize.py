"""GGUF -> GGUF of another type, through llama.cpp's own quantiser.

Run as `python gguf_requantize.py JOB`, where JOB is JSON: {"source": file.gguf, "target": file.gguf,
"options": {"ftype": "f32" | "f16" | "q8_0" | "q4_0" | …, "threads": 2}}. Prints one JSON line
{"tool", "versions"}; `--versions` prints it and does nothing else. Stands alone: it runs under any
interpreter that has llama-cpp-python.

A source that is quantised already loses again when it is quantised to anything but f32: the caller
says so in the artifact's provenance. f32 is exact for every source type.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

TOOL = "gguf-requantize"
PACKAGES = ("llama-cpp-python",)


def main(argument: str) -> None:
    """Do one job, or say which tools would do it."""
    if argument != "--versions":
        job = json.loads(argument)
        source, target, options = Path(job["source"]), Path(job["target"]), job.get("options") or {}
        unknown = set(options) - {"ftype", "threads"}
        if unknown or "ftype" not in options:
            raise ValueError(f"options {sorted(options)}: expected ftype and, if need be, threads")
        if not source.is_file():
            raise FileNotFoundError(f"{source}: no such file")
        if target.exists():
            raise FileExistsError(f"{target}: exists already")
        requantize(source, target, str(options["ftype"]), int(options.get("threads", 0)))
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


def requantize(source: Path, target: Path, ftype: str, threads: int) -> None:
    """Write `source` to `target` with its matrices as `ftype`; 0 threads means all cores."""
    import llama_cpp
    import llama_cpp._logger as chatter

    chatter.set_verbose(False)
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = ftype_number(llama_cpp, ftype)
    params.nthread = threads
    params.allow_requantize = True
    # Never a copy: also the output matrix (or the embeddings, where tied) becomes `ftype`.
    params.only_copy = False
    params.quantize_output_tensor = True
    # Without `pure` llama.cpp mixes types, by a recipe that belongs to the ftype's name (q4_k_m …);
    # that mix is what users of such files get, so it stays. The plain floats have none.
    target.parent.mkdir(parents=True, exist_ok=True)
    status = llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(target), params)
    if status != 0:
        target.unlink(missing_ok=True)
        raise RuntimeError(f"{source}: llama.cpp could not quantise it to {ftype} (code {status})")


def ftype_number(llama_cpp: Any, ftype: str) -> int:
    """llama.cpp's number for a file type's usual name, such as q4_k_m."""
    prefixes = ("LLAMA_FTYPE_ALL_", "LLAMA_FTYPE_MOSTLY_")
    known = {
        name.removeprefix(prefix).lower(): value
        for prefix in prefixes
        for name, value in vars(llama_cpp).items()
        if name.startswith(prefix)
    }
    if ftype.lower() not in known:
        raise ValueError(f"ftype {ftype!r} is unknown; expected one of {', '.join(sorted(known))}")
    return int(known[ftype.lower()])


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) == 2 else "")
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        sys.exit(f"{TOOL}: {type(error).__name__}: {reason}")
