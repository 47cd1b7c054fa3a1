"""MLX through mlx-lm: safetensors folders, on the CPU or, on macOS, on Metal.

The loop is our own, after mlx-lm's `generate_step`: of the prompt but its last token only keys and
values are computed, in chunks; then comes one step per token, and each is set going before the one
before it is read, so that Python's share is hidden. Where it differs from `generate_step`:

- The last step is not followed by one more that nobody asked for, and a cancelled request waits for
  the step that is under way: neither takes time from the next request.
- The repetition penalty sees the whole sequence, prompt included. There it sees 20 tokens, of the
  answer and the prompt's last one.

Filters, penalty and draw are mlx-lm's own functions, in the order of the other engines: repetition
penalty, temperature, top-k, top-p, min-p. Its `make_sampler` puts them in another one, with the
temperature last, where the same numbers mean another distribution.

Length is forced by not asking whether a token ends the sequence; the logits stay untouched. Keys
and values take memory as the sequence grows: `context` is only a bound here.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from typing import Any

from backends import checks
from backends.api import (
    Artifact,
    Availability,
    GenerationFailed,
    LoadFailed,
    LoadOptions,
    Rejected,
    Rendering,
    Request,
    Sampling,
    Token,
    Unavailable,
    Unsupported,
)
from backends.text import TextStream

REMEDY = "bakeoff engines install mlx"
PREFILL_STEP = 2048
"""Prompt tokens that are evaluated at once: mlx-lm's default."""
TIDY_EVERY = 256
"""Steps between two givings back of cached buffers: mlx-lm's own number."""
WHOLE_SEQUENCE = 2**31
"""Tokens that the repetition penalty looks back to."""
SEED_LIMIT = 2**64

Picker = Callable[[Any, Any], Any]
"""From the ids so far, (n,), and the last logits, (1, vocabulary), to the next id, (1,)."""


class MLX:
    """One language model of an HF folder, run by mlx-lm."""

    name = "mlx"
    formats = frozenset({"hf"})
    gaps: Mapping[str, str] = {
        "prefix_reused_on_request": "notimpl: the adapter makes a new cache per request",
        "scores_top": "notimpl: `logits` gives the whole distribution",
    }

    def __init__(self) -> None:
        self._mx: Any = None
        self._model: Any = None
        self._tokenizer: Any = None
        self._ends: frozenset[int] = frozenset()
        self._vocab_size = 0
        self._limit = 0
        self._prefilled: int | None = None

    def probe(self) -> Availability:
        """Versions of mlx-lm and MLX, and the devices that MLX finds."""
        try:
            mx, _ = _import()
            build = {
                "mlx": version("mlx"),
                "transformers": version("transformers"),
                **{key: str(value) for key, value in mx.device_info().items()},
            }
            return Availability(version("mlx-lm"), "mlx-lm", build, _devices(mx))
        except Unavailable as error:
            return Availability(reason=error.reason, remedy=error.remedy)
        except Exception as error:
            return Availability(reason=f"mlx-lm is broken: {error}", remedy=REMEDY)

    def load(self, artifact: Artifact, options: LoadOptions) -> None:
        """Open the folder and read all weights, which keep their own type."""
        self.close()
        mx, lm = _import()
        checks.options("mlx-lm", options, devices=_devices(mx))
        mx.set_default_device(mx.Device(getattr(mx, options.device), 0))
        path = artifact.path
        if not (path / "config.json").is_file():
            raise LoadFailed(path, "no Hugging Face folder (config.json is missing)")
        try:
            self._model, self._tokenizer, config = lm.load(
                str(path), tokenizer_config={"trust_remote_code": False}, return_config=True
            )
        except Exception as error:
            self.close()
            raise LoadFailed(path, f"mlx-lm cannot load it: {checks.said(error)}") from error
        fault = _other_rope(config, self._model)
        if fault:
            self.close()
            raise LoadFailed(path, fault, "write `rope_theta` at the top of its config.json")
        trained, vocabulary = (
            _told(config, name) for name in ("max_position_embeddings", "vocab_size")
        )
        try:
            checks.context(options, trained)
            if vocabulary is None:
                raise LoadFailed(path, "its config.json gives no vocab_size")
        except (Unsupported, LoadFailed):
            self.close()
            raise
        self._mx = mx
        self._ends = frozenset(int(i) for i in self._tokenizer.eos_token_ids if i is not None)
        self._vocab_size, self._limit = vocabulary, options.context

    def generate(self, request: Request) -> Iterator[Token]:
        """Prefill, then one step per token, each set going before the one before it is read."""
        self._check(request)
        mx, pick = self._mx, self._picker(request.sampling)
        stops = request.stop_ids | self._ends
        text = TextStream(self.detokenize)
        try:
            cache, logits = self._open(request.prompt_ids)
            ids = mx.array(request.prompt_ids)
            upcoming = pick(ids, logits)
            self._prefilled = _length(cache)
            for count in range(1, request.max_tokens + 1):
                current = upcoming
                mx.async_eval(current)
                if count < request.max_tokens:
                    ids = mx.concatenate([ids, current])
                    upcoming = pick(ids, self._step(current, cache))
                    mx.async_eval(upcoming)
                token = int(current.item())
                last = count == request.max_tokens
                last = last or (not request.force_length and token in stops)
                yield Token(token, text.add(token, last))
                if last:
                    return
                if count % TIDY_EVERY == 0:
                    mx.clear_cache()
        except (RuntimeError, ValueError) as error:
            raise GenerationFailed(f"mlx: {error}") from error
        finally:
            mx.synchronize()

    def close(self) -> None:
        """Drop model and tokenizer, and give cached buffers back."""
        self._model = self._tokenizer = None
        gc.collect()
        if self._mx is not None:
            self._mx.clear_cache()

    def tokenize(self, text: str) -> list[int]:
        """Special tokens written out in the text are recognised."""
        self._check_loaded()
        return [int(i) for i in self._tokenizer.encode(text)]

    def detokenize(self, ids: Sequence[int]) -> str:
        """Nothing is tidied up: the text is what the ids say."""
        self._check_loaded()
        return str(
            self._tokenizer.decode(
                list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        prefill: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> Rendering:
        """Through apply_chat_template of mlx-lm's tokenizer, as its command line does."""
        self._check_loaded()
        how = {"add_generation_prompt": not prefill, "continue_final_message": prefill}
        told = {**how, **(variables or {})}
        apply = self._tokenizer.apply_chat_template
        try:
            chat = [dict(message) for message in messages]
            text, ids = apply(chat, tokenize=False, **told), apply(chat, tokenize=True, **told)
        except MemoryError:
            raise
        except Exception as error:
            raise Rejected(f"{type(error).__name__}: {error}") from error
        pieces = {token: self._written(token) for token in set(ids)}
        return Rendering(str(text), tuple(ids), tuple(pieces[token] for token in ids))

    def logits(self, ids: Sequence[int]) -> Any:
        """One forward pass without a cache."""
        import numpy

        self._check_loaded()
        checks.scored(ids, self._limit, self._vocab_size)
        try:
            found = self._model(self._mx.array([list(ids)]))[0].astype(self._mx.float32)
            return numpy.array(found)
        except (RuntimeError, ValueError) as error:
            raise GenerationFailed(f"mlx: {error}") from error

    def draw(
        self, prompt_ids: Sequence[int], sampling: Sampling, seeds: Sequence[int]
    ) -> list[int]:
        """The prompt once, then per seed the draw that `generate` makes."""
        request = Request(tuple(prompt_ids), 1, sampling=sampling)
        self._check(request)
        mx = self._mx
        ids, drawn = mx.array(request.prompt_ids), []
        try:
            _, logits = self._open(request.prompt_ids)
            mx.eval(logits)
            for seed in seeds:
                pick = self._picker(replace(sampling, seed=seed))
                drawn.append(int(pick(ids, logits).item()))
        except (RuntimeError, ValueError) as error:
            raise GenerationFailed(f"mlx: {error}") from error
        return drawn

    def claims(self) -> Mapping[str, float]:
        """Length of the engine's own cache after the prompt, where it is of a kind that has one."""
        return {} if self._prefilled is None else {"prefill_tokens": float(self._prefilled)}

    def _open(self, prompt_ids: Sequence[int]) -> tuple[Any, Any]:
        """A new cache that holds the prompt, and the last position's logits, still to be computed."""
        self._check_loaded()
        mx = self._mx
        cache = import_module("mlx_lm.models.cache").make_prompt_cache(self._model)
        ids = mx.array(prompt_ids)
        for start in range(0, len(prompt_ids) - 1, PREFILL_STEP):
            chunk = ids[start : min(start + PREFILL_STEP, len(prompt_ids) - 1)]
            self._model(chunk[None], cache=cache)
            # Nothing asks for these logits, so that they are never computed.
            mx.eval([layer.state for layer in cache])
            mx.clear_cache()
        return cache, self._step(ids[-1:], cache)

    def _step(self, token: Any, cache: Any) -> Any:
        """The last position's logits, (1, vocabulary), after one more token, (1,)."""
        self._check_loaded()
        return self._model(token[None], cache=cache)[:, -1, :]

    def _picker(self, sampling: Sampling) -> Picker:
        """Of mlx-lm's functions. Their draws come from MLX's one generator, seeded here."""
        if not sampling.greedy and not 0 <= sampling.seed < SEED_LIMIT:
            raise Unsupported(f"seed {sampling.seed}: MLX takes 0 to {SEED_LIMIT - 1}")
        mx, made = self._mx, import_module("mlx_lm.sample_utils")
        penalise = None
        if sampling.repetition_penalty != 1.0:
            penalise = made.make_repetition_penalty(sampling.repetition_penalty, WHOLE_SEQUENCE)
        if not sampling.greedy:
            mx.random.seed(sampling.seed)

        def pick(ids: Any, logits: Any) -> Any:
            if penalise is not None:
                logits = penalise(ids, mx.array(logits))  # it writes into what it is given
            if sampling.greedy:
                return mx.argmax(logits, axis=-1)
            return made.categorical_sampling(_filtered(mx, made, sampling, logits), 1.0)

        return pick

    def _written(self, token: int) -> str:
        return str(
            self._tokenizer.decode(
                [token], skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        )

    def _check_loaded(self) -> None:
        if self._model is None:
            raise GenerationFailed("no model is loaded")

    def _check(self, request: Request) -> None:
        self._check_loaded()
        if request.reuse_prefix:
            raise Unsupported("reuse_prefix: a request's cache ends with it")
        request.check(self._limit, self._vocab_size)


def _import() -> tuple[Any, Any]:
    """MLX's core, and mlx-lm."""
    try:
        return import_module("mlx.core"), import_module("mlx_lm")
    except ImportError as error:
        raise Unavailable(f"mlx or mlx-lm is not installed ({error})", REMEDY) from error
    except (OSError, RuntimeError, ValueError) as error:
        raise Unavailable(f"mlx or mlx-lm does not load: {error}", REMEDY) from error


def _devices(mx: Any) -> tuple[str, ...]:
    return tuple(name for name in ("cpu", "gpu") if mx.is_available(getattr(mx, name)))


def _filtered(mx: Any, made: Any, sampling: Sampling, logits: Any) -> Any:
    """Scores whose softmax is the distribution to draw from; minus infinity for what is filtered."""
    scores = logits.astype(mx.float32) * (1.0 / sampling.temperature)
    if 0 < sampling.top_k < scores.shape[-1]:  # it takes no number that leaves all tokens
        scores = made.apply_top_k(scores, sampling.top_k)
    if sampling.top_p < 1.0:  # of what top-k has left
        total = mx.logsumexp(scores, axis=-1, keepdims=True)
        scores = made.apply_top_p(scores - total, sampling.top_p)
    if sampling.min_p > 0.0:
        scores = made.apply_min_p(scores, sampling.min_p)
    return scores


def _told(config: Mapping[str, Any], name: str) -> int | None:
    """A whole number at the top of config.json, or in the part of it that is about text."""
    part = config.get("text_config")
    for one in (config, part if isinstance(part, Mapping) else {}):
        if type(one.get(name)) is int:
            return int(one[name])
    return None


def _other_rope(config: Mapping[str, Any], model: Any) -> str | None:
    """mlx-lm reads a RoPE base at the top of config.json only, and has 10000 where there is none."""
    named = (config.get("rope_parameters") or {}).get("rope_theta")
    taken = getattr(getattr(model, "args", None), "rope_theta", named)
    if named is None or taken == named:
        return None
    return f"mlx-lm would run it with a RoPE base of {taken}, the model has {named}"


def _length(cache: Sequence[Any]) -> int | None:
    """Tokens in a cache of keys and values; None for one of another kind."""
    return next((int(layer.offset) for layer in cache if hasattr(layer, "offset")), None)
