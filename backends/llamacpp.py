"""llama.cpp through llama-cpp-python's ctypes bindings: GGUF files on the CPU.

The loop is our own over `llama_decode`: `llama_cpp.Llama.generate()` reuses the longest common
prefix of the last prompt in silence, and copies the whole vocabulary's logits into Python for
each token. Sampling stays native, in a sampler chain.

What this engine does, where engines differ:

- Length is forced by not asking whether a token ends the sequence; the logits stay untouched.
- Filters run in the order repetition penalty, temperature, top-k, top-p, min-p: that of
  transformers, so that the same numbers mean the same distribution. (llama.cpp's own tools put
  temperature last.) The penalty sees the whole sequence, prompt included.
- The KV cache is f16, llama.cpp's own default, unless `type_k` and `type_v` say otherwise. A
  context is padded to a multiple of 256 inside; requests are held to the size asked for.
"""

from __future__ import annotations

import codecs
import ctypes
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from backends.api import (
    Artifact,
    Availability,
    GenerationFailed,
    LoadFailed,
    LoadOptions,
    Request,
    Sampling,
    Token,
    Unavailable,
    Unsupported,
)

REMEDY = "pip install 'bakeoff[llamacpp]'"
KV_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8}
EXTRA = {"n_ubatch", "flash_attn", "type_k", "type_v"}
SEED_LIMIT = 0xFFFFFFFF  # this very value means "draw one" to llama.cpp

_log: list[str] = []  # error lines of llama.cpp since the last load began
_log_callback: Any = None  # global in the library: must outlive every adapter


class LlamaCpp:
    """One GGUF model in one llama.cpp context."""

    name = "llamacpp"
    formats = frozenset({"gguf"})

    def __init__(self) -> None:
        self._lib: Any = None
        self._model: Any = None
        self._context: Any = None
        self._vocab: Any = None
        self._vocab_size = 0
        self._limit = 0
        self._held: list[int] = []  # ids whose keys and values are in the cache, by position
        self._load_ms = 0.0

    def probe(self) -> Availability:
        """Version and the instruction sets that llama.cpp was built for and found."""
        try:
            lib = _import()
            info = lib.llama_print_system_info().decode()
            build = {"system_info": info.strip()}
            build["mmap"] = str(bool(lib.llama_supports_mmap()))
            build["mlock"] = str(bool(lib.llama_supports_mlock()))
            return Availability(lib.__version__, "llama-cpp-python", build, ("cpu",))
        except Unavailable as error:
            return Availability(reason=error.reason, remedy=error.remedy)
        except Exception as error:
            return Availability(reason=f"llama-cpp-python is broken: {error}", remedy=REMEDY)

    def load(self, artifact: Artifact, options: LoadOptions) -> None:
        """Open the file; mmap None means llama.cpp's usual way (mmap), mlock None means no."""
        self.close()
        lib = _import()
        _log.clear()
        model_params = _model_params(lib, options)
        context_params = _context_params(lib, options)
        if not artifact.path.is_file():
            raise LoadFailed(artifact.path, "no such file")
        self._lib = lib
        self._model = lib.llama_model_load_from_file(os.fsencode(artifact.path), model_params)
        if not self._model:
            raise LoadFailed(artifact.path, f"llama.cpp cannot load it: {_last_error()}")
        trained = lib.llama_model_n_ctx_train(self._model)
        if options.context > trained:
            self.close()
            raise Unsupported(f"a context of {options.context}: the model is made for {trained}")
        self._context = lib.llama_init_from_model(self._model, context_params)
        if not self._context:
            self.close()
            raise LoadFailed(artifact.path, f"llama.cpp makes no context: {_last_error()}")
        self._vocab = lib.llama_model_get_vocab(self._model)
        self._vocab_size = lib.llama_vocab_n_tokens(self._vocab)
        self._limit = options.context
        # Read now: the first evaluation overwrites it with the time since the context was made.
        self._load_ms = float(lib.llama_perf_context(self._context).t_load_ms)

    def generate(self, request: Request) -> Iterator[Token]:
        """Evaluate the prompt in one batch, then sample and evaluate token by token."""
        self._check(request)
        lib, context = self._lib, self._context
        chain = _chain(lib, request, self._vocab_size)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        try:
            start = self._keep(request)
            lib.llama_perf_context_reset(context)
            self._evaluate(request.prompt_ids[start:])
            one = (lib.llama_token * 1)()
            batch = lib.llama_batch_get_one(one, 1)
            for left in range(request.max_tokens - 1, -1, -1):
                token = lib.llama_sampler_sample(chain, context, -1)
                last = left == 0 or (not request.force_length and self._ends(token, request))
                yield Token(token, decoder.decode(self._piece(token), last))
                if last:
                    return
                if self._context is not context:
                    raise GenerationFailed("the model was closed during generation")
                one[0] = token
                if lib.llama_decode(context, batch) != 0:
                    self._forget()
                    raise GenerationFailed(f"llama_decode failed: {_last_error()}")
                self._held.append(token)
        finally:
            lib.llama_sampler_free(chain)

    def close(self) -> None:
        """Free context and model."""
        if self._context:
            self._lib.llama_free(self._context)
        if self._model:
            self._lib.llama_model_free(self._model)
        self._model = self._context = self._vocab = None
        self._held = []

    def tokenize(self, text: str) -> list[int]:
        """Special tokens written out in the text are recognised, as transformers does."""
        self._check_loaded()
        data = text.encode()
        room = len(data) + 8
        ids = (self._lib.llama_token * room)()
        count = self._lib.llama_tokenize(self._vocab, data, len(data), ids, room, True, True)
        return list(ids[:count])

    def detokenize(self, ids: Sequence[int]) -> str:
        """Through llama.cpp, so that a model's rule for the leading space holds."""
        self._check_loaded()
        tokens = (self._lib.llama_token * len(ids))(*ids)
        room = 64 + 16 * len(ids)
        while True:
            text = ctypes.create_string_buffer(room)
            size = self._lib.llama_detokenize(
                self._vocab, tokens, len(ids), text, room, False, False
            )
            if size >= 0:
                return text.raw[:size].decode("utf-8", "replace")
            room = -size

    def claims(self) -> Mapping[str, float]:
        """llama.cpp's own counters for the last request.

        It counts the evaluation of a single token as decoding, a one-token prompt too, and never
        says less than 1. The last token of a request is sampled but not evaluated, so a request
        for n tokens claims n - 1 decoded ones.
        """
        self._check_loaded()
        perf = self._lib.llama_perf_context(self._context)
        return {
            "prefill_tokens": float(perf.n_p_eval),
            "prefill_ms": float(perf.t_p_eval_ms),
            "decode_tokens": float(perf.n_eval),
            "decode_ms": float(perf.t_eval_ms),
            "load_ms": self._load_ms,
        }

    def _check_loaded(self) -> None:
        if not self._context:
            raise GenerationFailed("no model is loaded")

    def _check(self, request: Request) -> None:
        self._check_loaded()
        request.check(self._limit, self._vocab_size)

    def _keep(self, request: Request) -> int:
        """How many prompt tokens stay in the cache; the last one is always evaluated."""
        memory = self._lib.llama_get_memory(self._context)
        same = 0
        if request.reuse_prefix:
            for old, new in zip(self._held, request.prompt_ids[:-1], strict=False):
                if old != new:
                    break
                same += 1
            # A recurrent model cannot drop the end of its memory.
            if same and not self._lib.llama_memory_seq_rm(memory, 0, same, -1):
                raise Unsupported("this model's memory cannot keep a prefix")
        if not same:
            self._forget()
        del self._held[same:]
        return same

    def _forget(self) -> None:
        self._lib.llama_memory_clear(self._lib.llama_get_memory(self._context), False)
        self._held = []

    def _evaluate(self, ids: Sequence[int]) -> None:
        tokens = (self._lib.llama_token * len(ids))(*ids)
        batch = self._lib.llama_batch_get_one(tokens, len(ids))
        if self._lib.llama_decode(self._context, batch) != 0:
            self._forget()
            raise GenerationFailed(f"llama_decode failed on the prompt: {_last_error()}")
        self._held.extend(ids)

    def _ends(self, token: int, request: Request) -> bool:
        return token in request.stop_ids or self._lib.llama_vocab_is_eog(self._vocab, token)

    def _piece(self, token: int) -> bytes:
        room = 64
        while True:
            text = ctypes.create_string_buffer(room)
            size = self._lib.llama_token_to_piece(self._vocab, token, text, room, 0, False)
            if size >= 0:
                return text.raw[:size]
            room = -size


def _import() -> Any:
    """The bindings, with llama.cpp's talk kept to ourselves."""
    global _log_callback
    try:
        import llama_cpp
    except ImportError as error:
        raise Unavailable(f"llama-cpp-python is not installed ({error})", REMEDY) from error
    except (OSError, RuntimeError) as error:
        raise Unavailable(f"llama-cpp-python does not load: {error}", REMEDY) from error

    if _log_callback is None:

        @llama_cpp.llama_log_callback  # type: ignore[untyped-decorator, unused-ignore]
        def keep_errors(level: int, text: bytes, _data: object) -> None:
            if level == 4:
                _log.append(text.decode("utf-8", "replace").strip())

        _log_callback = keep_errors
    llama_cpp.llama_log_set(_log_callback, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    return llama_cpp


def _last_error() -> str:
    return "; ".join(_log[:2]) or "no reason given"


def _model_params(lib: Any, options: LoadOptions) -> Any:
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


def _context_params(lib: Any, options: LoadOptions) -> Any:
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


def _number(options: LoadOptions, key: str, default: int) -> int:
    value = options.extra.get(key, default)
    if not isinstance(value, int):
        raise Unsupported(f"{key} {value!r}: expected a whole number, or true or false")
    return int(value)


def _chain(lib: Any, request: Request, vocabulary: int) -> Any:
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
