"""Hugging Face folder of a Llama -> ExecuTorch program with its tokenizer, for XNNPACK on the CPU.

Run as `python executorch_export.py JOB`, where JOB is JSON: {"source": folder, "target": folder,
"options": {"precision": "f32" | "8da4w", "context": tokens, "group_size": weights per scale}}.
Prints one JSON line {"tool", "versions"}; `--versions` prints it and does nothing else. Stands
alone: it runs under any interpreter that has executorch and torch.

The export is ExecuTorch's own (`executorch.extension.llm.export`), with a KV cache whose size,
`context`, is fixed in the program. `8da4w` quantizes the weights of the linear layers to 4 bits in
groups of `group_size`, and their inputs to 8 bits when it runs; embeddings stay float32.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

TOOL = "executorch-export"
PACKAGES = ("executorch", "torch", "torchao")
PRECISIONS = {"f32": None, "8da4w": "8da4w"}
CONTEXT = 2048
GROUP_SIZE = 32
PROGRAM = "model.pte"
TOKENIZER = "tokenizer.json"
BESIDE = (TOKENIZER, "tokenizer_config.json", "chat_template.jinja")
OUTER = {
    "model.embed_tokens.weight": "tok_embeddings.weight",
    "model.norm.weight": "norm.weight",
    "lm_head.weight": "output.weight",
}
INNER = {
    "self_attn.q_proj": "attention.wq",
    "self_attn.k_proj": "attention.wk",
    "self_attn.v_proj": "attention.wv",
    "self_attn.o_proj": "attention.wo",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3",
}


class Unsupported(Exception):
    """This script would give another model than the source."""


def main(argument: str) -> None:
    """Do one job, or say which tools would do it."""
    if argument != "--versions":
        job = json.loads(argument)
        source, target = Path(job["source"]).resolve(), Path(job["target"]).resolve()
        options = dict(job.get("options") or {})
        precision = str(options.pop("precision", ""))
        context = int(options.pop("context", CONTEXT))
        group_size = int(options.pop("group_size", GROUP_SIZE))
        if precision not in PRECISIONS or options:
            expected = ", ".join(PRECISIONS)
            raise ValueError(f"precision {precision!r}, {options}: expected one of {expected}")
        for name in ("config.json", TOKENIZER):
            if not (source / name).is_file():
                raise FileNotFoundError(f"{source}: no Hugging Face folder ({name} is missing)")
        if target.exists():
            raise FileExistsError(f"{target}: exists already")
        build(source, target, PRECISIONS[precision], context, group_size)
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


def build(source: Path, target: Path, mode: str | None, context: int, group_size: int) -> None:
    """Weights under ExecuTorch's names, its own export, and the tokenizer beside the program."""
    config = json.loads((source / "config.json").read_text("utf-8"))
    words, ends = shape(config), end_ids(source, config)

    import torch
    from executorch.examples.models.llama.export_llama_lib import export_llama
    from executorch.extension.llm.export.config.llm_config import LlmConfig, ModelType

    target.mkdir()
    with tempfile.TemporaryDirectory() as scratch:
        params, weights = Path(scratch) / "params.json", Path(scratch) / "weights.pth"
        params.write_text(json.dumps(words), "utf-8")
        torch.save(read_weights(source / "model.safetensors", config), weights)
        told = LlmConfig()
        told.base.model_class = (
            ModelType.smollm2
        )  # a plain Llama; nothing is fetched, nothing permuted
        told.base.params, told.base.checkpoint = str(params), str(weights)
        told.base.metadata = json.dumps({"get_eos_ids": ends})
        told.model.use_kv_cache = told.model.use_sdpa_with_kv_cache = True
        told.model.enable_dynamic_shape = True
        told.export.max_seq_length = told.export.max_context_length = context
        told.export.output_dir, told.export.output_name = str(target), str(target / PROGRAM)
        told.backend.xnnpack.enabled = told.backend.xnnpack.extended_ops = True
        told.quantization.qmode = mode
        told.quantization.group_size = group_size if mode else None
        os.chdir(scratch)  # the export may write beside itself
        export_llama(told)
    if not (target / PROGRAM).is_file():
        raise RuntimeError(f"{source}: the export made no {PROGRAM}")
    for name in BESIDE:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def end_ids(source: Path, config: dict[str, Any]) -> list[int]:
    """The tokens that end a sequence; the config for generation comes first where there is one."""
    told = source / "generation_config.json"
    ends = json.loads(told.read_text("utf-8")).get("eos_token_id") if told.is_file() else None
    ends = config.get("eos_token_id") if ends is None else ends
    found: list[Any] = ends if isinstance(ends, list) else [ends]
    if not found or any(type(token) is not int for token in found):
        raise ValueError(f"{source}: eos_token_id is {ends!r}: expected a number, or some")
    return found


def shape(config: dict[str, Any]) -> dict[str, Any]:
    """The config in ExecuTorch's words. Raises Unsupported for what its Llama would ignore."""
    if config.get("model_type") != "llama":
        raise Unsupported(f"model type {config.get('model_type')!r}: only plain Llama")
    scaling = config.get("rope_scaling") or {}
    rope = config.get("rope_parameters") or scaling
    for told in (rope, scaling):
        kind = told.get("rope_type", told.get("type", "default"))
        if kind != "default":
            raise Unsupported(f"RoPE of type {kind!r}: only the default")
    theta = config.get("rope_theta") or rope.get("rope_theta")
    if theta is None:
        raise Unsupported("no rope_theta in config.json")
    if config.get("attention_bias") or config.get("mlp_bias") or config["hidden_act"] != "silu":
        raise Unsupported("biases, or another activation than silu")
    heads = int(config["num_attention_heads"])
    return {
        "dim": config["hidden_size"],
        "hidden_dim": config["intermediate_size"],
        "n_heads": heads,
        "n_kv_heads": config.get("num_key_value_heads") or heads,
        "head_dim": config.get("head_dim") or config["hidden_size"] // heads,
        "n_layers": config["num_hidden_layers"],
        "norm_eps": config["rms_norm_eps"],
        "rope_theta": theta,
        "use_scaled_rope": False,
        # Halves are rotated, as in transformers: its weights are not permuted to pairs.
        "use_hf_rope": True,
        "vocab_size": config["vocab_size"],
    }


def read_weights(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """The tensors by ExecuTorch's names, float32. The environment need not have safetensors."""
    import torch

    if not path.is_file():
        raise Unsupported("weights in other files than one model.safetensors")
    data = bytearray(path.read_bytes())
    begin = 8 + int.from_bytes(data[:8], "little")
    found = {}
    for name, told in json.loads(data[8:begin]).items():
        if name == "__metadata__":
            continue
        if told["dtype"] != "F32":
            raise Unsupported(f"{name} is {told['dtype']}: only float32")
        start, stop = told["data_offsets"]
        count = (stop - start) // 4
        values = torch.frombuffer(data, dtype=torch.float32, count=count, offset=begin + start)
        found[executorch_name(name)] = values.reshape(told["shape"])
    if config.get("tie_word_embeddings"):
        found["output.weight"] = found["tok_embeddings.weight"].clone()
    expected = 3 + 9 * int(config["num_hidden_layers"])
    if len(found) != expected:
        raise Unsupported(f"{len(found)} tensors, expected {expected}")
    return found


def executorch_name(name: str) -> str:
    """What ExecuTorch's Llama calls a tensor. Raises Unsupported."""
    if name in OUTER:
        return OUTER[name]
    layer, _, rest = name.removeprefix("model.layers.").partition(".")
    inner = rest.removesuffix(".weight")
    if not name.startswith("model.layers.") or not layer.isdigit() or inner not in INNER:
        raise Unsupported(f"tensor {name}")
    return f"layers.{layer}.{INNER[inner]}.weight"


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) == 2 else "")
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        sys.exit(f"{TOOL}: {type(error).__name__}: {reason}")
