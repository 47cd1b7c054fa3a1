"""The verdict on each metric, look by look, and when a gate may stop.

A metric regressed if it shows in one of two views of the same blocks: the faster processes, which
tell how fast an engine can be, or the typical blocks, without those that a neighbour upset. For a timing
there is a third, all processes: whether some of them got slow. A pass must hold for the
faster processes and, for a timing, for all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from results.gate.judged import Judged, Paired, Verdict
from results.gate.rules import Looks

LEVEL = 0.90
"""Of the intervals."""

LEAST = 5
"""With fewer blocks there is no interval and no verdict: too few coins were tossed."""


@dataclass(frozen=True)
class Alpha:
    """The error that one look may make: zero where it can't give that verdict."""

    regressed: float
    passing: float


def spent(looks: Looks, blocks: int) -> Alpha:
    """The alpha of the look after `blocks` blocks.

    Between two looks, where a time budget ended the gate, the next look's is spent: judge there
    only if no look follows.
    """
    calls = sum(look >= looks.least for look in looks.blocks)
    return Alpha(
        regressed=looks.alpha / max(1, calls) if blocks >= max(looks.least, LEAST) else 0.0,
        passing=looks.alpha / max(1, len(looks.blocks)) if blocks >= LEAST else 0.0,
    )


def judge(
    metrics: Sequence[Paired],
    looks: Looks,
    *,
    seed: int = 0,
    earlier: Mapping[str, Judged] | None = None,
    intervals: bool = True,
) -> tuple[Judged, ...]:
    """Judge all metrics at the blocks they have, in their order.

    The verdicts "pass" and "regressed" of `earlier` looks stay, with the p-values that gave them;
    estimates are always of all blocks. All metrics stay in the family, or the error would grow.

    Metrics with the same number of blocks are taken to have the same blocks, and are swapped by
    the same coins. Where trials failed and numbers differ, each number is a family of its own and
    shares alpha with the others (Bonferroni). `seed` is that of the drawn swaps, beyond twelve
    blocks; `intervals=False` saves their time. Raises ValueError for values that are not finite and above
    zero, unequal arms and names used twice.
    """
    _check(metrics)
    groups: dict[int, list[Paired]] = {}
    for metric in metrics:
        groups.setdefault(len(metric.base), []).append(metric)
    families = max(1, sum(spent(looks, blocks).regressed > 0 for blocks in groups))
    judged = {
        one.name: one
        for blocks, group in groups.items()
        for one in _judge(group, blocks, spent(looks, blocks), families, seed, intervals)
    }
    return tuple(_kept(judged[m.name], (earlier or {}).get(m.name)) for m in metrics)


def finished(judged: Sequence[Judged], looks: Looks, blocks: int) -> bool:
    """Whether no further block is needed: a metric regressed, all pass, or it was the last look."""
    if blocks >= max(looks.blocks, default=0) or any(j.verdict == "regressed" for j in judged):
        return True
    return bool(judged) and all(j.verdict == "pass" for j in judged)


def _check(metrics: Iterable[Paired]) -> None:
    seen: set[str] = set()
    for metric in metrics:
        if metric.name in seen:
            raise ValueError(f"two metrics are named {metric.name!r}")
        seen.add(metric.name)
        if len(metric.base) != len(metric.candidate):
            raise ValueError(f"{metric.name}: the arms have different numbers of blocks")
        if not all(math.isfinite(v) and v > 0 for v in (*metric.base, *metric.candidate)):
            raise ValueError(f"{metric.name}: not all values are finite and above zero")


def _kept(now: Judged, before: Judged | None) -> Judged:
    if before is None or before.verdict == "inconclusive":
        return now
    return replace(
        now,
        verdict=before.verdict,
        p_regressed=before.p_regressed,
        p_pass=before.p_pass,
        slow_mode=before.slow_mode,
    )


def _judge(
    metrics: Sequence[Paired], blocks: int, alpha: Alpha, families: int, seed: int, intervals: bool
) -> list[Judged]:
    """One family: metrics of the same blocks."""
    if blocks == 0:
        return [
            Judged(m.name, "inconclusive", 0, math.nan, None, None, 1.0, 1.0) for m in metrics
        ]  # fmt: skip
    import numpy as np

    from results.gate import swaps

    base, candidate = (
        np.array([[m.worse * math.log(v) for v in getattr(m, arm)] for m in metrics])
        for arm in ("base", "candidate")
    )
    # Logs of bytes are large: without their level, rounding stays below what counts as a tie.
    level = np.median(base, axis=1, keepdims=True)
    base, candidate = base - level, candidate - level
    drawn = swaps.coins(blocks, seed)
    timing = np.array([m.timing for m in metrics])

    ignorable = candidate - np.log1p([[m.margin.ignorable] for m in metrics])
    views = [
        swaps.of_fastest(base, ignorable, drawn),
        swaps.of_typical(base, ignorable, drawn),
        swaps.of_all(base, ignorable, drawn)[timing],
    ]
    adjusted = swaps.family_wise(swaps.standardise(np.concatenate(views))) * families
    count = len(metrics)
    p_most = np.minimum(1.0, np.minimum(adjusted[:count], adjusted[count : 2 * count]))
    p_everyone = np.ones(count)
    p_everyone[timing] = np.minimum(1.0, adjusted[2 * count :])

    # "At least `interest` worse" is rejected if the arms swapped look worse than that.
    interest = candidate - np.log1p([[m.margin.interest] for m in metrics])
    p_pass = swaps.p_values(swaps.of_fastest(interest, base, drawn))
    p_all = swaps.p_values(swaps.of_all(interest, base, drawn))
    p_pass = np.where(timing, np.maximum(p_pass, p_all), p_pass)

    centre = swaps.of_fastest(base, candidate, drawn[:1])[:, 0]
    lows, highs = (
        swaps.intervals(base, candidate, drawn, LEVEL)
        if intervals and blocks >= LEAST
        else (None, None)
    )
    found = []
    for i, metric in enumerate(metrics):
        regressed = min(p_most[i], p_everyone[i])
        ends = (
            sorted(math.exp(metric.worse * end[i]) for end in (lows, highs))
            if lows is not None and highs is not None
            else (None, None)
        )
        verdict = _verdict(regressed, p_pass[i], alpha)
        found.append(
            Judged(
                name=metric.name,
                verdict=verdict,
                blocks=blocks,
                ratio=math.exp(metric.worse * centre[i]),
                low=ends[0],
                high=ends[1],
                p_regressed=float(regressed),
                p_pass=float(p_pass[i]),
                slow_mode=verdict == "regressed" and bool(p_most[i] > alpha.regressed),
            )
        )
    return found


def _verdict(p_regressed: float, p_pass: float, alpha: Alpha) -> Verdict:
    """Pass beats regressed: surely worse, but as surely by less than what matters."""
    if p_pass <= alpha.passing:
        return "pass"
    return "regressed" if p_regressed <= alpha.regressed else "inconclusive"
