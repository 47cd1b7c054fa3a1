"""bakeoff's options and sampling parameters in MLC-LLM's own terms."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from backends import checks
from backends.api import LoadOptions, Request, Unsupported
from backends.mlc_folder import Folder

DEVICES = ("cpu", "cuda", "metal", "vulkan", "rocm", "opencl")
SEED_LIMIT = 2**31
_PAGE, _WATERMARK = 16, 8  # tokens: the size of a cache page, and what admission keeps free


def check(options: LoadOptions) -> None:
    checks.options("MLC-LLM", options, devices=DEVICES)


def engine_config(folder: Folder, options: LoadOptions) -> Any:
    room = options.context + _WATERMARK + _PAGE
    return import_module("mlc_llm.serve.config").EngineConfig(
        mode="interactive",
        max_num_sequence=1,
        max_single_sequence_length=options.context,
        max_total_sequence_length=-(-room // _PAGE) * _PAGE,
        prefill_chunk_size=min(options.context, folder.chunk),
        prefix_cache_mode="disable",
        speculative_mode="disable",
        verbose=False,
    )


def completion(request: Request) -> dict[str, Any]:
    """Every parameter of completions that bears on the result. Length is forced here."""
    sampling = request.sampling
    if request.reuse_prefix:
        raise Unsupported("reuse_prefix: MLC-LLM reuses prefixes by a mode of the engine")
    if sampling.repetition_penalty != 1.0:
        raise Unsupported("repetition_penalty: MLC-LLM's completions have no such parameter")
    if not sampling.greedy and (sampling.top_k > 0 or sampling.min_p > 0.0):
        raise Unsupported("top_k, min_p: MLC-LLM has no such filters; set them to 0")
    if not sampling.greedy and not 0 <= sampling.seed < SEED_LIMIT:
        raise Unsupported(f"seed {sampling.seed}: MLC-LLM takes 0 to {SEED_LIMIT - 1}")
    return {
        "temperature": sampling.temperature,
        "top_p": 1.0 if sampling.greedy else sampling.top_p,
        "seed": 0 if sampling.greedy else sampling.seed,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
        "n": 1,
        "extra_body": {"debug_config": {"ignore_eos": True}},
    }
