"""CTranslate2: folders made by its converter from Hugging Face models, on the CPU.

What this engine does, where engines differ:

- Prompts are token strings, by the vocabulary in the folder: ids are looked up there, and every
  string must be a token once only. There is no tokenizer in the engine: text goes through the
  `tokenizer.json` that the conversion put beside the weights, by the tokenizers library.
- It computes in a thread of its own and calls back with each token. The callback waits until the
  next token is asked for: nothing is computed ahead of the one who reads, and closing the iterator
  ends the request at once. (The engine's own `generate_tokens` runs ahead, and takes a whole core
  to wait for tokens.)
- Length is forced by telling the engine of no end token; the logits stay untouched.
- The prompt is evaluated at once but for its last token, which is the first step's.
- Greedy only. The engine samples, but it reads a seed when a thread draws for the first time, and
  never again (seen with 4.8.5): the draws of a second request are those that follow, whatever its
  seed. What can't be repeated is refused. So is a repetition penalty, which does not see the prompt
  here, and would be another than in other engines.
- In int8 activations are quantised as they come. The smallest difference tips some of them, so that
  logits of a step and of a forward pass over the same ids lie up to 2 apart; in float32, 0.0001.

Keys and values take memory as the sequence grows: `context` is only a bound here, and the folder
does not say which context the model is made for.
"""

from __future__ import annotations

import contextlib
import json
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from backends import checks
from backends.api import (
    Artifact,
    Availability,
    GenerationFailed,
    LoadFailed,
    LoadOptions,
    Request,
    Token,
    Unavailable,
    Unsupported,
)
from backends.text import TextStream

REMEDY = "bakeoff engines install ctranslate2"
COMPUTE_TYPE = "compute_type"
_POLL_S = 0.05


class CTranslate2:
    """One CTranslate2 folder in one Generator with one worker thread."""

    name = "ctranslate2"
    formats = frozenset({"ctranslate2"})
    gaps: Mapping[str, str] = {
        **dict.fromkeys(
            (
                "seed_repeats",
                "seed_matters",
                "temperature_honoured",
                "top_k_honoured",
                "top_p_honoured",
                "min_p_honoured",
            ),
            "never: CTranslate2 seeds a thread once: no request has draws of its own",
        ),
        "repetition_penalty_honoured": "never: CTranslate2's penalty does not see the prompt",
        "prefix_reused_on_request": "never: CTranslate2 keeps a state for static prompts only",
        "claims": "never: CTranslate2 keeps no counts and no timings",
        "renders_chat": "never: CTranslate2 takes tokens; it knows no chat template",
        "scores_top": "notimpl: `logits` gives the whole distribution",
        "draws": "never: CTranslate2 seeds a thread once: no request has draws of its own",
    }

    def __init__(self) -> None:
        self._generator: Any = None
        self._steps: _Steps | None = None
        self._tokenizer: Any = None
        self._tokens: list[str] = []
        self._ends: frozenset[int] = frozenset()
        self._limit = 0

    def probe(self) -> Availability:
        """Version, and the types that this CPU computes in, as the engine tells them."""
        try:
            engine = _import()[0]
            types = sorted(engine.get_supported_compute_types("cpu"))
            build = {"compute_types": ", ".join(types)}
            return Availability(engine.__version__, "ctranslate2", build, ("cpu",))
        except Unavailable as error:
            return Availability(reason=error.reason, remedy=error.remedy)
        except Exception as error:
            return Availability(reason=f"ctranslate2 is broken: {error}", remedy=REMEDY)

    def load(self, artifact: Artifact, options: LoadOptions) -> None:
        """Open the folder; `compute_type` default, the default, means the weights' own type."""
        self.close()
        asked = _compute_type(options)
        engine, tokenizers = _import()
        path = artifact.path
        self._tokens, end = _vocabulary(path)
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))
            self._generator = engine.Generator(
                str(path),
                device="cpu",
                compute_type=asked,
                inter_threads=1,
                intra_threads=options.threads,
                max_queued_batches=-1,
                flash_attention=False,
                tensor_parallel=False,
            )
        except Exception as error:
            self.close()
            raise LoadFailed(path, f"ctranslate2 cannot load it: {checks.said(error)}") from error
        got = self._generator.compute_type
        if asked not in ("default", got) and not got.startswith(f"{asked}_"):
            self.close()
            raise Unsupported(f"{COMPUTE_TYPE} {asked}: this CPU gives {got} instead")
        self._ends = frozenset({self._tokens.index(end)} if end in self._tokens else ())
        self._limit = options.context

    def generate(self, request: Request) -> Iterator[Token]:
        """A token per call of the engine's callback, which waits for the next to be asked for."""
        self._check(request)
        stops = request.stop_ids | self._ends
        text = TextStream(self.detokenize)
        steps = self._steps = _Steps(
            self._generator,
            [self._tokens[i] for i in request.prompt_ids],
            max_length=request.max_tokens,
        )
        try:
            for count in range(1, request.max_tokens + 1):
                token = steps.take()
                last = count == request.max_tokens
                last = last or (not request.force_length and token in stops)
                yield Token(token, text.add(token, last))
                if last:
                    return
        finally:
            steps.close()

    def close(self) -> None:
        """Drop the generator: its thread ends, and the weights go with it."""
        if self._steps is not None:
            self._steps.close()
        self._steps = self._generator = self._tokenizer = None
        self._tokens = []

    def tokenize(self, text: str) -> list[int]:
        """By the tokenizers library. Special tokens written out in the text are recognised."""
        self._check_loaded()
        return list(self._tokenizer.encode(text).ids)

    def detokenize(self, ids: Sequence[int]) -> str:
        """By the tokenizers library, which leaves special tokens out."""
        self._check_loaded()
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def logits(self, ids: Sequence[int]) -> Any:
        """One forward pass over all positions."""
        import numpy

        self._check_loaded()
        checks.scored(ids, self._limit, len(self._tokens))
        try:
            found = self._generator.forward_batch([list(ids)], return_log_probs=False)
            return numpy.array(found, dtype=numpy.float32)[0]
        except (RuntimeError, ValueError) as error:
            raise GenerationFailed(f"ctranslate2: {error}") from error

    def _check_loaded(self) -> None:
        if self._generator is None:
            raise GenerationFailed("no model is loaded")

    def _check(self, request: Request) -> None:
        self._check_loaded()
        if not request.sampling.greedy:
            raise Unsupported("temperature above 0: ctranslate2 can't seed a request of its own")
        if request.sampling.repetition_penalty != 1.0:
            raise Unsupported("repetition_penalty: that of ctranslate2 does not see the prompt")
        if request.reuse_prefix:
            raise Unsupported("reuse_prefix: the engine keeps a state for static prompts only")
        request.check(self._limit, len(self._tokens))


class _Steps:
    """One request in the engine's thread, which computes a token when it is asked for, not before."""

    def __init__(self, generator: Any, prompt: list[str], **told: Any) -> None:
        self._made: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._wanted = threading.Semaphore(0)
        self._over = False
        self._taken = 0
        (self._result,) = generator.generate_batch(
            [prompt], asynchronous=True, callback=self._called, **_FIXED, **told
        )

    def _called(self, step: Any) -> bool:
        """In the engine's thread, with each token; True ends the request."""
        self._made.put(int(step.token_id))
        self._wanted.acquire()
        return self._over

    def take(self) -> int:
        """The next token's id. Raises GenerationFailed."""
        if self._taken:
            self._wanted.release()
        self._taken += 1
        while True:
            try:
                return self._made.get(timeout=_POLL_S)
            except queue.Empty:
                if self._result.done() and self._made.empty():
                    self._ended()

    def _ended(self) -> None:
        try:
            self._result.result()
        except Exception as error:
            raise GenerationFailed(f"ctranslate2: {error}") from error
        raise GenerationFailed("ctranslate2 ended before the last token")

    def close(self) -> None:
        """End the request, and wait until the engine has left it."""
        self._over = True
        self._wanted.release()
        with contextlib.suppress(Exception):  # told already, or of no use any more
            self._result.result()


_FIXED: Mapping[str, Any] = {
    "max_batch_size": 1,
    "batch_type": "examples",
    "beam_size": 1,
    "num_hypotheses": 1,
    "length_penalty": 1.0,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "disable_unk": False,
    "suppress_sequences": None,
    "end_token": [],
    "return_end_token": True,
    "min_length": 0,
    "include_prompt_in_result": False,
    "return_scores": False,
    "sampling_topk": 1,
    "sampling_topp": 1.0,
    "sampling_temperature": 1.0,
}
"""What every request tells the engine, so that its defaults decide nothing. Top-k 1 is greedy."""


def _import() -> tuple[Any, Any]:
    """The engine, and the tokenizers library."""
    try:
        return import_module("ctranslate2"), import_module("tokenizers")
    except ImportError as error:
        raise Unavailable(f"ctranslate2 is not installed ({error})", REMEDY) from error
    except (OSError, RuntimeError) as error:
        raise Unavailable(f"ctranslate2 does not load: {error}", REMEDY) from error


def _compute_type(options: LoadOptions) -> str:
    checks.options("ctranslate2", options, (COMPUTE_TYPE,))
    asked = str(options.extra.get(COMPUTE_TYPE, "default"))
    if asked == "auto":
        raise Unsupported(f"{COMPUTE_TYPE} auto: the engine would choose; name the one to be run")
    return asked


def _vocabulary(path: Path) -> tuple[list[str], str]:
    """Token strings by id, and the end-of-sequence token. Raises LoadFailed."""
    try:
        config = json.loads((path / "config.json").read_text("utf-8"))
        tokens = json.loads((path / "vocabulary.json").read_text("utf-8"))
        if not tokens or len(set(map(str, tokens))) != len(tokens):
            raise ValueError("a token string is there twice: ids can't be told apart")
        return list(map(str, tokens)), str(config["eos_token"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LoadFailed(path, f"no usable CTranslate2 folder: {error!r}") from error
