"""One class, one lie. Each was told by a published benchmark or engine; see docs/liars.md."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

from bakeoff_fake.adapter import Fake, Silent

from backends.api import Artifact, Availability, LoadOptions, Request, Sampling, Token


class TwoTokensAChunk(Fake):
    """A streamed chunk is not a token: each holds the text of two."""

    def generate(self, request: Request) -> Iterator[Token]:
        longer = replace(request, max_tokens=2 * request.max_tokens)
        tokens = super().generate(longer)
        for first, second in zip(tokens, tokens, strict=False):
            yield Token(first.id, first.text + second.text)


class EmptyFirstChunk(Fake):
    """The first chunk carries a role and no token, and makes TTFT look short."""

    def generate(self, request: Request) -> Iterator[Token]:
        yield Token(0, "")
        yield from super().generate(request)


class ReusesThePrefix(Fake):
    """A repeated prompt is not evaluated again."""

    def prefill(self, request: Request) -> None:
        super().prefill(replace(request, reuse_prefix=True))


class ReusesThePrefixQuietly(Silent):
    """The same, without a count that would tell: only time does."""

    def prefill(self, request: Request) -> None:
        fresh = request.prompt_ids != self.held
        super().prefill(request)
        time.sleep(0.05 if fresh else 0.0)


class IgnoresTheForcedLength(Fake):
    """Stops at a stop token though told to go on."""

    def generate(self, request: Request) -> Iterator[Token]:
        for token in super().generate(request):
            yield token
            if token.id in request.stop_ids:
                return


class StopsAtEos(Fake):
    """Ends at its own end-of-sequence token: outputs of any length."""

    def generate(self, request: Request) -> Iterator[Token]:
        for number, token in enumerate(super().generate(request)):
            yield token
            if number > 1 and token.id % 3 == 0:
                return


class IgnoresStops(Fake):
    """Never stops before the limit."""

    def generate(self, request: Request) -> Iterator[Token]:
        yield from super().generate(replace(request, stop_ids=frozenset()))


class _Sampling(Fake):
    """Changes the sampling it was told."""

    def told(self, sampling: Sampling) -> Sampling:
        return sampling

    def generate(self, request: Request) -> Iterator[Token]:
        yield from super().generate(replace(request, sampling=self.told(request.sampling)))


class IgnoresTemperature(_Sampling):
    """Temperature is dead: always greedy."""

    def told(self, sampling: Sampling) -> Sampling:
        return replace(sampling, temperature=0.0)


class SamplesAtItsOwnTemperature(_Sampling):
    """Any temperature above 0 is taken for the default of 3."""

    def told(self, sampling: Sampling) -> Sampling:
        return sampling if sampling.greedy else replace(sampling, temperature=3.0)


class IgnoresTopK(_Sampling):
    """top_k does nothing."""

    def told(self, sampling: Sampling) -> Sampling:
        return replace(sampling, top_k=0)


class IgnoresTopP(_Sampling):
    """top_p does nothing."""

    def told(self, sampling: Sampling) -> Sampling:
        return replace(sampling, top_p=1.0)


class IgnoresMinP(_Sampling):
    """min_p does nothing."""

    def told(self, sampling: Sampling) -> Sampling:
        return replace(sampling, min_p=0.0)


class IgnoresThePenalty(_Sampling):
    """The repetition penalty does nothing."""

    def told(self, sampling: Sampling) -> Sampling:
        return replace(sampling, repetition_penalty=1.0)


class IgnoresTheSeed(_Sampling):
    """Draws a seed of its own for each request."""

    def told(self, sampling: Sampling) -> Sampling:
        return replace(sampling, seed=random.SystemRandom().randrange(2**32))


class OneSeedForAll(_Sampling):
    """One seed for every request."""

    def told(self, sampling: Sampling) -> Sampling:
        return replace(sampling, seed=0)


class SamplesWhenToldGreedy(_Sampling):
    """Drops the sampling arguments and samples by its own defaults."""

    def told(self, sampling: Sampling) -> Sampling:
        seed = random.SystemRandom().randrange(2**32)
        return replace(sampling, temperature=2.0, seed=seed) if sampling.greedy else sampling


class MoreThreadsThanTold(Fake):
    """A pool of three threads, whatever it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.pool_stop = threading.Event()

    def load(self, artifact: Artifact, options: LoadOptions) -> None:
        super().load(artifact, options)

        def spin() -> None:
            while not self.pool_stop.is_set():
                hashlib.sha256(bytes(1 << 20)).digest()
                time.sleep(0.001)

        for _ in range(3):
            threading.Thread(target=spin, daemon=True).start()

    def close(self) -> None:
        self.pool_stop.set()
        super().close()


class DoublesBos(Fake):
    """Adds a beginning-of-sequence token to ids that were complete."""

    def prefill(self, request: Request) -> None:
        super().prefill(replace(request, prompt_ids=(1, *request.prompt_ids)))


class Retokenises(Fake):
    """Decodes the ids to text and encodes that again: another prompt, of another length."""

    def prefill(self, request: Request) -> None:
        text = self.detokenize(request.prompt_ids).replace("e ", "e")
        super().prefill(replace(request, prompt_ids=tuple(self.tokenize(text))))


class LoadsInGenerate(Fake):
    """`load` returns at once; the first request pays."""

    opened = False

    def prefill(self, request: Request) -> None:
        if not self.opened:
            time.sleep(3.0)
            self.opened = True
        super().prefill(request)


class HidesInAChild(Fake):
    """Memory and work are in a child process, where a look at the worker alone misses them."""

    child: subprocess.Popen[bytes] | None = None

    def load(self, artifact: Artifact, options: LoadOptions) -> None:
        super().load(artifact, options)
        source = "b = bytearray(80 << 20); b[::4096] = b'x' * len(b[::4096]); print('ready', flush=True); input()"
        self.child = subprocess.Popen(
            [sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.child.stdout is not None
        self.child.stdout.readline()

    def close(self) -> None:
        if self.child is not None:
            self.child.kill()
            self.child.communicate()
            self.child = None
        super().close()


class SomeoneElsesVersion(Fake):
    """Reports a version that no installed package has."""

    def probe(self) -> Availability:
        return replace(super().probe(), version="99.0.1")


class IdsOutsideTheVocabulary(Fake):
    """Returns ids that its own model does not know."""

    def generate(self, request: Request) -> Iterator[Token]:
        for token in super().generate(request):
            yield Token(token.id + 512, token.text)


class TextOfOtherIds(Fake):
    """Text and ids do not belong together."""

    def generate(self, request: Request) -> Iterator[Token]:
        for token in super().generate(request):
            yield Token(token.id, "x")


class OneBurst(Fake):
    """Makes the whole answer first and then streams it."""

    def generate(self, request: Request) -> Iterator[Token]:
        yield from list(super().generate(request))


class NeverReadsThePrompt(Fake):
    """The output does not depend on the input."""

    def generate(self, request: Request) -> Iterator[Token]:
        same = replace(request, prompt_ids=tuple(range(97, 97 + 16)))
        for token in super().generate(same):
            self.evaluated = len(request.prompt_ids)
            yield token
