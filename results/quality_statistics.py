"""Shares and differences over items: an item is what was drawn, its seeds are no further ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from results.statistics import LEVEL


@dataclass(frozen=True)
class Mean:
    """A mean over `n` items with its interval; no interval with a single item."""

    value: float
    low: float | None
    high: float | None
    n: int


def share(values: Sequence[float]) -> Mean | None:
    """Mean of values between 0 and 1, one per item, with Wilson's interval.

    The interval takes as many independent answers as the spread between items speaks for, so that
    several seeds of an item are no more than they are worth; and unlike a t interval it does not
    vanish where all items agree. None for no values.
    """
    if not values:
        return None
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return Mean(mean, None, None, 1)
    variance = _variance(values, mean) / n
    worth = mean * (1 - mean) / variance if variance > 0 else n
    square = _quantile(n) ** 2
    center = (mean + square / (2 * worth)) / (1 + square / worth)
    half = math.sqrt(square * (mean * (1 - mean) / worth + square / (4 * worth**2)))
    half /= 1 + square / worth
    return Mean(mean, min(max(0.0, center - half), mean), max(min(1.0, center + half), mean), n)


def mean(values: Sequence[float]) -> Mean | None:
    """Mean of one value per item, with a t interval. None for no values."""
    if not values:
        return None
    n = len(values)
    middle = math.fsum(values) / n
    if n == 1:
        return Mean(middle, None, None, 1)
    half = _quantile(n) * math.sqrt(_variance(values, middle) / n)
    return Mean(middle, middle - half, middle + half, n)


def difference(values: Sequence[float]) -> Mean | None:
    """Mean of paired differences between -1 and 1, one per item. None for no values.

    Where all items differ by the same, what none of them showed may still be there: the interval
    is then as wide as the share of other items that could have stayed unseen.
    """
    found = mean(values)
    if found is None or found.low is None or min(values) < max(values):
        return found
    unseen = 1 - ((1 - LEVEL) / 2) ** (1 / found.n)
    low, high = max(-1.0, found.value - unseen), min(1.0, found.value + unseen)
    return Mean(found.value, low, high, found.n)


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p of so uneven a split of the items that only one of two got right."""
    # scipy.special alone: scipy.stats takes ten times as long to import.
    from scipy.special import bdtr

    n = only_first + only_second
    return min(1.0, 2 * float(bdtr(min(only_first, only_second), n, 0.5))) if n else 1.0


def holm(chances: Sequence[float]) -> list[float]:
    """The p values, adjusted for how many there are."""
    order = sorted(range(len(chances)), key=lambda i: chances[i])
    found = [1.0] * len(chances)
    least = 0.0
    for rank, index in enumerate(order):
        least = max(least, min(1.0, chances[index] * (len(chances) - rank)))
        found[index] = least
    return found


def _variance(values: Sequence[float], mean: float) -> float:
    return math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)


def _quantile(n: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(n - 1, (1 + LEVEL) / 2))
