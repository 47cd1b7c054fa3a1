"""bakeoff's options and sampling parameters in llama.cpp's own terms."""

from __future__ import annotations

from typing import Any

from backends.api import LoadOptions, Request, Sampling, Unsupported
from backends.llamacpp_chat import CALLS

KV_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8}
EXTRA = {"n_ubatch", "flash_attn", "type_k", "type_v", "chat_call"}
SEED_LIMIT = 0xFFFFFFFF  # this very value means "draw one" to llama.cpp


def model_params(lib: Any, options: LoadOptions) -> Any:
    if options.device != "cpu":
        raise Unsupported(f"device {options.device!r}: this adapter runs on cpu only")
    if options.mmap and not lib.llama_supports_mmap():
        raise Unsupported("mmap: this build of llama.cpp cannot")
    if options.mlock and not lib.llama_supports_mlock():
        raise Unsupported("mlock: this build of llama.cpp cannot")
    params = lib.llama_model_default_params()
    params.n_gpu_layers = 0
    # NONE 0, MMAP 1, MLOCK 2, MMAP_MLOCK 3
    params.load_mode = (options.mmap is not False) + 2 * bool(options.mlock)
    return params


def context_params(lib: Any, options: LoadOptions) -> Any:
    unknown = set(options.extra) - EXTRA
    if unknown:
        raise Unsupported(f"options {sorted(unknown)}: known are {sorted(EXTRA)}")
    params = lib.llama_context_default_params()
    params.n_ctx = options.context
    # The prompt goes in as one batch: llama.cpp counts a lone last token of it as decoding.
    params.n_batch = options.context
    params.n_ubatch = _number(options, "n_ubatch", 512)
    params.n_threads = params.n_threads_batch = options.threads
    params.offload_kqv = params.op_offload = False
    params.no_perf = False
    params.flash_attn_type = _number(options, "flash_attn", lib.LLAMA_FLASH_ATTN_TYPE_AUTO)
    for key in ("type_k", "type_v"):
        name = str(options.extra.get(key, "f16"))
        if name not in KV_TYPES:
            raise Unsupported(f"{key} {name!r}: known are {', '.join(KV_TYPES)}")
        setattr(params, key, KV_TYPES[name])
    return params


def chat_call(options: LoadOptions) -> str:
    name = str(options.extra.get("chat_call", CALLS[0]))
    if name not in CALLS:
        raise Unsupported(f"chat_call {name!r}: known are {', '.join(CALLS)}")
    return name


def _number(options: LoadOptions, key: str, default: int) -> int:
    value = options.extra.get(key, default)
    if not isinstance(value, int):
        raise Unsupported(f"{key} {value!r}: expected a whole number, or true or false")
    return int(value)


def chain(lib: Any, request: Request, vocabulary: int) -> Any:
    """llama.cpp's own sampler, built for one request. The caller frees it."""
    sampling: Sampling = request.sampling
    if not sampling.greedy and not 0 <= sampling.seed < SEED_LIMIT:
        raise Unsupported(f"seed {sampling.seed}: llama.cpp takes 0 to {SEED_LIMIT - 1}")
    chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    parts = []
    penalised = sampling.repetition_penalty != 1.0
    if penalised:
        window = len(request.prompt_ids) + request.max_tokens
        penalty = sampling.repetition_penalty
        parts.append(lib.llama_sampler_init_penalties(vocabulary, window, penalty, 0.0, 0.0))
    if sampling.greedy:
        parts.append(lib.llama_sampler_init_greedy())
    else:
        parts.append(lib.llama_sampler_init_temp(sampling.temperature))
        if sampling.top_k > 0:
            parts.append(lib.llama_sampler_init_top_k(sampling.top_k))
        if sampling.top_p < 1.0:
            parts.append(lib.llama_sampler_init_top_p(sampling.top_p, 1))
        if sampling.min_p > 0.0:
            parts.append(lib.llama_sampler_init_min_p(sampling.min_p, 1))
        parts.append(lib.llama_sampler_init_dist(sampling.seed))
    for part in parts:
        lib.llama_sampler_chain_add(chain, part)
    if penalised:
        for token in request.prompt_ids:
            lib.llama_sampler_accept(chain, token)
    return chain
