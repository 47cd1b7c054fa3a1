"""What workers observed of a sampler, read with care: a wrong shape is counted, and says nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from results.records import Record
from results.sampling_settings import FILTERS, OFF, PARAMETERS, active
from results.sampling_tests import ALPHA, expected_variation, p_value, total_variation

Kind = Literal["told", "edge", "order", "without", "variant"]
KINDS = frozenset(get_args(Kind))

_MOST = 400  # bins or hypotheses that an observation may hold


@dataclass(frozen=True)
class Hypothesis:
    """What an engine may have made of a setting. `outside` draws it could not have made.

    `of` is the parameter that is left out (`without`) or taken otherwise (`variant`, as `how`
    says). `p_value` is that of the chi-square test; `order` the filters as they are applied.
    """

    kind: Kind
    of: str
    how: str
    order: tuple[str, ...]
    probabilities: tuple[float, ...]
    allowed: int
    outside: int
    p_value: float


@dataclass(frozen=True)
class Line:
    """One setting on one prompt by one arm.

    `p_value` and `adjusted` are of the setting as told, near ties at a cut allowed for; `variation`
    is the total variation over bins and `expected` its mean for honest draws. `outside` counts
    draws of tokens that the setting forbids. `explanation` is None for a setting that is as told,
    and for one that no hypothesis explains. `way` is `draw` or `generate`, and `agreed` of
    `compared` draws were given by whole requests, too.
    """

    prompt: str
    sampling: Mapping[str, Any]
    refused: str | None = None
    error: str | None = None
    way: str = ""
    compared: int = 0
    agreed: int = 0
    counts: tuple[int, ...] = ()
    tokens: tuple[int, ...] = ()
    hypotheses: tuple[Hypothesis, ...] = ()
    p_value: float = math.nan
    adjusted: float = math.nan
    variation: float = math.nan
    expected: float = math.nan
    outside: int = 0
    explanation: Hypothesis | None = None

    @property
    def tested(self) -> bool:
        """Draws that whole requests do not confirm say nothing."""
        return bool(self.hypotheses) and self.agreed == self.compared

    @property
    def as_told(self) -> bool:
        return self.tested and self.adjusted >= ALPHA

    @property
    def draws(self) -> int:
        return sum(self.counts)

    @property
    def active(self) -> tuple[str, ...]:
        return active(self.sampling)


@dataclass(frozen=True)
class Seeds:
    """Requests made twice, in another order: `repeated` of `asked` gave the same token again.

    `collision` is the chance that two independent draws are the same token.
    """

    prompt: str
    asked: int = 0
    repeated: int = 0
    distinct: int = 0
    collision: float = 1.0
    refused: str | None = None
    error: str | None = None


def read(record: Record | None) -> tuple[tuple[Line, ...], tuple[Seeds, ...], int]:
    lines: list[Line] = []
    seeds: list[Seeds] = []
    unread = 0
    for data in record.observations if record else ():
        try:
            if data["kind"] == "setting":
                lines.append(_line(data))
            else:
                seeds.append(_seeds(data))
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
            unread += 1
    return tuple(lines), tuple(seeds), unread


def _seeds(data: Mapping[str, Any]) -> Seeds:
    prompt = _text(data["prompt"])
    if data["kind"] == "prompt":
        return Seeds(prompt, error=_text(data["error"]))
    _expect(data["kind"] == "seeds")
    refused, error = _why_not(data)
    if refused or error:
        return Seeds(prompt, refused=refused, error=error)
    asked, repeated, distinct = (_count(data[k]) for k in ("asked", "repeated", "distinct"))
    _expect(repeated <= asked and 0 < distinct <= asked)
    return Seeds(prompt, asked, repeated, distinct, _share(data["collision"]))


def _line(data: Mapping[str, Any]) -> Line:
    sampling = {name: _number(data["sampling"][name]) for name in (*OFF, "seed")}
    line = Line(_text(data["prompt"]), sampling)
    refused, error = _why_not(data)
    if refused or error:
        return replace(line, refused=refused, error=error)
    counts = tuple(_count(c) for c in _listed(data["counts"]))
    tokens = tuple(_count(c) for c in _listed(data["tokens"]))
    hypotheses = tuple(_hypothesis(h, counts) for h in _listed(data["hypotheses"]))
    _expect(sum(counts) == _count(data["draws"]) > 0 and len(tokens) == len(counts))
    _expect(hypotheses[0].kind == "told")
    accepted = [h for h in hypotheses if h.kind in ("told", "edge")]
    best = max(accepted, key=lambda h: h.p_value)
    told = best.probabilities
    compared, agreed = _count(data.get("compared", 0)), _count(data.get("agreed", 0))
    _expect(agreed <= compared)
    return replace(
        line,
        way=_text(data["way"]),
        compared=compared,
        agreed=agreed,
        counts=counts,
        tokens=tokens,
        hypotheses=hypotheses,
        p_value=best.p_value,
        variation=total_variation(counts, told),
        expected=expected_variation(sum(counts), told),
        outside=min(h.outside for h in accepted),
    )


def _hypothesis(data: Mapping[str, Any], counts: tuple[int, ...]) -> Hypothesis:
    kind, of = data["kind"], data["of"]
    order = tuple(_listed(data["order"]))
    _expect(kind in KINDS and set(order) <= set(FILTERS) and len(set(order)) == len(order))
    _expect(of in PARAMETERS if kind in ("without", "variant") else of == "")
    probabilities = tuple(_share(p) for p in _listed(data["probabilities"]))
    _expect(len(probabilities) == len(counts) and abs(sum(probabilities) - 1) < 1e-6)
    outside = _count(data["outside"])
    _expect(outside <= sum(counts))
    value = 0.0 if outside else p_value(counts, probabilities)
    allowed = _count(data["allowed"])
    return Hypothesis(kind, of, _text(data["how"]), order, probabilities, allowed, outside, value)


def _why_not(data: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """(refused, error), at most one of them."""
    refused = _text(data["refused"]) or "no reason given" if "refused" in data else None
    error = _text(data["error"]) or "no reason given" if "error" in data else None
    return refused, error


def _expect(true: bool) -> None:
    if not true:
        raise ValueError("not an observation of this measure")


def _listed(value: Any) -> list[Any]:
    _expect((isinstance(value, list | tuple) and 0 < len(value) <= _MOST) or value in ([], ()))
    return list(value)


def _text(value: Any) -> str:
    _expect(isinstance(value, str))
    return str(value)[:2000]


def _number(value: Any) -> float:
    _expect(isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value))
    return float(value)


def _count(value: Any) -> int:
    _expect(isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9)
    return int(value)


def _share(value: Any) -> float:
    number = _number(value)
    _expect(-1e-9 <= number <= 1 + 1e-9)
    return min(max(number, 0.0), 1.0)
