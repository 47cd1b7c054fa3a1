"""A history on the terminal; fits 80 columns. Everything goes to rich as `Text`, never as markup."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from reports.history_view import ADVICE, Block, Report, Row, percent
from reports.numbers import MISSING

_WIDTHS = (22, 20, 11, 4, 18)


def show(report: Report, console: Console) -> None:
    """Per machine and metric a line for each series, then what changed and what surprises."""
    console.print(Text(report.title, style="bold"))
    for machine in report.machines:
        console.print()
        console.print(Text(f"Machine {machine.fingerprint}", style="dim"))
        for block in machine.blocks:
            _block(block, console)
    surprises = [row for row in report.rows if row.advice]
    if surprises:
        console.print()
        console.print(Text("Not as expected", style="bold"))
        for row in surprises:
            title = f"{row.series.metric.title}, {row.name}: "
            _line(console, Text(title, style="bold").append(row.advice, style="not bold"))
        _line(console, Text(ADVICE, style="dim"))
    if report.caveats:
        console.print()
        console.print(Text("Caveats", style="bold"))
        for caveat in report.caveats:
            _line(console, Text(caveat, style="yellow"))


def _block(block: Block, console: Console) -> None:
    heading = Text(block.title, style="bold")
    console.print(
        heading.append(f" · {block.better}" if block.better else "", style="not bold dim")
    )
    grid = Grid(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    headings = ("", "trend", "latest", "runs", "changed")
    for heading_text, width in zip(headings, _WIDTHS, strict=True):
        justify = "right" if heading_text in ("latest", "runs") else "left"
        grid.add_column(heading_text, width=width, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for row in block.rows:
        name = Text(row.name)
        if row.lies:
            name.append(f" ✗ {', '.join(row.lies)}", style="red")
        grid.add_row(
            Padding(name, (0, 0, 0, 1)), row.sparkline, row.latest, str(row.runs), _changed(row)
        )
    console.print(grid)


def _changed(row: Row) -> Text:
    if not row.changes:
        return Text(MISSING, style="dim")
    change, last = row.series.changes[-1], row.changes[-1]
    return Text(f"{percent(change)} {last.when}".strip(), style="red" if last.worse else "green")


def _line(console: Console, text: Text) -> None:
    console.print(Padding(text, (0, 0, 0, 2), expand=False))
