"""GGUF -> Hugging Face folder in float32, through transformers' own GGUF loader.

Run as `python dequantize.py JOB`, where JOB is JSON: {"source": file.gguf, "target": folder,
"options": {}}. Prints one JSON line {"tool", "versions"}; `--versions` prints it and does nothing
else. Stands alone: it runs under any interpreter that has transformers, torch and gguf.

What saving needs beyond `save_pretrained`, each seen to lose the model's meaning silently:

- transformers refuses to save a model whose config says `quantization_config`, which the GGUF
  loader leaves there: the class is built anew from the cleaned config.
- The saved config has `rope_parameters` only; other readers look for a top-level `rope_theta`,
  and fall back to 10000 without it.
- `tokenizer_class` becomes `PreTrainedTokenizerFast`, which older readers know.
- The loader splits every byte-level BPE's text as GPT-2 does. SmolLM's also splits digits off, which
  shows only after white space: a blank line before a digit got other ids than the model was trained on.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

TOOL = "dequantize"
PACKAGES = ("transformers", "torch", "gguf", "tokenizers", "safetensors")


def main(argument: str) -> None:
    """Do one job, or say which tools would do it."""
    if argument != "--versions":
        job = json.loads(argument)
        source, target, options = Path(job["source"]), Path(job["target"]), job.get("options") or {}
        if options:
            raise ValueError(f"unknown options {sorted(options)}: {TOOL} takes none")
        if not source.is_file():
            raise FileNotFoundError(f"{source}: no such file")
        if target.exists():
            raise FileExistsError(f"{target}: exists already")
        dequantize(source, target)
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


def dequantize(source: Path, target: Path) -> None:
    """Write weights, config, generation config and tokenizer of `source` into the folder `target`."""
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1")
    os.environ.update(
        HF_HUB_DISABLE_PROGRESS_BARS="1", TRANSFORMERS_VERBOSITY="error", TQDM_DISABLE="1"
    )
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    file = {"gguf_file": source.name}
    loaded = AutoModelForCausalLM.from_pretrained(source.parent, dtype=torch.float32, **file)
    tokenizer = AutoTokenizer.from_pretrained(source.parent, **file)

    fields = loaded.config.to_dict()
    fields.pop("quantization_config", None)
    fields.pop("_name_or_path", None)
    config = AutoConfig.for_model(**fields)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(loaded.state_dict())
    model.tie_weights()
    model.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
    )
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)

    split_as_trained(source, target / "tokenizer.json")
    theta = rope_theta(fields)
    _edit(target / "config.json", **({"rope_theta": theta} if theta is not None else {}))
    _edit(target / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")


def split_as_trained(source: Path, tokenizer: Path) -> None:
    """Give the tokenizer the splitting that `tokenizer.ggml.pre` names, where the loader lost it."""
    from gguf import GGUFReader

    field = GGUFReader(source).get_field("tokenizer.ggml.pre")
    if field is not None and field.contents() == "smollm":
        bytes_level = {"type": "ByteLevel", "add_prefix_space": False}
        bytes_level |= {"trim_offsets": True, "use_regex": True}
        digits = {"type": "Digits", "individual_digits": True}
        _edit(tokenizer, pre_tokenizer={"type": "Sequence", "pretokenizers": [digits, bytes_level]})


def rope_theta(config: dict[str, Any]) -> float | None:
    """The RoPE base of a config in transformers 5 form, None for a model without RoPE."""
    parameters = config.get("rope_parameters") or {}
    theta = parameters.get("rope_theta", config.get("rope_theta"))
    return None if theta is None else float(theta)


def _edit(path: Path, **changes: object) -> None:
    content = json.loads(path.read_text("utf-8"))
    content.update(changes)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) == 2 else "")
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        sys.exit(f"{TOOL}: {type(error).__name__}: {reason}")
