"""A run's samplers: does each engine draw as it was told? From what the workers counted.

Every setting of every arm is tested once against what the engine's own logits give, and all those
tests together raise a false alarm in a share ALPHA of tables at most (Holm). A setting that fails
is explained by the likeliest of the other hypotheses that its draws are compatible with; where two
are about as likely, by the one that explains the arm's simpler settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from results import arms
from results.records import Case, Record
from results.sampling_observations import Line, Seeds, read
from results.sampling_tests import holm
from results.sampling_verdicts import Parameter, applied_order, explained, judge
from results.store import Run

MEASURE = "sampling"


@dataclass(frozen=True)
class Arm:
    """An engine with an artifact and options: a verdict per parameter, and what they rest on.

    `order` is what the engine applies first to last, where its draws tell; `trouble` says why
    there is nothing to judge. `unread` observations had a wrong shape.
    """

    case: Case
    parameters: tuple[Parameter, ...]
    order: str
    lines: tuple[Line, ...]
    seeds: tuple[Seeds, ...]
    trouble: str | None
    unread: int

    @property
    def name(self) -> str:
        return arms.arm(self.case)

    @property
    def dishonest(self) -> tuple[Line, ...]:
        """Settings whose cheap draws are not those of whole requests."""
        return tuple(line for line in self.lines if line.agreed < line.compared)


def table(run: Run) -> tuple[Arm, ...]:
    """Every arm whose sampler was tried, by model and name; empty where the run tried none."""
    cases = {t.case.key: t.case for t in run.info.trials if t.case.measure == MEASURE}
    records: dict[str, Record] = {}
    for record in run.records:
        kept = records.get(record.case.key)
        if kept is None or (kept.status != "ok" and record.status == "ok"):
            records[record.case.key] = record
    order = sorted(cases.values(), key=lambda c: (c.model, arms.arm(c), c.key))
    return tabulate([(case, records.get(case.key)) for case in order])


def tabulate(found: Sequence[tuple[Case, Record | None]]) -> tuple[Arm, ...]:
    """The same from cases and their records."""
    taken = [(case, record, *read(record)) for case, record in found]
    tested = [line.p_value for _, _, lines, _, _ in taken for line in lines if line.tested]
    adjusted = iter(holm(tested))
    return tuple(
        _arm(case, record, tuple(_told(line, adjusted) for line in lines), seeds, unread)
        for case, record, lines, seeds, unread in taken
    )


def _told(line: Line, adjusted: Iterator[float]) -> Line:
    if not line.tested:
        return line
    return replace(line, adjusted=next(adjusted))


def _arm(
    case: Case,
    record: Record | None,
    lines: tuple[Line, ...],
    seeds: tuple[Seeds, ...],
    unread: int,
) -> Arm:
    trouble = None
    if record is None:
        trouble = "it has not run"
    elif not any(line.tested or line.refused for line in lines):
        errors = [line.error for line in lines if line.error]
        errors += [one.error for one in seeds if one.error]
        trouble = record.reason or next(iter(errors), "the worker sent nothing that can be read")
    lines = explained(lines)
    parameters = judge(lines, seeds) if trouble is None else ()
    order = applied_order(lines, parameters)
    return Arm(case, parameters, order, lines, seeds, trouble, unread)
