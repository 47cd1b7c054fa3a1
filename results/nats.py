"""Divergences in nats: their spread over positions, and how one is written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Mean and quantiles of a number over positions."""

    mean: float
    median: float
    p90: float
    p99: float
    max: float


def nats(value: float) -> str:
    """0.0048, 2.8e-11: three places of what matters."""
    if value == 0:
        return "0"
    return f"{value:.1e}" if abs(value) < 1e-3 else f"{value:.3g}"


def spread(values: Sequence[float]) -> Spread:
    """Of at least one value."""
    ordered = sorted(values)

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, math.floor(share * len(ordered)))]

    return Spread(math.fsum(values) / len(values), at(0.5), at(0.9), at(0.99), ordered[-1])
