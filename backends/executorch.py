"""ExecuTorch: exported programs (.pte) with XNNPACK on the CPU, through its Python runtime.

A program holds the graph, the weights, and room for keys and values of a size that was fixed when
it was exported. The loop is our own: ids and a position go in, the logits of the last position
come out. So length is forced by going on, and sampling is the adapter's (`sampling`).

What this engine does, where engines differ:

- The cache lives in the loaded method: a request begins at position 0 and overwrites what an
  earlier one left; attention reads no further than the position that was written last.
- A prompt longer than the program's `get_max_seq_len` goes in by pieces of that length.
- Logits of every position are had one token at a time.
- Threads are those of one pool per process, which is set before a method is loaded.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.metadata import version
from typing import Any

from backends import checks
from backends import sampling as sampler
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
from backends.executorch_program import PROGRAM, Facts, facts, incomplete
from backends.executorch_text import TOKENIZER, Text

REMEDY = "bakeoff engines install executorch"


class ExecuTorch:
    """One program's method `forward`, with the tokenizer beside it."""

    name = "executorch"
    formats = frozenset({"pte"})
    gaps: Mapping[str, str] = {
        "prefix_not_reused": "never: the runtime counts no tokens; every request starts at position 0",
        "prefix_reused_on_request": "notimpl: the adapter starts every request at position 0",
        "claims": "never: the runtime neither counts nor times what it runs",
        "renders_chat": "never: the runtime formats no chat, applications do it themselves",
        "scores_top": "notimpl: `logits` gives the whole distribution",
        "threads_as_told": "never: attention is multiplied by MKL, which has threads beside the pool's",
    }

    def __init__(self) -> None:
        self._torch: Any = None
        self._numpy: Any = None
        self._forward: Any = None
        self._text: Any = None
        self._facts = Facts(0, 0, 0, frozenset())
        self._limit = 0
        self._request = 0

    def probe(self) -> Availability:
        """Version, the backends that programs may be made for, and the size of the thread pool."""
        try:
            _, runtime, library = _import()
            build = {
                "torch": version("torch"),
                "backends": ", ".join(sorted(runtime.backend_registry.registered_backend_names)),
                "operators": str(len(runtime.operator_registry.operator_names)),
                "threads": f"pthreadpool, {library._threadpool_get_thread_count()} unless told",
            }
            return Availability(version("executorch"), "executorch", build, ("cpu",))
        except Unavailable as error:
            return Availability(reason=error.reason, remedy=error.remedy)
        except Exception as error:
            return Availability(reason=f"executorch is broken: {error}", remedy=REMEDY)

    def load(self, artifact: Artifact, options: LoadOptions) -> None:
        """Map the program, and prepare `forward`: XNNPACK packs the weights for this CPU."""
        self.close()
        _check_options(options)
        torch, runtime, library = _import()
        path = artifact.path / PROGRAM
        if reason := incomplete(path):
            raise LoadFailed(path, reason)
        library._unsafe_reset_threadpool(options.threads)
        if library._threadpool_get_thread_count() != options.threads:
            raise Unsupported(f"{options.threads} threads: the pool was not made so large")
        # torch makes tensors of ids here and computes nothing: its own threads would come on top.
        torch.set_num_threads(1)
        try:
            self._text = Text(artifact.path / TOKENIZER)
            program = runtime.load_program(path)
            self._facts = facts(program)
            self._forward = program.load_method("forward")
        except Exception as error:
            self.close()
            raise LoadFailed(path, f"executorch cannot load it: {error!r}") from error
        if options.context > self._facts.context:
            self.close()
            raise Unsupported(
                f"a context of {options.context}: the program was exported for {self._facts.context}"
            )
        self._torch, self._numpy, self._limit = torch, import_module("numpy"), options.context

    def generate(self, request: Request) -> Iterator[Token]:
        """Prefill, then one call per token."""
        self._check(request)
        pick = sampler.picker(self._numpy, request.sampling)
        self._request = mine = self._request + 1
        ids = list(request.prompt_ids)
        logits = self._prefill(ids)
        text = self._text.stream()
        end = len(ids) + request.max_tokens
        while True:
            token = pick(ids, logits)
            ids.append(token)
            last = len(ids) == end or (
                not request.force_length
                and (token in request.stop_ids or token in self._facts.ends)
            )
            yield Token(token, text.add(token, last))
            if last:
                return
            if self._forward is None or self._request != mine:
                raise GenerationFailed("another request, or close, has taken the cache")
            logits = self._step([token], len(ids) - 1)

    def close(self) -> None:
        """Drop the program; the engine frees it with the last reference."""
        self._forward = self._text = None
        gc.collect()

    def tokenize(self, text: str) -> list[int]:
        """Special tokens written out in the text are recognised; none is added."""
        self._check_loaded()
        return list(self._text.encode(text))

    def detokenize(self, ids: Sequence[int]) -> str:
        """Special tokens are left out."""
        self._check_loaded()
        return str(self._text.decode(ids))

    def logits(self, ids: Sequence[int]) -> Any:
        """A call per position, since a program gives the logits of a call's last position only."""
        self._check_loaded()
        checks.scored(ids, self._limit, self._facts.vocabulary)
        self._request += 1
        rows = self._numpy.empty((len(ids), self._facts.vocabulary), dtype=self._numpy.float32)
        for position, token in enumerate(ids):
            rows[position] = self._step([token], position)
        return rows

    def draw(
        self, prompt_ids: Sequence[int], sampling: Sampling, seeds: Sequence[int]
    ) -> list[int]:
        """The filters once, then per seed the draw that `generate` makes."""
        self._check(Request(tuple(prompt_ids), 1, sampling=sampling))
        numpy = self._numpy
        self._request += 1
        logits = self._prefill(prompt_ids)
        if sampling.greedy:
            return [sampler.picker(numpy, sampling)(prompt_ids, logits)] * len(seeds)
        shares = sampler.probabilities(numpy, sampling, prompt_ids, logits)
        return [sampler.draw(shares, sampler.generator(numpy, seed)) for seed in seeds]

    def _prefill(self, ids: Sequence[int]) -> Any:
        piece = self._facts.piece
        for begin in range(0, len(ids), piece):
            logits = self._step(ids[begin : begin + piece], begin)
        return logits

    def _step(self, ids: Sequence[int], position: int) -> Any:
        """Logits after the last of `ids`, a float32 array (vocabulary,). `position` is that of the first."""
        torch = self._torch
        try:
            (found,) = self._forward.execute(
                [torch.tensor([list(ids)]), torch.tensor([position], dtype=torch.long)]
            )
        except RuntimeError as error:
            raise GenerationFailed(f"executorch: {error}") from error
        # A copy: the next call writes over the engine's own buffer.
        return found.reshape(-1, self._facts.vocabulary)[-1].numpy().copy()

    def _check_loaded(self) -> None:
        if self._forward is None:
            raise GenerationFailed("no model is loaded")

    def _check(self, request: Request) -> None:
        self._check_loaded()
        if request.reuse_prefix:
            raise Unsupported("reuse_prefix: every request starts at position 0")
        request.check(self._limit, self._facts.vocabulary)


def _import() -> tuple[Any, Any, Any]:
    """torch, the runtime, and its bindings. Operators register when their modules are imported."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "this API is experimental"
            import executorch.extension.pybindings.portable_lib as library
            import torch
            from executorch.runtime import Runtime

            with suppress(ImportError):
                import executorch.kernels.quantized  # noqa: F401
            from executorch.extension.llm.custom_ops import custom_ops  # noqa: F401
    except ImportError as error:
        raise Unavailable(f"executorch or torch is not installed ({error})", REMEDY) from error
    except (OSError, RuntimeError) as error:
        raise Unavailable(f"executorch does not load: {error}", REMEDY) from error
    return torch, Runtime.get(), library


def _check_options(options: LoadOptions) -> None:
    checks.options("the runtime", options)
