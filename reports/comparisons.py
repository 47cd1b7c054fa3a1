"""Comparisons of the view model: one table per workload, each case against the base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports import numbers
from reports.names import case_name
from reports.tables import Table
from reports.untrusted import one_line
from results import comparison
from results.certificate import Grade
from results.comparison import Comparison, Verdict
from results.fairness import Severity, State
from results.metrics import Metric
from results.summary import Workload

#: How a ratio that the certificate refuses is shown, wherever a number would stand.
REFUSED = "refused"


@dataclass(frozen=True)
class RatioCell:
    """One ratio. `value` is a number, `refused` or a dash; `why` explains a verdict that is
    neither better nor worse."""

    metric: Metric
    value: str
    interval: str
    verdict: Verdict
    why: str

    @property
    def text(self) -> str:
        return f"{self.value} {self.interval}".rstrip()


@dataclass(frozen=True)
class CertificateLine:
    name: str
    state: State
    severity: Severity
    detail: str


@dataclass(frozen=True)
class ComparisonRow:
    """One case against the base. `whys` are the reasons of its verdicts, each with its metrics unless
    it is that of all; none where the certificate refuses. `blamed` names the items that decide the
    grade; `reasons` says them in words, after `whys`."""

    name: str
    cells: tuple[RatioCell, ...]
    whys: tuple[str, ...]
    grade: Grade
    blamed: tuple[str, ...]
    reasons: tuple[str, ...]
    certificate: tuple[CertificateLine, ...]
    found: tuple[Comparison, ...]


@dataclass(frozen=True)
class ComparisonTable:
    anchor: str
    title: str
    base: str
    columns: tuple[Metric, ...]
    rows: tuple[ComparisonRow, ...]


def build(tasks: Sequence[Workload], tables: Sequence[Table]) -> tuple[ComparisonTable, ...]:
    """What each table's cases are compared in; tasks with nothing to compare are left out."""
    found = (_table(task, table) for task, table in zip(tasks, tables, strict=True))
    return tuple(table for table in found if table.rows)


def _table(task: Workload, table: Table) -> ComparisonTable:
    by_case: dict[str, list[Comparison]] = {}
    for one in comparison.compare(task):
        by_case.setdefault(one.summary.case.key, []).append(one)
    order = [row.summary.case.key for row in table.rows]
    base = comparison.choose_base(task)
    return ComparisonTable(
        anchor=f"compare-{table.anchor}",
        title=table.title,
        base="" if base is None else case_name(base.case),
        columns=comparison.headline_metrics(task),
        rows=tuple(_row(by_case[key]) for key in order if key in by_case),
    )


def _row(found: Sequence[Comparison]) -> ComparisonRow:
    certificate = found[0].certificate
    cells = tuple(_cell(one) for one in found)
    whys = () if certificate.grade == "refused" else _whys(cells)
    return ComparisonRow(
        name=case_name(found[0].summary.case),
        cells=cells,
        whys=whys,
        grade=certificate.grade,
        blamed=tuple(item.name for item in certificate.deciding),
        reasons=(*whys, *(one_line(reason, 400) for reason in certificate.reasons)),
        certificate=tuple(
            CertificateLine(item.name, item.state, item.severity, one_line(item.detail, 600))
            for item in certificate.items
        ),
        found=tuple(found),
    )


def _whys(cells: Sequence[RatioCell]) -> tuple[str, ...]:
    by_reason: dict[str, list[str]] = {}
    for cell in cells:
        if cell.why:
            by_reason.setdefault(cell.why, []).append(cell.metric.title)
    return tuple(
        why if len(titles) == len(cells) else f"{', '.join(titles)}: {why}"
        for why, titles in by_reason.items()
    )


def _cell(one: Comparison) -> RatioCell:
    refused = one.certificate.grade == "refused"
    value = numbers.quantity(one.ratio.value, "ratio") if one.ratio else numbers.MISSING
    return RatioCell(
        metric=one.metric,
        value=REFUSED if refused else value,
        interval=numbers.interval(one.ratio, "ratio"),
        verdict=one.verdict,
        why=one_line(one.why, 400),
    )
