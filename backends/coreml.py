"""Core ML through coremltools: stateful language models on macOS 15 or newer.

Written from coremltools' sources and documentation; not run against Core ML. coremltools predicts on
macOS only. What model it expects is in `coreml_package`.

What this engine does, where engines differ:

- Core ML has no generation loop: the loop is our own, so length is forced by going on, and sampling
  is the adapter's (`sampling`). Keys and values are a state, made anew for every request.
- It takes no number of threads; the option `own_threads: true` accepts its choice.
- `device` is a set of compute units that it may use, not a promise that it does: what the others
  can't do runs on the CPU, and nothing tells from Python.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

from backends import checks, coreml_package
from backends import sampling as sampler
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
from backends.coreml_package import IDS, LOGITS, MASK, Package
from backends.text import TextStream

REMEDY = "bakeoff engines install coreml"
ON_A_MAC = f"on macOS 15 or newer: {REMEDY}"
OWN_THREADS = "own_threads"
UNITS = {
    "cpu": "CPU_ONLY",
    "cpu_and_gpu": "CPU_AND_GPU",
    "cpu_and_ne": "CPU_AND_NE",
    "all": "ALL",
}
"""By the name of our device: coremltools' ComputeUnit."""


class CoreML:
    """One stateful model, run step by step."""

    name = "coreml"
    formats = frozenset({"coreml"})
    gaps: Mapping[str, str] = {
        "prefix_not_reused": "never: Core ML counts no tokens; every request gets a state of its own",
        "prefix_reused_on_request": "notimpl: the adapter makes a new state per request",
        "claims": "never: Core ML neither counts nor times tokens",
        "renders_chat": "never: Core ML formats no chat, applications do it themselves",
        "scores_top": "notimpl: `logits` gives the whole distribution",
    }

    def __init__(self) -> None:
        self._model: Any = None
        self._tokenizer: Any = None
        self._numpy: Any = None
        self._package: Package | None = None
        self._limit = 0
        self._step = 0

    def probe(self) -> Availability:
        """Versions of coremltools and macOS, and the sets of compute units."""
        try:
            tools, _ = _import()
            build = {"macos": platform.mac_ver()[0], "machine": platform.machine()}
            build["threads"] = "Core ML's own choice"
            return Availability(str(tools.__version__), "coremltools", build, tuple(UNITS))
        except Unavailable as error:
            return Availability(reason=error.reason, remedy=error.remedy)
        except Exception as error:
            return Availability(reason=f"coremltools is broken: {error}", remedy=REMEDY)

    def load(self, artifact: Artifact, options: LoadOptions) -> None:
        """Compile the package, as coremltools does at every load, for the compute units asked for."""
        self.close()
        _check_options(options)
        tools, tokenizers = _import()
        path = artifact.path
        package = coreml_package.read(path)
        checks.context(options, package.context)
        units = getattr(tools.ComputeUnit, UNITS[options.device])
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(package.tokenizer))
            self._model = tools.models.MLModel(str(package.model), compute_units=units)
            self._step = coreml_package.step(path, self._model.get_spec(), options.context)
        except LoadFailed:
            self.close()
            raise
        except Exception as error:
            self.close()
            raise LoadFailed(path, f"Core ML cannot load it: {checks.said(error)}") from error
        self._numpy = import_module("numpy")
        self._package, self._limit = package, options.context

    def generate(self, request: Request) -> Iterator[Token]:
        """The prompt in as few predictions as the model's shapes allow, then one per token."""
        package = self._check(request)
        pick = sampler.picker(self._numpy, request.sampling)
        model, state = self._model, self._state()
        stops = request.stop_ids | package.ends
        text = TextStream(self.detokenize)
        ids = list(request.prompt_ids)
        fresh = ids
        for number in range(1, request.max_tokens + 1):
            token = pick(ids, self._predict(fresh, len(ids) - len(fresh), state)[-1])
            ids.append(token)
            last = number == request.max_tokens
            last = last or (not request.force_length and token in stops)
            yield Token(token, text.add(token, last))
            if last:
                return
            if self._model is not model:
                raise GenerationFailed("the model was closed during generation")
            fresh = [token]

    def close(self) -> None:
        """Drop model and tokenizer; Core ML frees them with the last reference."""
        self._model = self._tokenizer = self._package = None

    def tokenize(self, text: str) -> list[int]:
        """By the tokenizers library. Special tokens written out in the text are recognised."""
        self._loaded()
        return list(self._tokenizer.encode(text).ids)

    def detokenize(self, ids: Sequence[int]) -> str:
        """By the tokenizers library, which leaves special tokens out."""
        self._loaded()
        return str(self._tokenizer.decode(list(ids)))

    def logits(self, ids: Sequence[int]) -> Any:
        """The model's output for the prompt, where it gives every position."""
        package = self._loaded()
        checks.scored(ids, self._limit, package.vocabulary)
        rows = self._predict(ids, 0, self._state())
        if len(rows) != len(ids):
            raise Unsupported("logits: the model gives those of the last position only")
        return rows

    def _predict(self, ids: Sequence[int], past: int, state: Any) -> Any:
        """Logits, float32, of the new `ids` that follow `past` ones: by pieces, if need be."""
        numpy, rows = self._numpy, []
        for start in range(0, len(ids), self._step):
            piece = ids[start : start + self._step]
            before = past + start
            mask = numpy.zeros((1, 1, len(piece), before + len(piece)), numpy.float16)
            mask[0, 0][numpy.triu_indices(len(piece), before + 1, before + len(piece))] = -numpy.inf
            given = {IDS: numpy.array([piece], numpy.int32), MASK: mask}
            try:
                found = self._model.predict(given, state)[LOGITS]
            except Exception as error:
                raise GenerationFailed(f"Core ML: {checks.said(error)}") from error
            rows.append(numpy.asarray(found, numpy.float32)[0])
        return numpy.concatenate(rows)

    def _state(self) -> Any:
        try:
            return self._model.make_state()
        except Exception as error:
            raise GenerationFailed(f"Core ML makes no state: {checks.said(error)}") from error

    def _loaded(self) -> Package:
        if self._package is None:
            raise GenerationFailed("no model is loaded")
        return self._package

    def _check(self, request: Request) -> Package:
        package = self._loaded()
        if request.reuse_prefix:
            raise Unsupported("reuse_prefix: a state ends with its request")
        request.check(self._limit, package.vocabulary)
        return package


def _import() -> tuple[Any, Any]:
    """coremltools, and the tokenizers library. Elsewhere coremltools imports, but predicts nothing."""
    if sys.platform != "darwin":
        raise Unavailable(f"Core ML is part of macOS, and this is {sys.platform}", ON_A_MAC)
    if int(platform.mac_ver()[0].partition(".")[0] or 0) < 15:
        raise Unavailable(f"this is macOS {platform.mac_ver()[0]}: states need 15", ON_A_MAC)
    try:
        return import_module("coremltools"), import_module("tokenizers")
    except ImportError as error:
        raise Unavailable(f"coremltools is not installed ({error})", REMEDY) from error
    except (OSError, RuntimeError) as error:
        raise Unavailable(f"coremltools does not load: {error}", REMEDY) from error


def _check_options(options: LoadOptions) -> None:
    checks.options("Core ML", options, (OWN_THREADS,), UNITS)
    if options.extra.get(OWN_THREADS) is not True:
        raise Unsupported(
            "threads: Core ML takes no number of them", f"{OWN_THREADS}: true accepts its own"
        )
