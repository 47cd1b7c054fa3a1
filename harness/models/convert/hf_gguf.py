"""Hugging Face folder -> GGUF in float32, for Llama models with a byte-level BPE tokenizer.

Run as `python hf_gguf.py JOB`, where JOB is JSON: {"source": folder, "target": file.gguf,
"options": {"pre": "llama-bpe"}}. Prints one JSON line {"tool", "versions"}; `--versions` prints it
and does nothing else. Stands alone: it runs under any interpreter that has gguf, numpy and
safetensors.

`pre` is llama.cpp's name for the way text is split before BPE. A wrong one changes token ids
without a word, so there is no default: it comes from the option, or from `bakeoff_pre` in
tokenizer_config.json. What this can't convert is refused, never approximated.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

TOOL = "hf-gguf"
PACKAGES = ("gguf", "numpy", "safetensors")
NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
OUTER = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


class Unsupported(Exception):
    """A model that this script does not convert."""


def main(argument: str) -> None:
    """Do one job, or say which tools would do it."""
    if argument != "--versions":
        job = json.loads(argument)
        source, target, options = Path(job["source"]), Path(job["target"]), job.get("options") or {}
        if set(options) - {"pre"}:
            raise ValueError(f"unknown options {sorted(options)}: {TOOL} takes pre")
        if not (source / "config.json").is_file():
            raise FileNotFoundError(f"{source}: no Hugging Face folder (config.json is missing)")
        if target.exists():
            raise FileExistsError(f"{target}: exists already")
        convert(source, target, options.get("pre"))
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


def convert(source: Path, target: Path, pre: str | None) -> None:
    """Write weights, settings, tokenizer and chat template of `source` into the file `target`."""
    config = read(source / "config.json")
    settings = read(source / "tokenizer_config.json")
    tokenizer = read(source / "tokenizer.json")
    check_config(config)
    check_tokenizer(tokenizer)
    pre = pre or settings.get("bakeoff_pre")
    if not pre:
        raise ValueError("how the text is split before BPE is not known: give the option `pre`")
    tensors = read_tensors(source, config)

    import gguf

    writer = gguf.GGUFWriter(target, "llama")
    # llama.cpp changes special tokens by words in a model's name (phi-3, jina-v2): a name without.
    writer.add_name(source.name)
    add_shape(writer, config)
    add_vocabulary(writer, tokenizer, int(config["vocab_size"]))
    writer.add_tokenizer_pre(pre)
    add_special(writer, config, settings, tokenizer)
    if settings.get("bakeoff_gguf_template", True):
        text = chat_template(source, settings)
        if text is not None:
            writer.add_chat_template(text)
    for name, data in tensors.items():
        writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read(path: Path) -> dict[str, Any]:
    """A JSON object."""
    content = json.loads(path.read_text("utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path}: is not a JSON object")
    return content


def check_config(config: dict[str, Any]) -> None:
    """Raises Unsupported unless it is a plain Llama."""
    if config.get("architectures") != ["LlamaForCausalLM"]:
        raise Unsupported(f"architecture {config.get('architectures')}: only LlamaForCausalLM")
    for key in ("attention_bias", "mlp_bias"):
        if config.get(key):
            raise Unsupported(f"{key}: only Llama models without")
    if config.get("hidden_act", "silu") != "silu":
        raise Unsupported(f"hidden_act {config['hidden_act']!r}: only silu")
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind != "default":
        raise Unsupported(f"RoPE of type {kind!r}: only the default")


def check_tokenizer(tokenizer: dict[str, Any]) -> None:
    """Raises Unsupported unless it is a byte-level BPE."""
    model = tokenizer.get("model") or {}
    if model.get("type") != "BPE" or "ByteLevel" not in _types(tokenizer.get("pre_tokenizer")):
        raise Unsupported(f"tokenizer {model.get('type')}: only byte-level BPE")
    if model.get("byte_fallback") or tokenizer.get("normalizer"):
        raise Unsupported("a tokenizer with byte fallback or a normalizer: only byte-level BPE")


def _types(step: dict[str, Any] | None) -> set[str]:
    if step is None:
        return set()
    inner = step.get("pretokenizers") or []
    return {str(step.get("type"))}.union(*(_types(part) for part in inner))


def read_tensors(source: Path, config: dict[str, Any]) -> dict[str, Any]:
    """The weights by their GGUF names, in float32."""
    import numpy as np
    from safetensors.numpy import load_file

    path = source / "model.safetensors"
    if not path.is_file():
        raise Unsupported("weights in other files than one model.safetensors")
    heads = int(config["num_attention_heads"])
    groups = int(config.get("num_key_value_heads") or heads)
    found: dict[str, Any] = {}
    for name, data in load_file(path).items():
        if name == "lm_head.weight" and config.get("tie_word_embeddings"):
            continue  # without output.weight, llama.cpp takes the embedding
        data = data.astype(np.float32)
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            data = permute(data, heads if name.endswith("q_proj.weight") else groups)
        found[gguf_name(name)] = data
    expected = 2 + 9 * int(config["num_hidden_layers"]) + (not config.get("tie_word_embeddings"))
    if len(found) != expected:
        raise Unsupported(f"{len(found)} tensors, expected {expected}")
    return found


def gguf_name(name: str) -> str:
    """What GGUF calls a tensor of a Llama. Raises Unsupported."""
    if name in OUTER:
        return OUTER[name]
    head, _, rest = name.removeprefix("model.layers.").partition(".")
    inner = rest.removesuffix(".weight")
    if not name.startswith("model.layers.") or not head.isdigit() or inner not in NAMES:
        raise Unsupported(f"tensor {name}")
    return f"blk.{head}.{NAMES[inner]}.weight"


def permute(data: Any, heads: int) -> Any:
    """From halves to pairs: llama.cpp rotates neighbouring rows, transformers rows half a head apart."""
    rows, columns = data.shape
    halves = data.reshape(heads, 2, rows // heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)


def add_shape(writer: Any, config: dict[str, Any]) -> None:
    """Sizes, RoPE and the type of the file."""
    heads = int(config["num_attention_heads"])
    head = int(config.get("head_dim") or config["hidden_size"] // heads)
    parameters = config.get("rope_parameters") or {}
    writer.add_vocab_size(int(config["vocab_size"]))
    writer.add_context_length(int(config["max_position_embeddings"]))
    writer.add_embedding_length(int(config["hidden_size"]))
    writer.add_block_count(int(config["num_hidden_layers"]))
    writer.add_feed_forward_length(int(config["intermediate_size"]))
    writer.add_head_count(heads)
    writer.add_head_count_kv(int(config.get("num_key_value_heads") or heads))
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(float(config.get("rope_theta") or parameters["rope_theta"]))
    writer.add_layer_norm_rms_eps(float(config["rms_norm_eps"]))
    writer.add_file_type(0)  # all float32


def add_vocabulary(writer: Any, tokenizer: dict[str, Any], rows: int) -> None:
    """Tokens by id, their types, the merges; unused rows get a token that no text becomes."""
    import gguf

    kind = gguf.TokenType
    ids = {int(number): text for text, number in tokenizer["model"]["vocab"].items()}
    types = dict.fromkeys(ids, kind.NORMAL)
    for token in tokenizer.get("added_tokens") or []:
        ids[int(token["id"])] = token["content"]
        types[int(token["id"])] = kind.CONTROL if token["special"] else kind.USER_DEFINED
    if max(ids) >= rows:
        raise Unsupported(f"{max(ids) + 1} tokens in a vocabulary of {rows}")
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([ids.get(i, f"[PAD{i}]") for i in range(rows)])
    writer.add_token_types([types.get(i, kind.UNUSED) for i in range(rows)])
    merges = tokenizer["model"]["merges"]
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])


def add_special(
    writer: Any, config: dict[str, Any], settings: dict[str, Any], tokenizer: dict[str, Any]
) -> None:
    """BOS and EOS, and whether text gets a BOS; said always, so that llama.cpp guesses nothing."""
    added = {token["content"]: int(token["id"]) for token in tokenizer.get("added_tokens") or []}
    bos = _text(settings.get("bos_token"))
    bos_id = config.get("bos_token_id") if bos is None else added.get(bos)
    eos_id = added.get(_text(settings.get("eos_token")) or "", config.get("eos_token_id"))
    if not isinstance(eos_id, int):
        raise ValueError("eos_token is not among the tokenizer's added tokens")
    if bos_id is not None:
        writer.add_bos_token_id(int(bos_id))
    writer.add_eos_token_id(eos_id)
    processor = tokenizer.get("post_processor")
    writer.add_add_bos_token(bos is not None and json.dumps(bos) in json.dumps(processor))
    writer.add_add_eos_token(False)


def _text(token: Any) -> str | None:
    """A special token is text, or text with its settings."""
    text = token.get("content") if isinstance(token, dict) else token
    return None if text is None else str(text)


def chat_template(source: Path, settings: dict[str, Any]) -> str | None:
    """Its own file comes before tokenizer_config.json, as in transformers."""
    path = source / "chat_template.jinja"
    text = path.read_text("utf-8") if path.is_file() else settings.get("chat_template")
    if text is not None and not isinstance(text, str):
        raise Unsupported("more than one chat template")
    return text


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) == 2 else "")
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        sys.exit(f"{TOOL}: {type(error).__name__}: {reason}")
