"""Swap tests: what else the arms' difference could have been, had the coins fallen otherwise.

In each block a coin decides which arm runs first. If both arms are alike (after the candidate is
divided by a supposed ratio), another coin would only have put the same two numbers under the other
labels. So the difference is compared with those under all other coins: valid whatever the drift,
the spikes and the dependence between blocks, because the coin was really tossed.

Arrays hold logs with "worse" upwards, shaped metrics x blocks; differences under swaps are shaped
metrics x swaps, with the coins as they fell in column 0. Importing this takes numpy: import it late.
"""

# scipy.stats.permutation_test swaps one statistic at a time. The family needs all of them under the
# same coins, and an interval some forty tests: hence numpy. A test holds the two together.

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Coins: TypeAlias = NDArray[np.bool_]

EXACT = 12
"""Up to so many blocks all swaps are tried."""

DRAWN = 2048
"""Beyond, so many are drawn, each used together with its complement."""

FOR_INTERVALS = 1024
"""How many of those an interval uses: at 5 % the error of the p-value is 0.5 %."""

FASTEST = 0.6
"""The share of an arm's processes that `of_fastest` looks at."""

TIE_BREAK = 1e-6
"""The weight of all processes in `of_fastest`. Where a slow block is among an arm's slowest both ways,
swapping it changes nothing, and six blocks could no longer reach p = 1/64."""

TYPICAL = (1.5, 2.5, 4.0)
"""In sizes of the median block's difference: from the first on a block counts no more, between the
second and the third it fades, beyond it is left out (Hampel's weights)."""

NOISE = 1e-11
"""Differences of logs below this are rounding."""

STEPS = 14
"""Halvings of the span in which an end of an interval is looked for."""


def coins(blocks: int, seed: int) -> Coins:
    """Which blocks are swapped, one row a swap; row 0 swaps none.

    Only one of each pair of complements is listed: swapping all blocks negates every difference.
    """
    if blocks <= EXACT:
        swaps = np.arange(2 ** max(blocks - 1, 0), dtype=np.uint32)[:, None]
        return (swaps >> np.arange(blocks, dtype=np.uint32) & 1).astype(np.bool_)
    drawn = np.random.default_rng(seed).random((DRAWN, blocks)) < 0.5
    drawn[0] = False
    return drawn


def of_all(base: Floats, candidate: Floats, swaps: Coins) -> Floats:
    """The difference of the arms' plain means. It sees that some processes are slower."""
    found: Floats = (candidate - base) @ _signs(swaps) / base.shape[1]
    return found


def of_fastest(base: Floats, candidate: Floats, swaps: Coins) -> Floats:
    """The difference of the arms' means over the fastest 60 % of their processes: the gate's estimate.

    A neighbour only ever slows a process down: the slowest say little about the engine.
    """
    count, blocks = base.shape
    kept = fastest(blocks)
    values = np.concatenate([base, candidate], axis=1)
    order = np.argsort(values, axis=1, kind="stable")
    ranked = np.take_along_axis(values, order, axis=1)
    block, is_candidate = order % blocks, order >= blocks
    by_block = np.ascontiguousarray(swaps.T)
    # From the fastest value up: which arm is it in, and is that arm still short of values?
    total = np.zeros((count, len(swaps)))
    taken = np.zeros((count, len(swaps)), np.uint8)
    others = np.zeros_like(taken)
    for rank in range(2 * blocks):
        in_candidate = by_block[block[:, rank]] ^ is_candidate[:, rank, None]
        take = in_candidate & (taken < kept)
        other = ~in_candidate & (others < kept)
        taken += take
        others += other
        total += ranked[:, rank, None] * (take.view(np.int8) - other.view(np.int8))
    found: Floats = (1 - TIE_BREAK) * total / kept + TIE_BREAK * of_all(base, candidate, swaps)
    return found


def of_typical(base: Floats, candidate: Floats, swaps: Coins) -> Floats:
    """The mean of the blocks' differences, less of the larger ones: a neighbour that came or left
    between the arms makes a difference many times the others'.

    The weights depend on the differences' sizes alone, which no swap changes.
    """
    differences = candidate - base
    size = np.abs(differences)
    median = np.median(size, axis=1, keepdims=True)
    full, fading, out = (limit * median for limit in TYPICAL)
    left = np.clip((out - size) / np.maximum(out - fading, NOISE), 0.0, 1.0)
    weighed = np.sign(differences) * np.minimum(size, full) * np.where(size > fading, left, 1.0)
    found: Floats = weighed @ _signs(swaps) / base.shape[1]
    return found


def fastest(blocks: int) -> int:
    """How many processes of an arm `of_fastest` looks at."""
    return max(1, round(FASTEST * blocks))


def p_values(found: Floats) -> Floats:
    """One-sided, per metric: how often the coins alone make the candidate look at least this bad.

    With drawn swaps the swaps as they fell are among them, so p is never zero and the test valid.
    """
    return _at_least(found, found[:, 0])


def family_wise(members: Floats) -> Floats:
    """Westfall and Young's step-down maxT: p-values that hold for all members together.

    The same coins for all members carry their correlation, so thirty metrics that say the same
    cost little more than one.
    """
    seen = members[:, 0]
    order = np.argsort(-seen, kind="stable")
    both = np.concatenate([members, -members], axis=1)[order]
    largest = np.maximum.accumulate(both[::-1], axis=0)[::-1]
    bar = seen[order] - 1e-9 * np.maximum(1.0, np.abs(seen[order]))
    stepped = np.maximum.accumulate(np.mean(largest >= bar[:, None], axis=1))
    adjusted = np.empty(len(seen))
    adjusted[order] = stepped
    return adjusted


def standardise(found: Floats) -> Floats:
    """Differences in units of their spread over all swaps: members of any noise become comparable.

    A member that no swap changes says nothing, and is zero.
    """
    spread = np.sqrt(np.mean(found**2, axis=1, keepdims=True))
    scaled: Floats = np.where(spread > NOISE, found, 0.0) / np.maximum(spread, NOISE)
    return scaled


def intervals(base: Floats, candidate: Floats, swaps: Coins, level: float) -> tuple[Floats, Floats]:
    """The ratios (as logs) that the swap test of `of_fastest` does not reject, `level` of confidence.

    Each end is bisected between the estimate, which is never rejected, and a ratio that parts the arms
    altogether, which always is: with fewer than five blocks even that can't be rejected at 90 %.
    """
    swaps = swaps[:FOR_INTERVALS] if base.shape[1] > EXACT else swaps
    alpha = (1 - level) / 2
    centre = of_fastest(base, candidate, swaps[:1])[:, 0]
    pooled = np.concatenate([base, candidate - centre[:, None]], axis=1)
    reach = np.ptp(pooled, axis=1) + 1e-6
    # Both ends at once: the lower half of the rows is looked for below the estimate.
    base, candidate = np.concatenate([base, base]), np.concatenate([candidate, candidate])
    middle = np.concatenate([centre, centre])
    side = np.repeat([-1.0, 1.0], len(centre))
    inside, outside = np.zeros(len(middle)), np.concatenate([reach, reach])
    for _ in range(STEPS):
        tried = (inside + outside) / 2
        shifted = candidate - (middle + side * tried)[:, None]
        found = of_fastest(base, shifted, swaps)
        rejected = _at_least(found, -side * found[:, 0]) <= alpha
        inside, outside = np.where(rejected, inside, tried), np.where(rejected, tried, outside)
    ends = middle + side * inside
    return ends[: len(centre)], ends[len(centre) :]


def _at_least(found: Floats, bar: Floats) -> Floats:
    """The share of all swaps, complements included, whose difference is at least `bar`."""
    edge = bar[:, None] - NOISE
    hits = np.count_nonzero(found >= edge, axis=1) + np.count_nonzero(-found >= edge, axis=1)
    shares: Floats = hits / (2 * found.shape[1])
    return shares


def _signs(swaps: Coins) -> Floats:
    return np.where(swaps.T, -1.0, 1.0)
