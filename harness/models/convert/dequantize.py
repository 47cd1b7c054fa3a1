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
- The loader splits a byte-level BPE's text as GPT-2 does wherever it does not know the name that the
  file has for another way. SmolLM's also splits digits off, which shows only after white space: a blank
  line before a digit got other ids than the model was trained on. That one is repaired here; a file
  with any other unknown name, or none, is refused, never approximated.
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
GPT2 = {"gpt-2", "phi-2", "mpt", "olmo", "jais"}
"""What llama.cpp calls GPT-2's own splitting. `default`, or no name, is another one to it."""
REPAIRED = "smollm"


class Unsupported(Exception):
    """A file that this script does not convert."""


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
    pre = splitting(source)
    check_splitting(pre)

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

    if pre == REPAIRED:
        split_digits(target / "tokenizer.json")
    theta = rope_theta(fields)
    _edit(target / "config.json", **({"rope_theta": theta} if theta is not None else {}))
    _edit(target / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")


def splitting(source: Path) -> str | None:
    """The file's name for the way text is split before BPE; None for a vocabulary without BPE."""
    from gguf import GGUFReader

    fields = GGUFReader(source)
    kind, pre = (fields.get_field(f"tokenizer.ggml.{key}") for key in ("model", "pre"))
    if kind is None or kind.contents() != "gpt2":
        return None
    return "" if pre is None else str(pre.contents())


def check_splitting(pre: str | None) -> None:
    """Raises Unsupported for a way that neither the loader nor this script knows."""
    if pre is None or pre in GPT2 or pre == REPAIRED:
        return
    try:
        from transformers.integrations.gguf.gguf_tokenizer_mapping import (
            GGUF_PRE_TOKENIZER_SPLITS as known,
        )
    except ImportError:
        raise Unsupported(
            f"tokenizer.ggml.pre {pre!r}: this transformers knows no such names, 5.18 is the first "
            "that does"
        ) from None
    if pre not in known:
        raise Unsupported(
            f"tokenizer.ggml.pre {pre!r}: transformers does not know this way to split text, and "
            "would make other ids"
        )


def split_digits(tokenizer: Path) -> None:
    """SmolLM's way: digits one by one, then as GPT-2."""
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
