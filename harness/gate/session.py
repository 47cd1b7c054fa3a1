"""A gate's session: trials block by block, a look now and then, and an end as soon as it is clear."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.gate import planning
from harness.gate.overlay import parse
from harness.plan import Plan
from harness.scenario import LoadedScenario
from results.gate import verdict
from results.gate.blocks import timed
from results.gate.description import describe
from results.gate.rules import Rules
from results.records import Record, RunInfo, Trial
from results.store import Run


@dataclass
class Looks:
    """Called after every trial: says whether the gate has seen enough."""

    folder: Path
    rules: Rules
    began: float = field(default_factory=time.monotonic)

    def enough(self, info: RunInfo, records: Sequence[Record], after: Trial) -> bool:
        """Only at the end of a block, or of what is run once before the first."""
        position = next(i for i, trial in enumerate(info.trials) if trial.id == after.id)
        following = info.trials[position + 1 : position + 2]
        if following and _phase(following[0]) == _phase(after):
            return False
        outcome = verdict.of(Run(self.folder, info, tuple(records), ()))
        assert outcome is not None
        limit = self.rules.time_limit_s
        if limit is not None and time.monotonic() - self.began > limit:
            return True
        return verdict.settled(outcome, self.rules)


def replan(loaded: LoadedScenario, info: RunInfo) -> Plan:
    """The plan of an interrupted gate, made again."""
    gate = describe(info)
    assert gate is not None
    base, candidate = (parse(role, gate.overlays[role]) for role in ("base", "candidate"))
    return planning.make(loaded, base, candidate, gate.rules)


def _phase(trial: Trial) -> int:
    return trial.repetition if timed(trial) else -1
