"""The statistics of drawn tokens: chi-square over bins, total variation, Holm's correction."""

from __future__ import annotations

import math
from collections.abc import Sequence

ALPHA = 0.001
"""How often a whole table of honest engines may hold a false alarm."""

LEAST = 12.0
"""Draws expected in a bin of a chi-square test. Fewer make its far tail too heavy."""


def p_value(counts: Sequence[int], probabilities: Sequence[float]) -> float:
    """Chi-square test that `counts` were drawn from `probabilities`: the smaller of Pearson's
    statistic and the likelihood ratio's. Either alone has too heavy a tail for a rate of 0.1 %.

    Bins that expect too few draws are merged, the rarest first. A draw from a bin that cannot
    come gives 0; 1 where there is only one bin to fall into.
    """
    from scipy import stats

    total = sum(counts)
    if not total or any(c and p <= 0 for c, p in zip(counts, probabilities, strict=True)):
        return 0.0 if total else 1.0
    bins = sorted((p * total, c) for c, p in zip(counts, probabilities, strict=True) if p > 0)
    merged: list[tuple[float, int]] = []
    expected, seen = 0.0, 0
    for more, count in bins:
        expected, seen = expected + more, seen + count
        if expected >= LEAST:
            merged.append((expected, seen))
            expected, seen = 0.0, 0
    if expected and merged:
        last, count = merged.pop()
        merged.append((last + expected, count + seen))
    if len(merged) < 2:
        return 1.0
    pearson = sum((count - e) ** 2 / e for e, count in merged)
    ratio = 2 * sum(count * math.log(count / e) for e, count in merged if count)
    return float(stats.chi2.sf(min(pearson, ratio), len(merged) - 1))


def total_variation(counts: Sequence[int], probabilities: Sequence[float]) -> float:
    """Half the summed differences of shares, over the bins."""
    total = sum(counts)
    return sum(abs(c / total - p) for c, p in zip(counts, probabilities, strict=True)) / 2


def expected_variation(draws: int, probabilities: Sequence[float]) -> float:
    """The mean total variation of that many honest draws: exact, by de Moivre's formula."""
    return sum(_deviation(draws, min(p, 1.0)) for p in probabilities) / draws / 2


def _deviation(n: int, p: float) -> float:
    """E|X - np| of a binomial X: 2 m (1-p) P(X = m), with m the first integer above np."""
    if p <= 0.0 or p >= 1.0:
        return 0.0
    m = math.floor(n * p) + 1
    if m > n:
        return 2 * n * (1 - p) * p**n
    log = math.lgamma(n + 1) - math.lgamma(m + 1) - math.lgamma(n - m + 1)
    return 2 * m * (1 - p) * math.exp(log + m * math.log(p) + (n - m) * math.log1p(-p))


def holm(values: Sequence[float]) -> list[float]:
    """Adjusted p-values: those below a rate alarm falsely in that share of tables at most."""
    order = sorted(range(len(values)), key=values.__getitem__)
    adjusted, low = [0.0] * len(values), 0.0
    for rank, index in enumerate(order):
        low = max(low, min(1.0, values[index] * (len(values) - rank)))
        adjusted[index] = low
    return adjusted
