"""Many simulated gates, each decided by the shipped code, and counts of what came of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from machine import BASE, CANDIDATE, Change, Machine, Session, kind, names, session
from rivals import RIVALS

from results.gate.decision import finished, judge
from results.gate.judged import Judged, Paired
from results.gate.rules import Rules

RULES = Rules()
BLOCKS = max(RULES.looks.blocks)


@dataclass(frozen=True)
class Scenario:
    """The worse metric is drawn among the timings, or the others, for which the mean change matters
    to the policy. A factor of 1 makes identical arms."""

    name: str
    factor: float = 1.0
    share: float = 1.0
    timing: bool = True
    rivals: bool = True
    machine: Machine = field(default_factory=Machine)


SCENARIOS = (
    Scenario("identical"),
    Scenario("+10 %", 1.10),
    Scenario("+5 %", 1.05),
    Scenario("+30 % in 3 of 10 processes", 1.30, 0.3, rivals=False),
    Scenario("+3 % memory", 1.03, timing=False, rivals=False),
    Scenario("identical, no neighbours", rivals=False, machine=Machine(episode=(0.0, 0.0))),
)


def gates(scenario: Scenario, count: int, seed: int) -> Counter[str]:
    """How often each thing happened in `count` gates."""
    draw = np.random.default_rng(seed)
    seen: Counter[str] = Counter()
    for _ in range(count):
        change = None
        if scenario.factor != 1:
            metric = str(draw.choice(_candidates(scenario)))
            change = Change(metric, scenario.factor, scenario.share)
        new = session(draw, scenario.machine, BLOCKS, change)
        seen.update(_ours(new, change, int(draw.integers(2**32))))
        if scenario.rivals:
            old = session(draw, scenario.machine, BLOCKS)
            seen.update(_theirs(old, new, change))
    seen["gates"] += count
    return seen


def _candidates(scenario: Scenario) -> list[str]:
    change = scenario.factor**scenario.share - 1
    return [
        name
        for name in names(timing=scenario.timing)
        if change >= RULES.of(kind(name)).interest - 1e-9
    ]


def look_by_look(metrics: tuple[Paired, ...], seed: int) -> tuple[tuple[Judged, ...], int]:
    """The gate as it is run: its last verdicts, and after how many blocks it stopped."""
    earlier: Mapping[str, Judged] = {}
    judged: tuple[Judged, ...] = ()
    for blocks in RULES.looks.blocks:
        judged = judge(
            cut(metrics, blocks), RULES.looks, seed=seed, earlier=earlier, intervals=False
        )
        if finished(judged, RULES.looks, blocks):
            return judged, blocks
        earlier = {one.name: one for one in judged}
    return judged, BLOCKS


def cut(metrics: tuple[Paired, ...], blocks: int) -> list[Paired]:
    return [replace(m, base=m.base[:blocks], candidate=m.candidate[:blocks]) for m in metrics]


def _ours(found: Session, change: Change | None, seed: int) -> list[str]:
    judged, blocks = look_by_look(found.paired(RULES), seed)
    regressed = {j.name for j in judged if j.verdict == "regressed"}
    passed = {j.name for j in judged if j.verdict == "pass"}
    colour = "red" if regressed else "green" if len(passed) == len(judged) else "yellow"
    seen = [colour, f"stopped at {blocks}"]
    seen += ["metric passed"] * len(passed)
    if change is not None:
        seen += ["found"] * (change.metric in regressed)
        seen += ["passed wrongly"] * (change.metric in passed)
        seen += ["wrong metric"] * bool(regressed - {change.metric})
    return seen


def _theirs(old: Session, new: Session, change: Change | None) -> list[str]:
    seen = []
    for rival in RIVALS:
        flagged = {
            metric
            for metric in new.costs
            if rival.worse(
                kind(metric),
                (old if rival.stored else new).cost(metric, BASE),
                new.cost(metric, CANDIDATE),
            )
        }
        seen += [f"{rival.name}: red"] * bool(flagged)
        seen += [f"{rival.name}: flagged"] * len(flagged)
        if change is not None:
            seen += [f"{rival.name}: found"] * (change.metric in flagged)
            seen += [f"{rival.name}: wrong metric"] * bool(flagged - {change.metric})
    return seen


def coverage(count: int, seed: int) -> dict[int, list[tuple[float, float]]]:
    """By look and gate: the share of timing metrics whose interval holds the true ratio, and the
    median width. Half of the gates have a true +10 %."""
    draw = np.random.default_rng(seed)
    timing = set(names(timing=True))
    found: dict[int, list[tuple[float, float]]] = {blocks: [] for blocks in RULES.looks.blocks}
    for i in range(count):
        change = Change(str(draw.choice(sorted(timing))), 1.10) if i % 2 else None
        metrics = session(draw, Machine(), BLOCKS, change).paired(RULES)
        for blocks in RULES.looks.blocks:
            hits, widths = [], []
            for metric, one in zip(
                metrics, judge(cut(metrics, blocks), RULES.looks, seed=i), strict=True
            ):
                if metric.name not in timing or one.low is None or one.high is None:
                    continue
                worse = change is not None and change.metric == metric.name
                truth = 1.10**metric.worse if worse else 1.0
                hits.append(one.low <= truth <= one.high)
                widths.append(math.log(one.high / one.low))
            found[blocks].append((float(np.mean(hits)), float(np.median(widths))))
    return found
