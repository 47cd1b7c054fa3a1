"""picoLLM through its Python package: Picovoice's own compressed models (.pllm), with an AccessKey.

Written from the package's sources, which import anywhere; no model was run, for want of a key.

What this engine does, where engines differ:

- `generate` takes text, shows text, and can't be told to go on. So the loop is our own over
  `forward`, which takes one token's id and gives the logits: the prompt goes in one by one, and each
  step makes a Python list of the whole vocabulary. An application that calls `generate` is faster;
  compare answers with these numbers, not speeds.
- The engine's sampler works inside `generate` only: greedy it is here.
- It turns no ids into text, so that tokens have none.
- The AccessKey is checked by Picovoice's servers when the model is opened.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
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
    Token,
    Unavailable,
    Unsupported,
)

REMEDY = "bakeoff engines install picollm"
KEY_ENV = "api_key_env"
END_IDS = "end_ids"
_REFUSALS = (
    "PicoLLMKeyError",
    "PicoLLMActivationError",
    "PicoLLMActivationLimitError",
    "PicoLLMActivationThrottledError",
    "PicoLLMActivationRefusedError",
)
_GPU = re.compile(r"gpu(:\d+)?")


class PicoLLM:
    """One .pllm file, run token by token."""

    name = "picollm"
    formats = frozenset({"pllm"})
    gaps: Mapping[str, str] = {
        "prefix_not_reused": "never: picoLLM counts no tokens; every request begins with a reset",
        "prefix_reused_on_request": "notimpl: context caching is a mode of `generate`",
        "seed_repeats": "notimpl: picoLLM samples inside of `generate` only, which takes no ids",
        "seed_matters": "notimpl: picoLLM samples inside of `generate` only, which takes no ids",
        "temperature_honoured": "notimpl: picoLLM samples inside of `generate` only",
        "top_k_honoured": "never: picoLLM has no such filter",
        "top_p_honoured": "notimpl: picoLLM samples inside of `generate` only",
        "min_p_honoured": "never: picoLLM has no such filter",
        "repetition_penalty_honoured": "never: picoLLM has no such penalty",
        "text_matches_ids": "never: picoLLM turns no ids into text",
        "characters_arrive_whole": "never: picoLLM turns no ids into text",
        "tokenizes": "never: picoLLM turns no ids into text",
        "claims": "never: picoLLM counts tokens of `generate` only",
        "scores_top": "notimpl: `logits` gives the whole distribution",
    }

    def __init__(self) -> None:
        self._engine: Any = None
        self._key = ""
        self._ends: frozenset[int] = frozenset()
        self._vocabulary = 0
        self._limit = 0

    def probe(self) -> Availability:
        """Version, and the devices that the engine lists. Asks for no key."""
        try:
            pico = _import()
            listed = tuple(map(str, pico.available_devices()))
            build = {"devices": ", ".join(listed)}
            names = ("cpu", *(one.partition(" ")[0] for one in listed if one.startswith("gpu")))
            return Availability(version("picollm"), "picollm", build, names)
        except Unavailable as error:
            return Availability(reason=error.reason, remedy=error.remedy)
        except Exception as error:
            return Availability(reason=f"picollm is broken: {checks.said(error)}", remedy=REMEDY)

    def load(self, artifact: Artifact, options: LoadOptions) -> None:
        """Open the file. The key comes from the variable that the option `api_key_env` names."""
        self.close()
        device, ends = _device(options), _ends(options)
        self._key = key = _key(options)
        pico = _import()
        path = artifact.path
        if not path.is_file():
            raise LoadFailed(path, "no such file")
        try:
            self._engine = pico.create(
                access_key=key, model_path=str(path), device=device, enable_context_caching=False
            )
            first = self._engine.tokenize("a", bos=False, eos=False)[0]
            self._vocabulary = len(self._engine.forward(first))
            self._engine.reset()
        except Exception as error:
            self.close()
            said = checks.said(error, key)
            if isinstance(error, tuple(getattr(pico, name) for name in _REFUSALS)):
                refused = "see the AccessKey in the vendor's console"
                raise Unavailable(f"the AccessKey was refused: {said}", refused) from None
            raise LoadFailed(path, f"picollm cannot load it: {said}") from None
        try:
            checks.context(options, int(self._engine.context_length))
        except Unsupported:
            self.close()
            raise
        self._ends, self._limit = ends, options.context

    def generate(self, request: Request) -> Iterator[Token]:
        """One forward pass per token, of the prompt as of the answer. Tokens have no text."""
        engine = self._loaded()
        _refuse(request)
        request.check(self._limit, self._vocabulary)
        stops = request.stop_ids | self._ends
        row = self._rows(engine, request.prompt_ids, keep=1)[-1]
        for number in range(1, request.max_tokens + 1):
            token = max(range(len(row)), key=row.__getitem__)
            yield Token(token, "")
            if number == request.max_tokens or (not request.force_length and token in stops):
                return
            if self._engine is not engine:
                raise GenerationFailed("the model was closed during generation")
            row = self._forward(engine, token)

    def close(self) -> None:
        """Free the model."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.release()

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        prefill: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> Rendering:
        """By the model's Dialog, which is filled turn by turn. What `generate` makes of its text, a
        BOS among it, is not shown: there are no ids. An assistant's message can't be continued."""
        engine = self._loaded()
        if variables:
            raise Unsupported("template variables: picoLLM's dialogs take none")
        try:
            turns = [(str(one["role"]), str(one["content"])) for one in messages]
            system = turns.pop(0)[1] if turns and turns[0][0] == "system" else None
            dialog = engine.get_dialog(history=None, system=system)
            say = {"user": dialog.add_human_request, "assistant": dialog.add_llm_response}
            for role, content in turns:
                say[role](content)
            return Rendering(str(dialog.prompt()), None)
        except Exception as error:
            said = checks.said(error, self._key)
            raise Rejected(f"{type(error).__name__}: {said}") from None

    def logits(self, ids: Sequence[int]) -> Any:
        """One forward pass per position."""
        engine = self._loaded()
        try:
            numpy = import_module("numpy")
        except ImportError as error:
            raise Unsupported("logits: numpy is not installed beside picollm", REMEDY) from error
        checks.scored(ids, self._limit, self._vocabulary)
        return numpy.array(self._rows(engine, ids, keep=len(ids)), numpy.float32)

    def _rows(self, engine: Any, ids: Sequence[int], keep: int) -> list[Sequence[float]]:
        """Logits of the last `keep` of the ids, from the beginning of a sequence on."""
        try:
            engine.reset()
        except Exception as error:
            raise GenerationFailed(f"picollm: {checks.said(error, self._key)}") from None
        rows: list[Sequence[float]] = []
        for token in ids:
            rows = [*rows, self._forward(engine, token)][-keep:]
        return rows

    def _forward(self, engine: Any, token: int) -> Sequence[float]:
        try:
            row: Sequence[float] = engine.forward(token)
        except Exception as error:
            raise GenerationFailed(f"picollm: {checks.said(error, self._key)}") from None
        return row

    def _loaded(self) -> Any:
        if self._engine is None:
            raise GenerationFailed("no model is loaded")
        return self._engine


def _import() -> Any:
    try:
        return import_module("picollm")
    except ImportError as error:
        raise Unavailable(f"picollm is not installed ({error})", REMEDY) from error
    except (OSError, RuntimeError, NotImplementedError) as error:
        raise Unavailable(f"picollm does not load: {error}", REMEDY) from error


def _refuse(request: Request) -> None:
    if request.reuse_prefix:
        raise Unsupported("reuse_prefix: every request begins with a reset")
    sampling = request.sampling
    if not sampling.greedy:
        raise Unsupported("sampling: picoLLM samples inside of `generate` only, which takes no ids")
    if sampling.repetition_penalty != 1.0:
        raise Unsupported("repetition_penalty: picoLLM has no such penalty")


def _device(options: LoadOptions) -> str:
    """In picoLLM's words, which hold the number of threads."""
    checks.options("picoLLM", options, (KEY_ENV, END_IDS), (options.device,))
    if options.device == "cpu":
        return f"cpu:{options.threads}"
    if not _GPU.fullmatch(options.device):
        raise Unsupported(f"device {options.device!r}: expected cpu, gpu or gpu:0")
    listed = [str(one) for one in _import().available_devices()]
    if not any(one.startswith(options.device) for one in listed):
        raise Unsupported(f"device {options.device!r}: picoLLM finds {', '.join(listed)}")
    return options.device


def _ends(options: LoadOptions) -> frozenset[int]:
    """Ids that end a sequence, which picoLLM keeps to itself: `end_ids: "2,128009"`."""
    return frozenset(checks.ids(END_IDS, str(options.extra.get(END_IDS, ""))))


def _key(options: LoadOptions) -> str:
    if KEY_ENV not in options.extra:
        raise Unsupported(
            f"picoLLM needs an AccessKey, in a variable that the option {KEY_ENV} names",
            f"export BAKEOFF_API_KEY=…, and {KEY_ENV}: BAKEOFF_API_KEY",
        )
    return checks.key(str(options.extra[KEY_ENV]))
