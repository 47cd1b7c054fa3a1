"""Result tables of the view model: one per workload, in sections of equal weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports import numbers
from reports.names import case_name, variant, workload_title
from reports.untrusted import one_line
from results import memory, metrics
from results.statistics import Estimate
from results.summary import CaseSummary, Group, Verdict, Workload

#: (model, weights, precision) -> the letter that names these weights in a report.
Letters = Mapping[tuple[str, str | None, str | None], str]

#: Metrics that are columns, by measure. The rest is in the CSV.
COLUMNS: dict[str, tuple[str, ...]] = {
    "load": (
        "load_s", "process_s", "import_s", "open_s", "load_first_token_ms", "peak_pss_bytes",
        "peak_rss_bytes", "peak_memory_to_model_size",
    ),
    "generate": (
        "ttft_ms", "ttft_reused_prefix_ms", "prefill_tok_s", "decode_tok_s", "itl_p95_ms",
        "e2e_ms", "peak_pss_bytes", "peak_rss_bytes", "peak_memory_to_model_size",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One metric of one case. `compact` is for narrow tables; `verdict` is a budget's."""

    metric: str
    value: str
    interval: str
    compact: str
    verdict: Verdict | None = None

    @property
    def text(self) -> str:
        return f"{self.value} {self.interval}".rstrip()


@dataclass(frozen=True)
class Row:
    """One case. `trouble` says what went wrong in how many trials, if anything did; `lies` is what
    makes its arm's numbers worth nothing, as (name, what was seen): checks that it failed in an audit,
    and a fault in fidelity."""

    backend: str
    artifact: str
    ok: str
    trouble: str
    lies: tuple[tuple[str, str], ...]
    cells: Mapping[str, Cell]
    summary: CaseSummary

    @property
    def name(self) -> str:
        return f"{self.backend} {self.artifact}"


@dataclass(frozen=True)
class Section:
    """Rows of equal weights in one workload. `letter` names the weights throughout a model."""

    letter: str
    short: str
    heading: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Table:
    """One workload: a task that all its rows were given. `peak` is its metric of peak memory."""

    anchor: str
    title: str
    model: str
    measure: str
    columns: tuple[metrics.Metric, ...]
    peak: str
    sections: tuple[Section, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        return tuple(row for section in self.sections for row in section.rows)


def task_order(task: Workload) -> tuple[Any, ...]:
    measures = ("load", "generate")
    position = measures.index(task.measure) if task.measure in measures else len(measures)
    sizes = [task.parameters.get(name) for name in ("prompt_tokens", "output_tokens")]
    return (
        task.model,
        position,
        task.measure,
        tuple(size if isinstance(size, int) else 0 for size in sizes),
        str(sorted(task.parameters.items(), key=lambda item: item[0])),
    )


def group_order(group: Group) -> tuple[Any, ...]:
    return (
        -len(group.cases),
        group.precision or "~",
        group.weights or "~",
        case_name(group.cases[0].case),
    )


def titles(tasks: Sequence[Workload]) -> tuple[str, ...]:
    """Short titles; a task whose short title is not its own gets all its parameters."""
    several = len({task.model for task in tasks}) > 1
    short = [workload_title(task.measure, task.parameters) for task in tasks]
    keys = [(task.model, title) for task, title in zip(tasks, short, strict=True)]
    found = []
    for task, title, key in zip(tasks, short, keys, strict=True):
        if keys.count(key) > 1:
            title += f" ({', '.join(f'{k}={v}' for k, v in sorted(task.parameters.items()))})"
        found.append(one_line(f"{task.model}: {title}" if several else title, 300))
    return tuple(found)


def assign_letters(tasks: Sequence[Workload]) -> dict[tuple[str, str | None, str | None], str]:
    letters: dict[tuple[str, str | None, str | None], str] = {}
    used: dict[str, int] = {}
    for task in tasks:
        for group in sorted(task.groups, key=group_order):
            key = (task.model, group.weights, group.precision)
            if group.weights is None:
                letters[key] = "?"
            elif key not in letters:
                number = used.get(task.model, 0)
                used[task.model] = number + 1
                letters[key] = chr(ord("A") + number) if number < 26 else f"A{number}"
    return letters


def build_table(number: int, task: Workload, title: str, letters: Letters) -> Table:
    wanted = COLUMNS.get(task.measure, ())
    cases = [case for group in task.groups for case in group.cases]
    present = {name for case in cases for name in case.estimates}
    expected = {m.name for case in cases for m in metrics.applicable(case.case)}
    columns = [name for name in wanted if name in expected and (name in present or not present)]
    peak = memory.peak_metric(case.estimates for case in cases)
    if peak in present:
        columns = [name for name in columns if name == peak or name not in memory.PEAKS]
    return Table(
        anchor=f"task-{number + 1}",
        title=title,
        model=one_line(task.model, 80),
        measure=one_line(task.measure, 40),
        columns=tuple(metrics.METRICS[name] for name in columns),
        peak=peak,
        sections=tuple(
            _section(group, letters[task.model, group.weights, group.precision])
            for group in sorted(task.groups, key=group_order)
        ),
    )


def _section(group: Group, letter: str) -> Section:
    precision = one_line(group.precision, 40) if group.precision else "unknown weights"
    alike = "same weights" if len(group.cases) > 1 else "on its own"
    rows = sorted((_row(case) for case in group.cases), key=lambda row: row.name)
    short = f"{letter} · {precision}"
    return Section(letter, short, f"{short}: {alike}", tuple(rows))


def _row(summary: CaseSummary) -> Row:
    counts = summary.counts
    trouble = ", ".join(f"{n} {status}" for status, n in counts.by_status() if n and status != "ok")
    verdicts = {verdict.budget.metric: verdict.verdict for verdict in summary.budgets}
    return Row(
        backend=one_line(summary.case.backend, 60),
        artifact=variant(summary.case),
        ok=f"{counts.ok}/{counts.planned}",
        trouble=trouble,
        lies=tuple(
            (one_line(name, 60), one_line(seen, 400)) for name, seen in summary.evidence.broken
        ),
        cells={
            metric.name: _cell(
                metric, summary.estimates.get(metric.name), verdicts.get(metric.name)
            )
            for metric in metrics.applicable(summary.case)
        },
        summary=summary,
    )


def _cell(metric: metrics.Metric, found: Estimate | None, verdict: Verdict | None = None) -> Cell:
    return Cell(
        metric=metric.name,
        value=numbers.quantity(None if found is None else found.value, metric.unit),
        interval=numbers.interval(found, metric.unit) or ("" if found is None else "(one trial)"),
        compact=numbers.compact(found, metric.unit, show_unit=metric.unit != "tok/s"),
        verdict=verdict,
    )
