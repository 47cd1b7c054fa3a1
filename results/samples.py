"""The samples of one trial in columns: a tenth of the memory of objects, and fit for arithmetic.

A run of a million requests is read into these. Whoever wants a `Sample` indexes or iterates and
gets one made; whoever counts uses the columns. numpy is imported here, so this is imported late.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, repeat
from typing import Protocol, overload

import numpy as np
from numpy.typing import NDArray

from results.records import Record, Sample

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Objects = NDArray[np.object_]


class Like(Protocol):
    """Anything with the fields of a `Sample`."""

    @property
    def index(self) -> int: ...
    @property
    def warmup(self) -> bool: ...
    @property
    def prompt(self) -> str: ...
    @property
    def prompt_tokens(self) -> int: ...
    @property
    def submitted_ns(self) -> int: ...
    @property
    def token_ns(self) -> Sequence[int]: ...
    @property
    def token_ids(self) -> Sequence[int]: ...
    @property
    def done_ns(self) -> int: ...
    @property
    def claims(self) -> Mapping[str, float]: ...


class Samples(Sequence[Sample]):
    """A sequence of `Sample`, equal to a tuple of the same ones.

    Columns have one value per request. `token_ns` and `token_ids` hold the tokens of all requests,
    one after the other: those of request i end before `ends[i]`. A claim that a request does not
    make is NaN in the column of its name.
    """

    __slots__ = (
        "claims", "done_ns", "ends", "indices", "prompt", "prompt_tokens", "submitted_ns", "token_ids",
        "token_ns", "tokens", "warmup",
    )  # fmt: skip

    def __init__(self, samples: Sequence[Like]) -> None:
        """Raises OverflowError for an integer beyond 64 bits, ValueError for unequal lengths."""
        stamps, ids = [s.token_ns for s in samples], [s.token_ids for s in samples]
        self.tokens = _ints(map(len, stamps))
        unlike = np.flatnonzero(self.tokens != _ints(map(len, ids)))
        if len(unlike):
            one = samples[unlike[0]]
            raise ValueError(
                f"sample has {len(one.token_ids)} token ids but {len(one.token_ns)} time stamps"
            )
        self.ends = self.tokens.cumsum()
        self.token_ns = _ints(chain.from_iterable(stamps))
        self.token_ids = _ints(chain.from_iterable(ids))
        self.indices = _ints([s.index for s in samples])
        self.warmup = np.array([s.warmup for s in samples], dtype=np.bool_)
        self.prompt = list(map(sys.intern, [s.prompt for s in samples]))
        self.prompt_tokens = _ints([s.prompt_tokens for s in samples])
        self.submitted_ns = _ints([s.submitted_ns for s in samples])
        self.done_ns = _ints([s.done_ns for s in samples])
        names = dict.fromkeys(chain.from_iterable([s.claims for s in samples]))
        self.claims: dict[str, Floats] = {
            sys.intern(name): np.array([s.claims.get(name, np.nan) for s in samples])
            for name in names
        }

    def __len__(self) -> int:
        return len(self.prompt)

    @overload
    def __getitem__(self, at: int) -> Sample: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[Sample, ...]: ...
    def __getitem__(self, at: int | slice) -> Sample | tuple[Sample, ...]:
        return tuple(self)[at]

    def __iter__(self) -> Iterator[Sample]:
        names = tuple(self.claims)
        said = zip(*(column.tolist() for column in self.claims.values()), strict=True)
        stamps, ids = self.token_ns.tolist(), self.token_ids.tolist()
        ends = self.ends.tolist()
        columns = zip(
            self.indices.tolist(), self.warmup.tolist(), self.prompt, self.prompt_tokens.tolist(),
            self.submitted_ns.tolist(), [0, *ends], ends, self.done_ns.tolist(),
            said if names else repeat(()), strict=False,
        )  # fmt: skip
        for index, warmup, prompt, tokens, submitted, begin, end, done, values in columns:
            claims = {n: v for n, v in zip(names, values, strict=True) if v == v}
            yield Sample(
                index, warmup, prompt, tokens, submitted, tuple(stamps[begin:end]),
                tuple(ids[begin:end]), done, claims,
            )  # fmt: skip

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Samples({list(self)!r})"

    @property
    def counted(self) -> Bools:
        """The requests that are no warm-up."""
        return ~self.warmup

    @property
    def first_ns(self) -> Ints:
        """When the first token came; the submission where none did."""
        return self._stamp(self.ends - self.tokens)

    @property
    def last_ns(self) -> Ints:
        """When the last token came; the submission where none did."""
        return self._stamp(self.ends - 1)

    def _stamp(self, at: Ints) -> Ints:
        found, some = self.submitted_ns.copy(), self.tokens > 0
        found[some] = self.token_ns[at[some]]
        return found

    def gaps_ns(self) -> Ints:
        """Between two tokens of one request, over all requests that are no warm-up."""
        owner = np.repeat(np.arange(len(self)), self.tokens)
        inside = (owner[1:] == owner[:-1]) & self.counted[owner[1:]]
        gaps: Ints = np.diff(self.token_ns)[inside]
        return gaps

    def claimed(self, name: str) -> Floats:
        """What each request claims under that name, NaN where it does not."""
        found = self.claims.get(name)
        return np.full(len(self), np.nan) if found is None else found


def of(record: Record) -> Samples:
    """A record's samples in columns, whether it was read from disk or has just been made."""
    samples = record.samples
    return samples if isinstance(samples, Samples) else Samples(samples)


def _ints(values: Iterable[int]) -> Ints:
    return np.fromiter(values, np.int64)
