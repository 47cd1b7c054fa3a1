"""The trials behind each number: what one fresh process gave, column by column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports import numbers
from reports.tables import Row, Table
from reports.untrusted import one_line
from results import metrics
from results.conditions import disturbed

#: Trials of a case that a page lists; samples.csv has all of them.
MOST = 30


@dataclass(frozen=True)
class TrialLine:
    """One trial. `values` are in the order of the table's columns; a dash where it gave none."""

    trial: str
    status: str
    disturbed: bool
    values: tuple[str, ...]


@dataclass(frozen=True)
class CaseTrials:
    """The trials of one row, at most `MOST`, and how many more there are. `anchor` is where its
    numbers lead."""

    anchor: str
    name: str
    trials: tuple[TrialLine, ...]
    more: int


def build(table: Table) -> tuple[CaseTrials, ...]:
    """In the order of the table's rows."""
    return tuple(
        CaseTrials(
            f"raw-{table.anchor}-{number}",
            row.name,
            tuple(_trials(row, table.columns)[:MOST]),
            max(0, len(row.summary.evidence.records) - MOST),
        )
        for number, row in enumerate(table.rows, start=1)
    )


def _trials(row: Row, columns: Sequence[metrics.Metric]) -> list[TrialLine]:
    summary = row.summary
    names = [metric.name for metric in columns]
    records = sorted(summary.evidence.records, key=lambda record: record.repetition)
    ok = sum(record.status == "ok" for record in records)
    # Where an ok trial gave no value for a metric, only its record says which trial that was.
    aligned = all(len(summary.values.get(metric.name, ())) in (0, ok) for metric in columns)
    found, at = [], 0
    for record in records:
        values: Mapping[str, float] = {}
        if record.status == "ok" and aligned:
            values = {n: summary.values[n][at] for n in names if n in summary.values}
            at += 1
        elif record.status == "ok":
            values = metrics.derive(record, summary.facts)
        found.append(
            TrialLine(
                one_line(record.trial, 80),
                record.status,
                disturbed(record) is True,
                tuple(numbers.quantity(values.get(metric.name), metric.unit) for metric in columns),
            )
        )
    return found
