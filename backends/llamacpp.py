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
from dataclasses import replace
from pathlib import Path
from typing import Any

from backends import checks, llamacpp_chat, llamacpp_options
from backends.api import (
    Artifact,
    Availability,
    GenerationFailed,
    LoadFailed,
    LoadOptions,
    Rendering,
    Request,
    Sampling,
    Token,
    Unavailable,
    Unsupported,
)

REMEDY = "pip install 'bakeoff[llamacpp]'"

_log: list[str] = []  # error lines of llama.cpp since the last load began
_log_callback: Any = None  # global in the library: must outlive every adapter


class LlamaCpp:
    """One GGUF model in one llama.cpp context."""

    name = "llamacpp"
    formats = frozenset({"gguf"})
    gaps: Mapping[str, str] = {"scores_top": "notimpl: `logits` gives the whole distribution"}

    def __init__(self) -> None:
        self._lib: Any = None
        self._model: Any = None
        self._context: Any = None
        self._vocab: Any = None
        self._vocab_size = 0
        self._limit = 0
        self._held: list[int] = []  # ids whose keys and values are in the cache, by position
        self._load_ms = 0.0
        self._path = Path()
        self._chat_call = ""

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
        model_params = llamacpp_options.model_params(lib, options)
        context_params = llamacpp_options.context_params(lib, options)
        if not artifact.path.is_file():
            raise LoadFailed(artifact.path, "no such file")
        self._lib, self._path = lib, artifact.path
        self._chat_call = llamacpp_options.chat_call(options)
        self._model = lib.llama_model_load_from_file(os.fsencode(artifact.path), model_params)
        if not self._model:
            raise LoadFailed(artifact.path, f"llama.cpp cannot load it: {_last_error()}")
        try:
            checks.context(options, lib.llama_model_n_ctx_train(self._model))
        except Unsupported:
            self.close()
            raise
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
        chain = llamacpp_options.chain(lib, request, self._vocab_size)
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

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        prefill: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> Rendering:
        """By `chat_call`: `library` or `core` (see `llamacpp_chat`)."""
        self._check_loaded()
        if variables:
            raise Unsupported("template variables: llama-cpp-python's chat calls take none")
        if self._chat_call == "core":
            found = llamacpp_chat.by_core(self._lib, self._model, self.tokenize, messages)
        else:
            found = llamacpp_chat.by_library(self._lib, self._path, messages)
        pieces = (self._piece(token, special=True) for token in found.ids or ())
        return replace(found, pieces=tuple(piece.decode("utf-8", "replace") for piece in pieces))

    def logits(self, ids: Sequence[int]) -> Any:
        """Every position of one batch, evaluated in an empty cache."""
        import numpy

        self._check_loaded()
        checks.scored(ids, self._limit, self._vocab_size)
        lib = self._lib
        self._forget()
        batch = lib.llama_batch_init(len(ids), 0, 1)
        try:
            batch.n_tokens = len(ids)
            for position, token in enumerate(ids):
                batch.token[position], batch.pos[position] = token, position
                batch.n_seq_id[position], batch.seq_id[position][0] = 1, 0
                batch.logits[position] = True
            if lib.llama_decode(self._context, batch) != 0:
                raise GenerationFailed(f"llama_decode failed: {_last_error()}")
        finally:
            lib.llama_batch_free(batch)
            self._forget()
        rows = lib.llama_get_logits(self._context)
        return numpy.ctypeslib.as_array(rows, shape=(len(ids), self._vocab_size)).copy()

    def draw(
        self, prompt_ids: Sequence[int], sampling: Sampling, seeds: Sequence[int]
    ) -> list[int]:
        """A sampler chain per seed, as `generate` builds it, over the same logits."""
        request = Request(tuple(prompt_ids), 1, sampling=sampling)
        self._check(request)
        self._forget()
        self._evaluate(request.prompt_ids)
        drawn = []
        for seed in seeds:
            told = replace(request, sampling=replace(sampling, seed=seed))
            chain = llamacpp_options.chain(self._lib, told, self._vocab_size)
            drawn.append(int(self._lib.llama_sampler_sample(chain, self._context, -1)))
            self._lib.llama_sampler_free(chain)
        return drawn

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

    def _piece(self, token: int, special: bool = False) -> bytes:
        room = 64
        while True:
            text = ctypes.create_string_buffer(room)
            size = self._lib.llama_token_to_piece(self._vocab, token, text, room, 0, special)
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
