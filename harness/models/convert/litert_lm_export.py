"""Hugging Face folder -> LiteRT-LM file (.litertlm), through litert-torch's own exporter.

Run as `python litert_lm_export.py JOB`, where JOB is JSON: {"source": folder, "target": file,
"options": {"precision": "f32" | "int8", "context": tokens, "prefill": tokens}}. Prints one JSON
line {"tool", "versions"}; `--versions` prints it and does nothing else. Stands alone, but for
`hf_gguf.py` beside it: it runs under any interpreter that has litert-torch, which conflicts with what
runs the file (litert-lm-api).

`int8` quantizes the weights, channel by channel, and their inputs when it runs; `context` is the
size of the cache. What the exporter would write about tokens is replaced, since three things in it
change the work: a BOS that the tokenizer adds to no text, stop texts, for which the engine holds
tokens back, and the sampler's defaults.
"""

from __future__ import annotations

import importlib.util
import json
import os
import runpy
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

TOOL = "litert-torch"
PACKAGES = ("litert-torch", "ai-edge-quantizer", "litert-lm-builder", "transformers", "torch")
RECIPES = {"f32": "none", "int8": "dynamic_wi8_afp32"}
CONTEXT, PREFILL = 2048, 128
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def main(argument: str) -> None:
    """Do one job, or say which tools would do it."""
    if argument != "--versions":
        job = json.loads(argument)
        source, target = Path(job["source"]).resolve(), Path(job["target"]).resolve()
        options = dict(job.get("options") or {})
        precision = str(options.pop("precision", ""))
        context = int(options.pop("context", CONTEXT))
        prefill = int(options.pop("prefill", PREFILL))
        if precision not in RECIPES or options:
            expected = ", ".join(RECIPES)
            raise ValueError(f"precision {precision!r}, {options}: expected one of {expected}")
        if not (source / "config.json").is_file():
            raise FileNotFoundError(f"{source}: no Hugging Face folder (config.json is missing)")
        if target.exists():
            raise FileExistsError(f"{target}: exists already")
        build(source, target, RECIPES[precision], context, prefill)
    sys.stdout.write("\n" + json.dumps({"tool": TOOL, "versions": versions()}) + "\n")


def versions() -> dict[str, str]:
    """Of the packages that decide the output; without importing them."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def build(source: Path, target: Path, recipe: str, context: int, prefill: int) -> None:
    """Export, quantize and bundle."""
    os.environ.update(OFFLINE)
    with lent_schema():
        from litert_torch.generative.export_hf.export import export

    with tempfile.TemporaryDirectory() as scratch:
        export(
            model=str(source),
            output_dir=scratch,
            prefill_lengths=[prefill],
            cache_length=context,
            quantization_recipe=recipe,
            externalize_embedder=False,
            bundle_litert_lm=True,
            litert_lm_llm_metadata_override=metadata(source, context),
        )
        made = Path(scratch) / "model.litertlm"
        if not made.is_file():
            raise RuntimeError(f"{source}: the exporter made no {made.name}")
        shutil.move(made, target)


@contextmanager
def lent_schema() -> Iterator[None]:
    """litert-torch 0.10 imports the schema of .tflite files from tensorflow, on which it does not
    depend; ai-edge-litert, on which it does, has the same module."""
    from ai_edge_litert import schema_py_generated

    names = ("tensorflow", "tensorflow.lite", "tensorflow.lite.python")
    if importlib.util.find_spec(names[0]) is not None:
        yield
        return
    for name in names:
        sys.modules[name] = importlib.util.module_from_spec(ModuleSpec(name, None))
    sys.modules[names[-1]].schema_py_generated = schema_py_generated  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


def metadata(source: Path, context: int) -> str:
    """LlmMetadata as protobuf text: the ids that end a sequence, the template, the context."""
    config = json.loads((source / "config.json").read_text("utf-8"))
    told = source / "generation_config.json"
    ends = json.loads(told.read_text("utf-8")).get("eos_token_id") if told.is_file() else None
    ends = config["eos_token_id"] if ends is None else ends
    lines = [
        f"stop_tokens {{ token_ids {{ ids: {int(i)} }} }}"
        for i in (ends if isinstance(ends, list) else [ends])
    ]
    template = chat_template(source)
    if template is not None:
        # Protobuf takes JSON's escapes, but for a character that needs a pair of them.
        lines.append(f"jinja_prompt_template: {json.dumps(template, ensure_ascii=False)}")
    lines += [f"max_num_tokens: {context}", "llm_model_type { generic_model { } }"]
    return "\n".join(lines) + "\n"


def chat_template(source: Path) -> str | None:
    """As the conversion to GGUF finds it. By its path: under an engine's interpreter it has no package."""
    beside = runpy.run_path(str(Path(__file__).with_name("hf_gguf.py")))
    told = source / "tokenizer_config.json"
    settings = json.loads(told.read_text("utf-8")) if told.is_file() else {}
    found: str | None = beside["chat_template"](source, settings)
    return found


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) == 2 else "")
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        sys.exit(f"{TOOL}: {type(error).__name__}: {reason}")
