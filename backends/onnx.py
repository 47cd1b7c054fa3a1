"""ONNX Runtime GenAI: ONNX folders made by its model builder, on the CPU.

What this engine does, where engines differ:

- After an end-of-sequence token `generate_next_token` computes nothing and returns that token for
  ever, at no cost. `min_length` avoids it by forbidding the token, which changes the text. Here
  the loop appends the token itself instead, which evaluates it and goes on: forced length without
  touching the logits.
- Filters run in the order repetition penalty, temperature (with the softmax), top-k, top-p; the
  penalty sees the whole sequence, prompt included. There is no min-p. Without top-k every draw
  sorts the whole vocabulary, some milliseconds per token for 49152 entries.
- The engine reserves keys and values per request: for prompt plus `max_tokens`, not for the whole
  context, which is only a bound here.
- Threads are ONNX Runtime's intra-op threads, the calling one among them; they spin while idle
  unless `session.intra_op.allow_spinning` is false. More of them than cores is very slow.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
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

REMEDY = "pip install 'bakeoff[onnx]'"
SPINNING = "session.intra_op.allow_spinning"
SEED_LIMIT = 2**31
FOLDERS_OWN = frozenset(
    {"log_id", "provider_options", "intra_op_num_threads", "inter_op_num_threads"}
)
"""Session options that a folder may bring: those that the model builder writes for a CPU, or that are
told anew here. Others load native code, write files or change the work that is measured."""
DESCRIBED = 1 << 20
"""Bytes of a genai_config.json at most; the builder's have two thousand."""


class OnnxGenAI:
    """One ONNX folder in one onnxruntime-genai model; a generator per request."""

    name = "onnx"
    formats = frozenset({"onnx"})
    gaps: Mapping[str, str] = {
        "min_p_honoured": "never: onnxruntime-genai has no such filter",
        "prefix_reused_on_request": "notimpl: the adapter makes a new generator per request",
        "scores_top": "notimpl: `logits` gives the whole distribution",
    }

    def __init__(self) -> None:
        self._og: Any = None
        self._model: Any = None
        self._tokenizer: Any = None
        self._ends: frozenset[int] = frozenset()
        self._vocab_size = 0
        self._limit = 0
        self._prefilled = 0

    def probe(self) -> Availability:
        """Version of GenAI, and of the ONNX Runtime whose library it loads."""
        try:
            og = _import()
            build = {"commit": str(getattr(og, "__commit__", "unknown"))}
            build["onnxruntime"], build["providers"] = _runtime()
            build["telemetry"] = "disabled"
            return Availability(og.__version__, "onnxruntime-genai", build, ("cpu",))
        except Unavailable as error:
            return Availability(reason=error.reason, remedy=error.remedy)
        except Exception as error:
            return Availability(reason=f"onnxruntime-genai is broken: {error}", remedy=REMEDY)

    def load(self, artifact: Artifact, options: LoadOptions) -> None:
        """Open the folder on the CPU provider, whatever provider it was built for."""
        self.close()
        og = _import()
        session = _session_options(options)
        trained, vocabulary = _described(artifact.path)
        checks.context(options, trained)
        try:
            config = og.Config(str(artifact.path))
            config.clear_providers()
            config.overlay(json.dumps({"model": {"decoder": {"session_options": session}}}))
            self._model = og.Model(config)
            self._tokenizer = og.Tokenizer(self._model)
        except Exception as error:
            self.close()
            raise LoadFailed(artifact.path, f"onnxruntime-genai cannot load it: {error}") from error
        self._og = og
        self._ends = frozenset(int(i) for i in self._tokenizer.eos_token_ids)
        self._vocab_size, self._limit = vocabulary, options.context

    def generate(self, request: Request) -> Iterator[Token]:
        """One native step per token; nothing of an earlier request survives in a new generator."""
        self._check(request)
        search = _search(request, self._vocab_size)
        try:
            params = self._og.GeneratorParams(self._model)
            params.set_search_options(**search)
            generator = self._og.Generator(self._model, params)
            stream = self._tokenizer.create_stream()
            generator.append_tokens(list(request.prompt_ids))
            self._prefilled = int(generator.token_count())
            made: list[int] = []
            shown: list[str] = []
            stops = request.stop_ids | self._ends
            while True:
                generator.generate_next_token()
                token = int(generator.get_next_tokens()[0])
                made.append(token)
                last = len(made) == request.max_tokens
                last = last or (not request.force_length and token in stops)
                text = stream.decode(token)
                if last:
                    text = self._rest(made, "".join(shown), text)
                shown.append(text)
                yield Token(token, text)
                if last:
                    return
                if token in self._ends and generator.is_done():
                    generator.append_tokens([token])
        except RuntimeError as error:
            raise GenerationFailed(f"onnxruntime-genai: {error}") from error

    def close(self) -> None:
        """Drop model and tokenizer; the engine frees them with the last reference."""
        self._tokenizer = self._model = None

    def tokenize(self, text: str) -> list[int]:
        """Special tokens written out in the text are recognised."""
        self._check_loaded()
        return [int(i) for i in self._tokenizer.encode(text)]

    def detokenize(self, ids: Sequence[int]) -> str:
        """Through the engine's own tokenizer, which leaves special tokens out."""
        self._check_loaded()
        return str(self._tokenizer.decode(list(ids))) if ids else ""

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        prefill: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> Rendering:
        """As the engine's examples do: apply_chat_template, then encode. There is no way to
        continue an assistant's message, nor one to give template variables."""
        self._check_loaded()
        if variables:
            raise Unsupported("template variables: apply_chat_template of the engine takes none")
        try:
            chat = json.dumps([dict(message) for message in messages])
            text = self._tokenizer.apply_chat_template(chat, add_generation_prompt=True)
            ids = tuple(int(i) for i in self._tokenizer.encode(text))
        except MemoryError:
            raise
        except Exception as error:
            raise Rejected(f"{type(error).__name__}: {error}") from error
        spelled = self._og.Tokenizer(self._model)
        spelled.update_options(skip_special_tokens="false")
        return Rendering(text, ids, tuple(str(spelled.decode([token])) for token in ids))

    def logits(self, ids: Sequence[int]) -> Any:
        """The graph's own output for the prompt, which holds every position."""
        import numpy

        self._check_loaded()
        checks.scored(ids, self._limit, self._vocab_size)
        try:
            params = self._og.GeneratorParams(self._model)
            params.set_search_options(**_search(Request(tuple(ids), 1), self._vocab_size))
            generator = self._og.Generator(self._model, params)
            generator.append_tokens(list(ids))
            found = generator.get_output("logits")
        except RuntimeError as error:
            raise GenerationFailed(f"onnxruntime-genai: {error}") from error
        if found.shape[1] != len(ids):
            raise GenerationFailed("the graph gives the logits of the last position only")
        return numpy.asarray(found[0], dtype=numpy.float32)

    def draw(
        self, prompt_ids: Sequence[int], sampling: Sampling, seeds: Sequence[int]
    ) -> list[int]:
        """A generator per seed, given the prompt's logits instead of the prompt.

        Such a generator has no sequence, so that a repetition penalty would see nothing.
        """
        request = Request(tuple(prompt_ids), 1, sampling=sampling)
        self._check(request)
        if sampling.repetition_penalty != 1.0:
            raise Unsupported("draws with a repetition penalty: it needs the prompt's own ids")
        last = self.logits(prompt_ids)[-1:][None]
        drawn = []
        try:
            for seed in seeds:
                told = replace(request, sampling=replace(sampling, seed=seed))
                params = self._og.GeneratorParams(self._model)
                params.set_search_options(**_search(told, self._vocab_size))
                generator = self._og.Generator(self._model, params)
                generator.set_logits(last)
                generator.generate_next_token()
                drawn.append(int(generator.get_next_tokens()[0]))
        except RuntimeError as error:
            raise GenerationFailed(f"onnxruntime-genai: {error}") from error
        return drawn

    def claims(self) -> Mapping[str, float]:
        """The generator's own token count after the prompt; the engine keeps no timings."""
        return {"prefill_tokens": float(self._prefilled)}

    def _rest(self, made: list[int], shown: str, text: str) -> str:
        """The last token's text with what the stream still holds of a split character."""
        whole = self.detokenize(made)
        return whole[len(shown) :] if whole.startswith(shown + text) else text

    def _check_loaded(self) -> None:
        if self._model is None:
            raise GenerationFailed("no model is loaded")

    def _check(self, request: Request) -> None:
        self._check_loaded()
        if request.reuse_prefix:
            raise Unsupported("reuse_prefix: a generator's cache ends with its request")
        # The engine itself takes a negative id for one counted from the vocabulary's end.
        request.check(self._limit, self._vocab_size)


def _import() -> Any:
    """The engine, with its telemetry off."""
    try:
        import onnxruntime_genai as og
    except ImportError as error:
        raise Unavailable(f"onnxruntime-genai is not installed ({error})", REMEDY) from error
    except (OSError, RuntimeError) as error:
        raise Unavailable(f"onnxruntime-genai does not load: {error}", REMEDY) from error
    og.disable_telemetry_events()
    return og


def _runtime() -> tuple[str, str]:
    """Version and providers of the installed onnxruntime, which GenAI loads its library from."""
    try:
        import onnxruntime
    except ImportError:
        return "not installed as a package of its own", "unknown"
    return onnxruntime.__version__, ", ".join(onnxruntime.get_available_providers())


def _described(path: Path) -> tuple[int, int]:
    """Context and vocabulary by the folder's genai_config.json. Raises LoadFailed, also for options
    in it: those that are set here are added to the file's, they don't replace them."""
    try:
        with (path / "genai_config.json").open("rb") as file:
            content = file.read(DESCRIBED + 1)
        if len(content) > DESCRIBED:
            raise ValueError(f"it is larger than {DESCRIBED} bytes")
        told = json.loads(content.decode("utf-8"), object_pairs_hook=_once)
        trained, vocabulary = (int(told["model"][key]) for key in ("context_length", "vocab_size"))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise LoadFailed(path, f"no usable genai_config.json: {error!r}") from error
    left: list[tuple[str, Any]] = [("", told)]
    while left:
        name, part = left.pop()
        if name.endswith((".session_options", ".run_options")) and isinstance(part, dict):
            own = FOLDERS_OWN if name == ".model.decoder.session_options" else frozenset()
            if foreign := sorted(set(part) - own):
                option = f"{name[1:]}.{foreign[0]}"[:120]
                raise LoadFailed(
                    path,
                    f"its genai_config.json sets {option!r}, which is taken from no folder",
                    "remove it from the file",
                )
        elif isinstance(part, dict):
            left += [(f"{name}.{key}", value) for key, value in part.items()]
        elif isinstance(part, list):
            left += [(name, value) for value in part]
    return trained, vocabulary


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The engine reads every one of two equal names, Python the last one only."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name comes twice")
    return found


def _session_options(options: LoadOptions) -> dict[str, object]:
    checks.options("onnxruntime", options, (SPINNING,))
    session: dict[str, object] = {
        "intra_op_num_threads": options.threads,
        "inter_op_num_threads": 1,
    }
    if SPINNING in options.extra:
        session[SPINNING] = "1" if options.extra[SPINNING] else "0"
    return session


def _search(request: Request, vocabulary: int) -> dict[str, object]:
    """Every search option that bears on the result, so that genai_config.json decides nothing."""
    sampling: Sampling = request.sampling
    if sampling.min_p > 0.0:
        raise Unsupported("min_p: onnxruntime-genai has no such filter; set it to 0")
    if not sampling.greedy and not 0 <= sampling.seed < SEED_LIMIT:
        raise Unsupported(f"seed {sampling.seed}: onnxruntime-genai takes 0 to {SEED_LIMIT - 1}")
    return {
        "max_length": len(request.prompt_ids) + request.max_tokens,
        "min_length": 0,
        "num_beams": 1,
        "num_return_sequences": 1,
        "no_repeat_ngram_size": 0,
        "do_sample": not sampling.greedy,
        "temperature": 1.0 if sampling.greedy else sampling.temperature,
        # With top_k 0 the engine (0.18) ignores top_p: seen, half the draws fell outside of 0.5.
        "top_k": 1 if sampling.greedy else sampling.top_k or vocabulary,
        "top_p": 1.0 if sampling.greedy else sampling.top_p,
        "repetition_penalty": sampling.repetition_penalty,
        "random_seed": sampling.seed if not sampling.greedy else 0,
    }
