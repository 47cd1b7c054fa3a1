"""The table at the end of a run; fits 80 columns.

Everything goes to rich as `Text`, never as markup: an engine's message cannot style the
terminal or send it escape codes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from reports import view
from reports.answers import Headline
from reports.comparisons import ComparisonTable
from reports.evidence import Audit
from reports.failures import FailureLine
from reports.fidelity_text import show as show_fidelity
from reports.numbers import MISSING
from reports.quality_terminal import show as show_quality
from reports.sampling_terminal import show as show_samplers
from reports.tables import Row, Table
from reports.template_terminal import show as show_templates
from results.store import Run

#: The columns: heading, metrics (the first that a case has is shown; none: the table's of peak
#: memory), width.
_COLUMNS: tuple[tuple[str, tuple[str, ...], int], ...] = (
    ("load", ("load_s",), 12),
    ("TTFT", ("ttft_ms", "ttft_reused_prefix_ms"), 12),
    ("tok/s", ("decode_tok_s",), 10),
    ("peak memory", (), 12),
)
_NAME_WIDTH = 21
_STYLES = {"met": "", "missed": "red", "unknown": "yellow"}


def show(run: Run, console: Console) -> None:
    """Print the run: results, what can be said, budgets, failures, what an audit caught."""
    report = view.build(run)
    title = Text(report.title, style="bold")
    console.print(
        title.append(f" · {', '.join(report.models)} · {report.trials}", style="not bold")
    )
    _list(console, "In short", [line for h in report.headlines for line in _headline(h)])
    if report.has_tasks:
        console.print()
        console.print(_grid(show_header=True))
    for table in report.tables:
        console.print(Text(table.title, style="bold"))
        for row in _rows(table):
            console.print(row)
    show_templates(console, report.templates)
    show_fidelity(console, report.fidelity)
    show_quality(console, report.quality)
    show_samplers(console, report.samplers)
    _list(console, "Budgets", [_budget(line) for line in report.budgets])
    _list(console, "Failures", [_failure(line) for line in report.failures])
    _list(console, "Audit", _audit(report.audit))
    _list(console, "Refused ratios", _refused(report.comparisons))
    legend = "Only rows with the same letter (w) hold the same weights."
    if report.weights or report.has_tasks:
        _list(console, "Weights", [Text(t) for t in (legend, *report.weights)])
    _list(console, "Caveats", [Text(caveat, style="yellow") for caveat in report.caveats])


def _grid(*, show_header: bool) -> Grid:
    """Fixed widths: the tables of all tasks line up under one header."""
    grid = Grid(
        box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim", show_header=show_header
    )
    grid.add_column("", width=_NAME_WIDTH, overflow="fold")
    grid.add_column("ok", width=5, justify="right", overflow="fold")
    grid.add_column("w", width=2, overflow="fold")
    for heading, _, width in _COLUMNS:
        grid.add_column(heading, width=width, justify="right", overflow="fold")
    return grid


def _rows(table: Table) -> Iterator[Grid | Padding]:
    """Each case, and in a line of its own below it what makes its numbers worth nothing."""
    for section in table.sections:
        for row in section.rows:
            grid = _grid(show_header=False)
            grid.add_row(
                Padding(Text(row.name), (0, 0, 0, 1)),
                Text(row.ok, style="red" if row.trouble else ""),
                Text(section.letter),
                *_values(row, table.peak),
            )
            yield grid
            if row.lies:
                lies = Text(f"✗ {', '.join(name for name, _ in row.lies)}", style="red")
                yield Padding(lies, (0, 0, 0, 3), expand=False)


def _values(row: Row, peak: str) -> Sequence[Text]:
    if row.summary.counts.ok == 0:
        status = row.summary.failure.status if row.summary.failure else "not run"
        return [Text(status, style="red"), *(Text(MISSING, style="dim") for _ in _COLUMNS[1:])]
    shown = []
    for _, names, _ in _COLUMNS:
        cells = [row.cells[name] for name in names or (peak,) if name in row.cells]
        cell = next((c for c in cells if c.value != MISSING), None)
        if cell is None:
            shown.append(Text(MISSING, style="dim"))
        else:
            value, _, spread = cell.compact.rpartition(" ")
            text = Text(value, style=_STYLES.get(cell.verdict or "", ""))
            shown.append(text.append(f" {spread}", style="dim"))
    return shown


def _headline(headline: Headline) -> Iterator[Text]:
    """The question and its tasks in one line, then what is said."""
    about = f" · {headline.about}" if headline.about else ""
    yield Text(headline.question, style="bold").append(about, style="not bold dim")
    for said in headline.statements:
        where = headline.where(said)
        text = Text(f"{where}: " if where else "", style="dim")
        text.append(said.lead, style="not dim bold" if said.told else "not dim yellow")
        text.append(f" {said.text}", style="not dim default")
        if said.against:
            text.append(f" But: {'; '.join(said.against)}.", style="not dim yellow")
        yield text


def _budget(line: view.BudgetLine) -> Text:
    text = Text(f"{line.metric} {line.limit}: ").append(f"met by {line.met}")
    if line.missed:
        text.append(f"; missed by {'; '.join(line.missed)}", style="red")
    if line.unknown:
        text.append(f"; unknown for {'; '.join(line.unknown)}", style="yellow")
    return text


def _failure(line: FailureLine) -> Text:
    text = Text(f"{line.case}", style="bold")
    text.append(
        f" ({'; '.join(line.tasks)}), {line.count} ({line.how}): {line.reason}", style="not bold"
    )
    return text.append(f" → {line.remedy}", style="not bold green") if line.remedy else text


def _audit(audit: Audit) -> list[Text]:
    """The checks that failed, by name; or one line that none did."""
    if audit.sentence:
        return [Text(audit.sentence)]
    shown = []
    for row in audit.rows:
        for name, detail in row.failed:
            text = Text(row.name, style="bold").append(f" ✗ {name}", style="not bold red")
            shown.append(text.append(f": {detail}", style="not bold default"))
    return shown


def _refused(tables: Sequence[ComparisonTable]) -> list[Text]:
    """Which cases have no ratio, by what forbids it."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for table in tables:
        for row in table.rows:
            if row.grade == "refused":
                found.setdefault((", ".join(row.blamed), table.base), {})[row.name] = None
    return [
        Text(blamed, style="red").append(f", against {base}: {', '.join(names)}", style="default")
        for (blamed, base), names in found.items()
    ]


def _list(console: Console, title: str, items: Sequence[Text]) -> None:
    if not items:
        return
    console.print()
    console.print(Text(title, style="bold"))
    for item in items:
        console.print(Padding(item, (0, 0, 0, 2), expand=False))
