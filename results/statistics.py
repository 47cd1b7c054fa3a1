"""Estimates: a point with its interval, across trials. Never a bare number where n > 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Method = Literal["geometric mean, t interval on logs", "arithmetic mean, t interval"]

GEOMETRIC: Method = "geometric mean, t interval on logs"
ARITHMETIC: Method = "arithmetic mean, t interval"

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """The typical trial, and how well `n` trials pin it down.

    `low` and `high` are None with a single trial: it says nothing about the spread.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    level: float
    method: Method


def estimate(values: Sequence[float], level: float = LEVEL) -> Estimate:
    """Mean across trials with a Student-t interval.

    Times and rates vary by factors, so the mean is taken on logs (the geometric mean) and the
    interval with it; where a value is zero or negative that is impossible and the plain mean
    stands in, as `method` says. Raises ValueError for no values or one that is not finite.
    """
    if not values:
        raise ValueError("no values to estimate from")
    if not all(math.isfinite(v) for v in values):
        raise ValueError(f"not all values are finite: {values!r}")
    if min(values) > 0:
        center, half = _mean_and_half_width([math.log(v) for v in values], level)
        if half is None:
            return Estimate(float(values[0]), None, None, 1, level, GEOMETRIC)
        low, high = _exp(center - half), _exp(center + half)
        # Rounding must not carry equal values past a budget that they meet exactly.
        value = min(max(math.exp(center), min(values)), max(values))
        return Estimate(value, min(low, value), max(high, value), len(values), level, GEOMETRIC)
    center, half = _mean_and_half_width(list(values), level)
    if half is None:
        return Estimate(center, None, None, 1, level, ARITHMETIC)
    return Estimate(center, center - half, center + half, len(values), level, ARITHMETIC)


def ratio_of_sums(pairs: Sequence[tuple[float, float]], level: float = LEVEL) -> Estimate | None:
    """Sum of the first numbers over the sum of the second, with an interval by pairs as clusters.

    For a mean over positions that come in texts: positions of one text are not independent. The
    interval is Student's t on the linearised ratio; None without pairs or with a zero sum.
    """
    total = math.fsum(size for _, size in pairs)
    if not pairs or total == 0:
        return None
    value = math.fsum(amount for amount, _ in pairs) / total
    if len(pairs) == 1:
        return Estimate(value, None, None, 1, level, ARITHMETIC)
    from scipy.special import stdtrit

    rest = math.fsum((amount - value * size) ** 2 for amount, size in pairs)
    error = math.sqrt(rest * len(pairs) / (len(pairs) - 1)) / total
    half = float(stdtrit(len(pairs) - 1, (1 + level) / 2)) * error
    return Estimate(value, value - half, value + half, len(pairs), level, ARITHMETIC)


def _mean_and_half_width(values: list[float], level: float) -> tuple[float, float | None]:
    n = len(values)
    mean = math.fsum(values) / n
    if n == 1:
        return mean, None
    # scipy.special alone: scipy.stats takes ten times as long to import.
    from scipy.special import stdtrit

    variance = math.fsum((v - mean) ** 2 for v in values) / (n - 1)
    quantile = float(stdtrit(n - 1, (1 + level) / 2))
    return mean, quantile * math.sqrt(variance / n)


def _exp(x: float) -> float:
    """exp without overflow: two wildly different trials give an interval that says nothing."""
    return math.exp(min(max(x, -700.0), 709.0))


@dataclass(frozen=True)
class Ratio:
    """How many times the base's typical trial. `low` and `high` are None with a single trial."""

    value: float
    low: float | None
    high: float | None
    level: float


def ratio(values: Sequence[float], base: Sequence[float], level: float = LEVEL) -> Ratio | None:
    """Ratio of geometric means across trials, with Welch's t interval on the logs.

    The two may have other numbers of trials and other spreads. None where a value is not above
    zero: there is no ratio then.
    """
    if not values or not base or min(*values, *base) <= 0:
        return None
    (mean, variance), (other, others) = (_log_moments(v) for v in (values, base))
    value = _exp(mean - other)
    if variance is None or others is None:
        return Ratio(value, None, None, level)
    from scipy.special import stdtrit

    own, theirs = variance / len(values), others / len(base)
    half = 0.0
    if own + theirs > 0:
        freedom = (own + theirs) ** 2 / (own**2 / (len(values) - 1) + theirs**2 / (len(base) - 1))
        half = float(stdtrit(freedom, (1 + level) / 2)) * math.sqrt(own + theirs)
    return Ratio(value, _exp(mean - other - half), _exp(mean - other + half), level)


def _log_moments(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample variance of the logs; no variance of a single value."""
    logs = [math.log(v) for v in values]
    mean = math.fsum(logs) / len(logs)
    if len(logs) == 1:
        return mean, None
    return mean, math.fsum((v - mean) ** 2 for v in logs) / (len(logs) - 1)
