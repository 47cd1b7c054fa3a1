"""In which order trials run, from a logged seed: rounds of all cases, or blocks of a gate's pairs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness import companions
from results.gate.rules import Rules
from results.records import Case, Trial

if TYPE_CHECKING:
    from harness.plan import PlannedCase


@dataclass(frozen=True)
class Pairing:
    """Which case of the candidate goes with which of the base (None where it has none)."""

    pairs: tuple[tuple[Case, Case | None], ...]
    rules: Rules
    overlays: tuple[str, str]

    @property
    def blocks(self) -> int:
        """The most that may be needed: disturbed blocks are run again."""
        return self.rules.looks.blocks[-1] + self.rules.redo


def rounds(cases: Sequence[PlannedCase], trials: int, seed: int) -> tuple[Trial, ...]:
    """Every case once per round, each round shuffled anew: drift hits all cases alike.

    A case that cannot run has one trial, whose record says why. What needs the others' records
    comes last.
    """
    order = random.Random(seed)
    found: list[Trial] = []
    for repetition in range(trials):
        block = [c for c in cases if repetition == 0 or not _once(c)]
        order.shuffle(block)
        found += [Trial(_id(c.case, repetition), c.case, repetition) for c in block]
    return tuple(sorted(found, key=lambda trial: companions.turn(trial.case.measure)))


def blocks(cases: Sequence[PlannedCase], pairing: Pairing, seed: int) -> tuple[Trial, ...]:
    """First what is run once, then block by block one process per arm and task.

    One coin a block says which arm goes first in all its pairs, so that the labels of a whole block
    can be swapped: that is what the gate's tests rest on. The order of the pairs is shuffled.
    """
    order = random.Random(seed)
    able = {c.case.key for c in cases if not _once(c)}
    first = [c.case for c in cases if _once(c)]
    order.shuffle(first)
    first.sort(key=lambda case: companions.turn(case.measure))
    found = [Trial(_id(case, 0), case, 0) for case in first]
    pairs = [p for p in pairing.pairs if p[1] and {p[0].key, p[1].key} <= able]
    for block in range(pairing.blocks):
        candidate_first = order.random() < 0.5
        for base, candidate in order.sample(pairs, len(pairs)):
            assert candidate is not None
            both = (candidate, base) if candidate_first else (base, candidate)
            found += [Trial(_id(case, block), case, block) for case in both]
    return tuple(found)


def _once(planned: PlannedCase) -> bool:
    return planned.obstacle is not None or planned.case.measure in companions.ONCE


def _id(case: Case, repetition: int) -> str:
    return f"{case.backend}-{case.artifact}-{case.measure}-{case.key}-{repetition}"
