"""bakeoff's options and sampling parameters in OpenVINO's own terms, and what a model says of itself.

Every option that bears on the numbers is set, so that neither a default that follows the processor
nor a file in the model's folder decides.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from backends import checks, gguf_header
from backends.api import Artifact, LoadFailed, LoadOptions, Request, Sampling, Unsupported

PRECISIONS: Mapping[str, str] = {"f32": "FP32", "bf16": "BF16", "f16": "FP16"}
"""By what OpenVINO calls the capability of a processor."""
CACHES = ("f32", "bf16", "f16", "u8")
BATCHED = "max_num_batched_tokens"
ROUNDED = "rounded_weights"
Q4_1 = 3
"""GGUF's number of a type whose offsets OpenVINO GenAI rounds to whole steps of the scale."""
EXTRA: Mapping[str, object] = {
    "INFERENCE_PRECISION_HINT": "f32",
    "KV_CACHE_PRECISION": "f16",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": 32,
    "ENABLE_CPU_PINNING": False,
}
"""Properties of the CPU plugin by its own names, with what is set when a scenario says nothing."""

SEED_LIMIT = 2**32
MODEL, TOKENIZER = "openvino_model.xml", "openvino_tokenizer.xml"


def facts(artifact: Artifact, options: LoadOptions) -> tuple[int | None, int | None]:
    """The context that the model was trained for and its number of ids, None where its files don't
    say: the engine does not tell the former. Raises LoadFailed for what is no model, and Unsupported for
    one that the engine would change without being told that it may."""
    path = artifact.path
    if artifact.format == "gguf":
        header = gguf_header.read(path)
        if Q4_1 in header.types and not options.extra.get(ROUNDED):
            raise Unsupported(
                "Q4_1: OpenVINO GenAI rounds its offsets, so other weights than the file's would run",
                f"use Q4_0 or Q8_0, which it opens exactly, or accept it with `{ROUNDED}: true`",
            )
        return header.context, header.vocabulary
    for name in (MODEL, TOKENIZER):
        if not (path / name).is_file():
            raise LoadFailed(path, f"no folder of OpenVINO IR ({name} is missing)")
    try:
        told = json.loads((path / "config.json").read_text("utf-8"))
        return told.get("max_position_embeddings"), told.get("vocab_size")
    except FileNotFoundError:
        return None, None
    except (OSError, ValueError, AttributeError) as error:
        raise LoadFailed(path, f"no usable config.json: {error!r}") from error


def properties(options: LoadOptions) -> dict[str, object]:
    """Of the CPU plugin. Raises Unsupported."""
    checks.options("OpenVINO GenAI", options, (*EXTRA, BATCHED, ROUNDED))
    if not isinstance(options.extra.get(ROUNDED, False), bool):
        raise Unsupported(f"{ROUNDED} {options.extra[ROUNDED]!r}: expected true or false")
    told = {name: options.extra.get(name, usual) for name, usual in EXTRA.items()}
    _one_of(told, "INFERENCE_PRECISION_HINT", PRECISIONS)
    _one_of(told, "KV_CACHE_PRECISION", CACHES)
    for name in ("DYNAMIC_QUANTIZATION_GROUP_SIZE", "ENABLE_CPU_PINNING"):
        if type(told[name]) is not type(EXTRA[name]) or told[name] < 0:  # type: ignore[operator]
            raise Unsupported(f"{name} {told[name]!r}: expected a value such as {EXTRA[name]}")
    return {
        **told,
        "INFERENCE_NUM_THREADS": options.threads,
        "ENABLE_HYPER_THREADING": True,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }


def check_precision(told: Mapping[str, object], capabilities: Collection[str]) -> None:
    """Raise Unsupported for a precision that this processor lacks: OpenVINO runs f32 instead, and
    says nothing."""
    asked = str(told["INFERENCE_PRECISION_HINT"])
    if PRECISIONS[asked] not in capabilities:
        raise Unsupported(f"INFERENCE_PRECISION_HINT {asked}: this CPU lacks it, f32 would run")


def _one_of(told: Mapping[str, object], name: str, known: Collection[str]) -> None:
    if told[name] not in known:
        raise Unsupported(f"{name} {told[name]!r}: known are {', '.join(known)}")


def scheduler(genai: Any, options: LoadOptions) -> Any:
    """As LLMPipeline's own for one request at a time, but without a cache of prefixes."""
    batched = options.extra.get(BATCHED, options.context)
    if type(batched) is not int or batched < 1:
        raise Unsupported(f"{BATCHED} {batched!r}: expected a whole number from 1")
    config = genai.SchedulerConfig()
    config.max_num_batched_tokens = batched
    config.max_num_seqs = 1
    config.num_kv_blocks = config.cache_size = 0  # it grows as needed
    config.dynamic_split_fuse = True
    config.enable_prefix_caching = False
    config.use_cache_eviction = config.use_sparse_attention = False
    return config


def generation(genai: Any, request: Request, vocabulary: int) -> Any:
    """Every parameter that bears on the result, so that generation_config.json decides nothing."""
    sampling: Sampling = request.sampling
    if not sampling.greedy and not 0 <= sampling.seed < SEED_LIMIT:
        raise Unsupported(f"seed {sampling.seed}: OpenVINO GenAI takes 0 to {SEED_LIMIT - 1}")
    config = genai.GenerationConfig()
    config.apply_chat_template = False
    config.max_new_tokens = request.max_tokens
    config.min_new_tokens = 0
    config.ignore_eos = True
    config.num_beams = config.num_return_sequences = 1
    config.repetition_penalty = sampling.repetition_penalty
    config.presence_penalty = config.frequency_penalty = 0.0
    config.logprobs = 0
    config.do_sample = not sampling.greedy
    if not sampling.greedy:
        config.temperature = sampling.temperature
        config.top_k = sampling.top_k or vocabulary
        config.top_p = sampling.top_p
        config.min_p = sampling.min_p
        config.rng_seed = sampling.seed
    return config
