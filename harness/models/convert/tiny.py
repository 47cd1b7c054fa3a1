"""Chat family -> a tiny Hugging Face folder with random weights, for checking chat templates.

Run as `python tiny.py JOB`, where JOB is JSON: {"source": family.yaml, "target": folder,
"options": {}}. Prints one JSON line {"tool", "versions"}; `--versions` prints it and does nothing
else. Stands alone: it runs under any interpreter that has numpy, PyYAML, safetensors and
tokenizers. Reads, beside the family's file: its template, and ../prompts/passages.jsonl, on which
the vocabulary is trained. Nothing is downloaded, and the same input gives the same bytes.

The tokenizer is a byte-level BPE whatever the real family's is; special tokens, BOS and the way
text is split before BPE are the family's. Two hints for a conversion to GGUF stand in
tokenizer_config.json: `bakeoff_pre`, and `bakeoff_gguf_template` where there shall be none.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

TOOL = "tiny"
PACKAGES = ("numpy", "PyYAML", "safetensors", "tokenizers")
FIELDS = {"name", "bos", "eos", "special", "add_bos", "pre", "split", "template"}
OPTIONAL = {"template_from", "gguf_template"}

HIDDEN, LAYERS, HEADS, KV_HEADS, INNER, CONTEXT = 64, 2, 4, 2, 128, 2048
HEAD = HIDDEN // HEADS
WORDS = 512
SEED = 20240418
# The real tokenizers of these two take a whole word that is in the vocabulary without merging.
IGNORE_MERGES = {"llama-bpe", "tekken"}


def main(argument: str) -> None:
    """Do one job, or say which tools would do it."""
    if argument != "--versions":
        job = json.loads(argument)
        source, target, options = Path(job["source"]), Path(job["target"]), job.get("options") or {}
        if options:
            raise ValueError(f"unknown options {sorted(options)}: {TOOL} takes none")
        if target.exists():
            raise FileExistsError(f"{target}: exists already")
        make(source, target)
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


def make(source: Path, target: Path) -> None:
    """Write config, weights, tokenizer and template of the family into the folder `target`."""
    family = read(source)
    chat_template = template(source, family)
    tokenizer = build_tokenizer(family, source.parent.parent / "prompts" / "passages.jsonl")
    count = tokenizer.get_vocab_size()
    eos = tokenizer.token_to_id(family["eos"])
    # As in Qwen's config.json: a family without BOS names its first special token there.
    bos = tokenizer.token_to_id(family["bos"] or family["special"][0])

    target.mkdir()
    tokenizer.save(str(target / "tokenizer.json"))
    (target / "chat_template.jinja").write_text(chat_template, "utf-8")
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": family["bos"],
        "eos_token": family["eos"],
        "pad_token": family["eos"],
        "unk_token": "<unk>" if "<unk>" in family["special"] else None,
        "clean_up_tokenization_spaces": False,
        "model_max_length": CONTEXT,
        "chat_template": chat_template,
        "bakeoff_pre": family["pre"],
    }
    if not family.get("gguf_template", True):
        settings["bakeoff_gguf_template"] = False
    _write(target / "tokenizer_config.json", settings)
    ends = {"bos_token_id": bos, "eos_token_id": eos, "pad_token_id": eos}
    rows = -(-count // 32) * 32
    _write(target / "config.json", {**config(rows), **ends})
    _write(target / "generation_config.json", ends)
    write_weights(target / "model.safetensors", rows)


def read(source: Path) -> dict[str, Any]:
    """The family's file. Raises ValueError for a field that is missing or unknown."""
    import yaml

    family = yaml.safe_load(source.read_text("utf-8"))
    if not isinstance(family, dict) or not FIELDS <= set(family) <= FIELDS | OPTIONAL:
        fields = sorted(family) if isinstance(family, dict) else family
        raise ValueError(f"{source}: has {fields}, expected {sorted(FIELDS)}")
    for key in ("bos", "eos"):
        if family[key] is not None and family[key] not in family["special"]:
            raise ValueError(f"{source}: {key} {family[key]!r} is not in `special`")
    if (family["template"] is None) == ("template_from" not in family):
        raise ValueError(f"{source}: expected either `template` or `template_from`")
    return family


def template(source: Path, family: dict[str, Any]) -> str:
    """The chat template's text, from the file beside the family's, or out of an installed package."""
    if family["template"] is not None:
        path = source.parent / str(family["template"])
        return path.read_text("utf-8").removesuffix("\n")
    origin = family["template_from"]
    path = module_file(origin["module"])
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and origin["constant"] in (
            name.id for name in node.targets if isinstance(name, ast.Name)
        ):
            value = ast.literal_eval(node.value)
            if isinstance(value, str):
                return value
    raise ValueError(f"{path}: has no text named {origin['constant']}")


def module_file(module: str) -> Path:
    """A module's source file, found without importing its package."""
    package, *inner = module.split(".")
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{package} is not installed; the template is read from it")
    path = Path(spec.origin).parent.joinpath(*inner).with_suffix(".py")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    return path


def build_tokenizer(family: dict[str, Any], passages: Path) -> Any:
    """A byte-level BPE with the family's special tokens after the normal vocabulary."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        decoders,
        models,
        pre_tokenizers,
        processors,
        trainers,
    )

    split = family["split"]
    steps: list[Any] = []
    if split == "digits":
        steps = [pre_tokenizers.Digits(individual_digits=True)]
    elif split is not None:
        steps = [pre_tokenizers.Split(Regex(split), "isolated")]
    own_regex = split in (None, "digits")
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=own_regex))

    tokenizer = Tokenizer(models.BPE(ignore_merges=family["pre"] in IGNORE_MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=WORDS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(passages), trainer)
    tokenizer.add_special_tokens(
        [AddedToken(text, special=True, normalized=False) for text in family["special"]]
    )
    if family["add_bos"]:
        bos = family["bos"]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A",
            pair=f"{bos} $A {bos}:1 $B:1",
            special_tokens=[(bos, tokenizer.token_to_id(bos))],
        )
    return tokenizer


def corpus(passages: Path) -> Iterator[str]:
    """What the vocabulary is trained on.

    With blank lines, digits and runs of spaces, which the passages lack: else no token holds
    them, and a text split the wrong way before BPE would give the right ids all the same.
    """
    for line in passages.read_text("utf-8").splitlines():
        text = json.loads(line)["text"]
        yield text
        yield text.replace(". ", ".\n\n")
        yield "It's 2024 and 12345,  we'll say IT'S  123!\n\n\n  - x\r\n" * 5


def config(rows: int) -> dict[str, Any]:
    """The model's shape. `rope_theta` on the top level, where every reader looks."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD,
        "intermediate_size": INNER,
        "vocab_size": rows,
        "max_position_embeddings": CONTEXT,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "rope_scaling": None,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
    }


def write_weights(path: Path, rows: int) -> None:
    """Random float32 numbers: large enough for attention to matter and for logits to lie apart."""
    import numpy as np
    from safetensors.numpy import save_file

    generator = np.random.default_rng(SEED)
    weights: dict[str, Any] = {}

    def random(name: str, outputs: int, inputs: int, scale: float | None = None) -> None:
        size = inputs**-0.5 if scale is None else scale
        numbers = generator.standard_normal((outputs, inputs), dtype=np.float32)
        weights[f"{name}.weight"] = numbers * np.float32(size)

    def ones(name: str) -> None:
        weights[f"{name}.weight"] = np.ones(HIDDEN, np.float32)

    random("model.embed_tokens", rows, HIDDEN, 1.0)
    for layer in range(LAYERS):
        block = f"model.layers.{layer}"
        ones(f"{block}.input_layernorm")
        random(f"{block}.self_attn.q_proj", HEADS * HEAD, HIDDEN)
        random(f"{block}.self_attn.k_proj", KV_HEADS * HEAD, HIDDEN)
        random(f"{block}.self_attn.v_proj", KV_HEADS * HEAD, HIDDEN)
        random(f"{block}.self_attn.o_proj", HIDDEN, HEADS * HEAD)
        ones(f"{block}.post_attention_layernorm")
        random(f"{block}.mlp.gate_proj", INNER, HIDDEN)
        random(f"{block}.mlp.up_proj", INNER, HIDDEN)
        random(f"{block}.mlp.down_proj", HIDDEN, INNER)
    ones("model.norm")
    random("lm_head", rows, HIDDEN, 0.5)
    save_file(weights, path, metadata={"format": "pt"})


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) == 2 else "")
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        sys.exit(f"{TOOL}: {type(error).__name__}: {reason}")
