"""Which blocks of a gate count. Chosen by what others did to the machine, never by the timings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from results.conditions import disturbed
from results.gate.description import Description
from results.records import Record, Trial
from results.store import Run
from results.summary import NO_TASK


@dataclass(frozen=True)
class Blocks:
    """Repetitions whose trials all left a record: those that count, in order, and those that were
    disturbed and had another one run in their place."""

    used: tuple[int, ...]
    aside: tuple[int, ...]


def find(run: Run, gate: Description) -> Blocks:
    """At most `rules.redo` blocks are set aside; further disturbed ones count."""
    planned: dict[int, list[Trial]] = {}
    for trial in run.info.trials:
        if timed(trial):
            planned.setdefault(trial.repetition, []).append(trial)
    records = {record.trial: record for record in run.records}
    used: list[int] = []
    aside: list[int] = []
    for repetition, trials in sorted(planned.items()):
        found = [records[t.id] for t in trials if t.id in records]
        if len(found) < len(trials):
            break
        if len(aside) < gate.rules.redo and _to_redo(found):
            aside.append(repetition)
        else:
            used.append(repetition)
    return Blocks(tuple(used), tuple(aside))


def timed(trial: Trial | Record) -> bool:
    """Whether a trial belongs to a block. What runs once has other measures, or a case without an
    arm; a case that can't run is planned once and left out of the blocks by having no partner."""
    return trial.case.arm != "" and trial.case.measure not in NO_TASK


def only(run: Run, used: Sequence[int]) -> Run:
    """The run with those blocks, and with all that is run once."""
    kept = set(used)
    trials = tuple(t for t in run.info.trials if not timed(t) or t.repetition in kept)
    records = tuple(r for r in run.records if not timed(r) or r.repetition in kept)
    return replace(run, info=replace(run.info, trials=trials), records=records)


def by_block(records: Sequence[Record]) -> Mapping[tuple[str, int], Record]:
    """By key of the case and repetition."""
    return {(r.case.key, r.repetition): r for r in records if timed(r)}


def _to_redo(records: Sequence[Record]) -> bool:
    """A block with a failure is kept: a crash is news, whatever the neighbours did."""
    return all(r.status == "ok" for r in records) and any(disturbed(r) is True for r in records)
