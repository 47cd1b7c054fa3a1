"""A noisy machine, simulated: what the processes of a session would have measured.

Time runs in processes. A session runs its blocks one after another; in a block every case runs both
arms, one after the other, in the order that the block's coin says. A process loads, then makes
seven timed requests. Everything multiplies, so it is added up in logs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from results.gate.judged import Paired
from results.gate.rules import Rules

Arm = Literal[0, 1]
BASE: Arm = 0
CANDIDATE: Arm = 1

CASES = 6
ITERATIONS = 7

#: The five metrics of a case: is more worse, is it a timing, is there one value per process only?
KINDS: dict[str, tuple[Literal[1, -1], bool, bool]] = {
    "load_s": (1, True, True),
    "ttft_ms": (1, True, False),
    "prefill_tok_s": (-1, True, False),
    "decode_tok_s": (-1, True, False),
    "peak_pss_bytes": (1, False, True),
}


@dataclass(frozen=True)
class Machine:
    """The noise, as shares. A pair is the range that each metric's, or episode's, is drawn from.

    Half of a process's and of a request's variance is common to the metrics of that process.
    `episode_processes` is how long a neighbour stays on average, `drift` the height of a slow wave.
    """

    process: tuple[float, float] = (0.01, 0.03)
    request: tuple[float, float] = (0.02, 0.06)
    memory: float = 0.001
    episode: tuple[float, float] = (0.20, 0.50)
    episode_share: float = 0.10
    episode_processes: float = 6.0
    drift: float = 0.03


@dataclass(frozen=True)
class Change:
    """What the candidate does worse: `factor` on one metric, in `share` of its processes."""

    metric: str
    factor: float
    share: float = 1.0


@dataclass(frozen=True)
class Session:
    """`costs[metric]` has the shape arms x blocks x requests; more is worse, whatever the metric."""

    costs: Mapping[str, NDArray[np.float64]] = field(repr=False)

    def cost(self, metric: str, arm: Arm) -> NDArray[np.float64]:
        return self.costs[metric][arm]

    def paired(self, rules: Rules) -> tuple[Paired, ...]:
        """What the gate sees: per process the median of its requests, in the metric's own direction."""
        found = []
        for name, costs in self.costs.items():
            worse, timing, _ = KINDS[kind(name)]
            medians = np.median(costs, axis=2) ** worse
            base, candidate = (tuple(map(float, arm)) for arm in medians)
            found.append(Paired(name, base, candidate, worse, timing, rules.of(kind(name))))
        return tuple(found)


def kind(metric: str) -> str:
    return metric.partition(" ")[2]


def names(*, timing: bool) -> list[str]:
    """ "0 load_s" and so on: the case, then the kind."""
    return [f"{c} {k}" for c in range(CASES) for k, (_, t, _) in KINDS.items() if t == timing]


def session(
    draw: np.random.Generator, machine: Machine, blocks: int, change: Change | None = None
) -> Session:
    """One session of both arms. With no `change` they are identical."""
    shape = (2, blocks, CASES)
    first = draw.integers(0, 2, blocks)  # the coin: the arm that goes first
    place = np.stack([first, 1 - first])[:, :, None]
    start = 2.0 * (np.arange(blocks)[:, None] * CASES + np.arange(CASES)) + place
    load = start[..., None] + 0.1
    requests = start[..., None] + 0.2 + 0.8 * (np.arange(ITERATIONS) + 0.5) / ITERATIONS
    length = 2.0 * blocks * CASES
    disturbed = _disturbances(draw, machine, length)
    of_process = draw.standard_normal(shape)
    of_request = draw.standard_normal((*shape, ITERATIONS))
    costs = {}
    for case in range(CASES):
        for name, (_, timing, once) in KINDS.items():
            metric = f"{case} {name}"
            times = (load if once else requests)[:, :, case]
            if timing:
                own = draw.standard_normal(shape[:2])
                process = draw.uniform(*machine.process) * (of_process[:, :, case] + own)
                own = draw.standard_normal(times.shape)
                request = of_request[:, :, case, : times.shape[2]] + own
                noise = process[..., None] + draw.uniform(*machine.request) * request
                logs = noise / math.sqrt(2) + disturbed(times)
            else:
                logs = machine.memory * draw.standard_normal(times.shape)
            if change is not None and change.metric == metric:
                hit = draw.random(blocks) < change.share
                logs[CANDIDATE] += math.log(change.factor) * hit[:, None]
            costs[metric] = np.exp(logs)
    return Session(costs)


def _disturbances(draw, machine, length):
    """A function from times to the log of what neighbours and drift make of them."""
    gap = machine.episode_processes * (1 / machine.episode_share - 1)
    inside = draw.random() < machine.episode_share
    now, starts, ends, heights = 0.0, [], [], []
    while now < length:
        lasts = draw.exponential(machine.episode_processes if inside else gap)
        if inside:
            starts.append(now)
            ends.append(now + lasts)
            heights.append(math.log1p(draw.uniform(*machine.episode)))
        now, inside = now + lasts, not inside
    waves, phase = draw.uniform(0.5, 2.0), draw.uniform(0, 2 * math.pi)

    def logs(times):
        slow = machine.drift * np.sin(2 * math.pi * waves * times / length + phase)
        for start, end, height in zip(starts, ends, heights, strict=True):
            slow = slow + height * ((times >= start) & (times < end))
        return slow

    return logs
