"""Failures of the view model: what went wrong, where, how often, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reports.names import case_name
from reports.tables import Table
from reports.untrusted import lines, one_line
from results.summary import AUDIT, HARM, TEMPLATES, CaseSummary


@dataclass(frozen=True)
class FailureLine:
    """The first failure of a case; cases of one engine and artifact that fail alike are one line.

    `how` is the status with the signal or exit code, `tasks` where it happened.
    """

    case: str
    tasks: tuple[str, ...]
    status: str
    how: str
    count: str
    reason: str
    remedy: str
    log_tail: str


def build(tables: Sequence[Table], summaries: Sequence[CaseSummary]) -> Iterator[FailureLine]:
    tasks = [(table.title, row.summary) for table in tables for row in table.rows]
    names = {AUDIT: "Audit", TEMPLATES: "Chat templates", HARM: "What templates do to the model"}
    names |= {"reference": "Reference of fidelity", "fidelity": "Fidelity"}
    names |= {"quality": "Answers to tasks", "sampling": "Samplers"}
    others = [s for s in summaries if s.case.measure in names]
    several = len({s.case.model for s in summaries}) > 1
    for summary in sorted(others, key=lambda s: (case_name(s.case), s.case.model)):
        where = f"{one_line(summary.case.model, 80)}: " if several else ""
        tasks.append((where + names[summary.case.measure], summary))
    alike: dict[tuple[object, ...], list[tuple[str, CaseSummary]]] = {}
    for title, summary in tasks:
        if (bad := summary.failure) is not None:
            name = case_name(summary.case)
            key = (name, bad.status, bad.signal, bad.exit_code, bad.reason, bad.remedy)
            alike.setdefault(key, []).append((title, summary))
    for found in alike.values():
        first = found[0][1]
        failure = first.failure
        assert failure is not None
        how = str(failure.status)
        if failure.signal:
            how += f", {one_line(failure.signal, 20)}"
        elif failure.exit_code:
            how += f", exit code {failure.exit_code}"
        counts = [summary.counts for _, summary in found]
        yield FailureLine(
            case=case_name(first.case),
            tasks=tuple(title for title, _ in found),
            status=failure.status,
            how=how,
            count=f"{sum(c.bad for c in counts)} of {sum(c.planned for c in counts)} trials",
            reason=one_line(failure.reason or "no reason was recorded", 600),
            remedy=one_line(failure.remedy or "", 600),
            log_tail=lines(failure.log_tail[-3000:], 3000),
        )
