"""The toy's adapter with one fault each. Everything else about it is right."""

from __future__ import annotations

import mmap
import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from backends.api import LoadFailed, Request, Sampling, Token
from toys.adapter import VOCABULARY, Toy


class ProbeRaises(Toy):
    """Says by an exception that it can't run."""

    def probe(self) -> Any:
        raise RuntimeError("no such engine")


class ProbeNeedsTheEngine(Toy):
    """Where the engine is not installed, the ImportError comes out of probe."""

    def probe(self) -> Any:
        import numpy  # noqa: F401

        return super().probe()


class IgnoresUnknownOptions(Toy):
    """Takes any option, and does nothing with it."""

    def load(self, artifact: Any, options: Any) -> None:
        super().load(artifact, replace(options, extra={}))


class FallsBackToTheCpu(Toy):
    """Takes any device, and runs on the CPU."""

    def load(self, artifact: Any, options: Any) -> None:
        super().load(artifact, replace(options, device="cpu"))


class NoLoadFailed(Toy):
    """Lets its own exceptions out when there is no file."""

    def load(self, artifact: Any, options: Any) -> None:
        artifact.path.stat()
        super().load(artifact, options)


class PadsWhatIsCut(Toy):
    """Loads a file that was cut off as if the rest were zeros."""

    def load(self, artifact: Any, options: Any) -> None:
        try:
            super().load(artifact, options)
        except LoadFailed:
            data = artifact.path.read_bytes() if artifact.path.is_file() else b""
            if not data.startswith(b"TOY1"):
                raise
            data = data[4:].ljust(VOCABULARY**2, b"\0")
            self.rows = [data[i * VOCABULARY :][:VOCABULARY] for i in range(VOCABULARY)]
            self.context = options.context


class NeverOpensTheFile(Toy):
    """Checks the file's head, then answers from a table of its own."""

    def load(self, artifact: Any, options: Any) -> None:
        super().load(artifact, options)
        draw = random.Random(1)
        self.rows = [bytes(draw.sample(range(256), 256)) for _ in range(VOCABULARY)]
        for row in range(128):  # ASCII stays ASCII
            self.rows[row] = bytes(v if 32 <= i < 127 else 0 for i, v in enumerate(self.rows[row]))


class KeepsWhatItLoads(Toy):
    """Every load leaves eight megabytes behind: pages of their own, not some that others freed."""

    kept: ClassVar[list[mmap.mmap]] = []

    def load(self, artifact: Any, options: Any) -> None:
        super().load(artifact, options)
        pages = mmap.mmap(-1, 8 << 20)
        pages.write(b"x" * len(pages))
        self.kept.append(pages)


class ClosesOnce(Toy):
    """A second `close` is an error."""

    closed = True

    def load(self, artifact: Any, options: Any) -> None:
        self.rows, self.closed = None, True
        super().load(artifact, options)

    def generate(self, request: Request) -> Iterator[Token]:
        self.closed = False
        yield from super().generate(request)

    def close(self) -> None:
        if self.rows is None and not self.closed:
            raise RuntimeError("closed already")
        super().close()


class IgnoresStops(Toy):
    """Goes on to the limit."""

    def generate(self, request: Request) -> Iterator[Token]:
        yield from super().generate(replace(request, stop_ids=frozenset()))


class StopsWhenForced(Toy):
    """Stops at a stop id though told to go on."""

    def generate(self, request: Request) -> Iterator[Token]:
        yield from super().generate(replace(request, force_length=False))


class OneBurst(Toy):
    """Computes all tokens before it yields the first."""

    def generate(self, request: Request) -> Iterator[Token]:
        yield from list(super().generate(request))


class CannotBeClosed(Toy):
    """`close` of its iterator does nothing."""

    def generate(self, request: Request) -> Iterator[Token]:
        return _Unstoppable(super().generate(request))


class _Unstoppable:
    def __init__(self, tokens: Iterator[Token]) -> None:
        self.tokens = tokens

    def __iter__(self) -> Iterator[Token]:
        return self

    def __next__(self) -> Token:
        return next(self.tokens)

    def close(self) -> None:
        pass


class LeaksTheLastPrompt(Toy):
    """After another prompt, the sixth letter and those after it are other ones."""

    last: int | None = None

    def generate(self, request: Request) -> Iterator[Token]:
        before, self.last = self.last, (request.prompt_ids or (0,))[-1]
        for index, token in enumerate(super().generate(request)):
            if index > 4 and token.id < 128 and before not in (None, self.last):
                token = Token(ord("x"), "x")
            yield token


class BreaksCharacters(Toy):
    """Decodes each token by itself."""

    def generate(self, request: Request) -> Iterator[Token]:
        for token in super().generate(request):
            yield Token(token.id, bytes([token.id]).decode("utf-8", "replace"))


class CutsThePrompt(Toy):
    """Drops the beginning of a prompt that is too long, in silence."""

    def generate(self, request: Request) -> Iterator[Token]:
        room = self.context - request.max_tokens
        yield from super().generate(replace(request, prompt_ids=request.prompt_ids[-room:]))


class BreaksOnAnEmptyPrompt(Toy):
    """An empty prompt is an IndexError."""

    def generate(self, request: Request) -> Iterator[Token]:
        request.prompt_ids[-1]
        yield from super().generate(request)


class TakesForeignIds(Toy):
    """Ids outside of the vocabulary wrap around."""

    def generate(self, request: Request) -> Iterator[Token]:
        ids = tuple(i % VOCABULARY for i in request.prompt_ids)
        yield from super().generate(replace(request, prompt_ids=ids))


class NeverReadsThePrompt(Toy):
    """Every prompt is the same to it."""

    def generate(self, request: Request) -> Iterator[Token]:
        request.check(self.context, VOCABULARY)
        yield from super().generate(replace(request, prompt_ids=(65,)))


class DropsTheFirstId(Toy):
    """Evaluates all ids but the first, as if that were a BOS."""

    def generate(self, request: Request) -> Iterator[Token]:
        request.check(self.context, VOCABULARY)
        yield from super().generate(replace(request, prompt_ids=request.prompt_ids[1:]))


class LooksBack(Toy):
    """Right: a model to which every id of the prompt matters. An answer begins with a letter."""

    def generate(self, request: Request) -> Iterator[Token]:
        request.check(self.context, VOCABULARY)
        start = 97 + sum(n * i for n, i in enumerate(request.prompt_ids, 1)) % 26
        yield from super().generate(replace(request, prompt_ids=(start,)))


class DropsTheLastId(LooksBack):
    """Evaluates all ids but the last, and a lone one as it is."""

    def generate(self, request: Request) -> Iterator[Token]:
        request.check(self.context, VOCABULARY)
        ids = request.prompt_ids
        yield from super().generate(replace(request, prompt_ids=ids[:-1] or ids))


class DropsTheFirstOfMany(LooksBack):
    """Takes a lone id as it is, and drops the first of more."""

    def generate(self, request: Request) -> Iterator[Token]:
        request.check(self.context, VOCABULARY)
        ids = request.prompt_ids
        yield from super().generate(replace(request, prompt_ids=ids[1:] or ids))


class AddsBos(Toy):
    """Evaluates one id more than it was given, by its own count."""

    evaluated = 0

    def generate(self, request: Request) -> Iterator[Token]:
        self.evaluated = len(request.prompt_ids) + 1
        yield from super().generate(request)

    def claims(self) -> dict[str, float]:
        return {"prefill_tokens": float(self.evaluated)}


class _Told(Toy):
    """Changes the sampling it was told."""

    def told(self, sampling: Sampling) -> Sampling:
        raise NotImplementedError

    def generate(self, request: Request) -> Iterator[Token]:
        yield from super().generate(replace(request, sampling=self.told(request.sampling)))


class OneSeedForAll(_Told):
    """The seed is always 0."""

    def told(self, sampling: Sampling) -> Sampling:
        return replace(sampling, seed=0)


class IgnoresTopK(_Told):
    """top_k does nothing."""

    def told(self, sampling: Sampling) -> Sampling:
        return replace(sampling, top_k=0)


class IgnoresTopP(_Told):
    """top_p does nothing, though the gap says that it is refused."""

    def told(self, sampling: Sampling) -> Sampling:
        return replace(sampling, top_p=1.0)


class DeclaresTooMuch(Toy):
    """A gap where there is none."""

    gaps: Mapping[str, str] = {**Toy.gaps, "top_k_honoured": "never: so we say"}


class LosesCapitals(Toy):
    """Its tokenizer makes everything lower case."""

    def tokenize(self, text: str) -> list[int]:
        return list(text.lower().encode())


class ScoresTheWrongRow(Toy):
    """Row i judges the token before, not the one after."""

    def logits(self, ids: Any) -> Any:
        import numpy

        Request(tuple(ids), 1).check(self.context, VOCABULARY)
        assert self.rows is not None
        wrong = [list(self.rows[i]) for i in [0, *ids[:-1]]]
        return numpy.array(wrong, dtype="float32")


class DrawsByAnotherSampler(Toy):
    """`draw` is uniform."""

    def draw(self, prompt_ids: Any, sampling: Sampling, seeds: Any) -> list[int]:
        return [random.Random(seed).randrange(VOCABULARY) for seed in seeds]


class CountsChunks(Toy):
    """Claims half of the tokens that it decoded."""

    made = 0

    def generate(self, request: Request) -> Iterator[Token]:
        self.made = 0
        for token in super().generate(request):
            self.made += 1
            yield token

    def claims(self) -> dict[str, float]:
        return {"decode_tokens": float(self.made // 2)}


class RendersNothing(Toy):
    """Its chat template forgets the message."""

    def render(self, messages: Any, *, prefill: bool = False, variables: Any = None) -> Any:
        from backends.api import Rendering

        return Rendering("User:\nAssistant:", (85, 115))
