"""Samplers at the end of a run: one mark per parameter, then what is wrong; 80 columns."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from reports.sampling_view import Samplers
from results.template_verdicts import Severity

_STYLES: dict[Severity, str] = {
    "same": "green", "harmless": "yellow", "minor": "yellow", "bad": "red", "untold": "dim",
}  # fmt: skip
_NAME_WIDTH = 24
#: Short enough that six of them and a name fit.
_HEADS = ("penalty", "temp.", "top-k", "top-p", "min-p", "seed")


def show(console: Console, found: Samplers | None) -> None:
    if found is None:
        return
    console.print()
    console.print(Text("Samplers", style="bold"))
    grid = Grid(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    grid.add_column("", width=_NAME_WIDTH, overflow="fold")
    for head in _HEADS:
        grid.add_column(head, width=8, justify="center", overflow="fold")
    for row in found.rows:
        marks = (Text(cell.mark, style=_STYLES[cell.severity]) for cell in row.cells)
        grid.add_row(Padding(Text(row.name), (0, 0, 0, 1)), *marks)
    console.print(grid)
    for where, said in found.sentences:
        text = Text(f"{where}: ", style="dim").append(said, style="not dim")
        console.print(Padding(text, (0, 0, 0, 2), expand=False))
    for row in (row for row in found.rows if row.order):
        text = Text(f"{row.name} applies: ", style="dim").append(row.order, style="not dim")
        console.print(Padding(text, (0, 0, 0, 2), expand=False))
    for row in (row for row in found.rows if row.warning):
        text = Text(f"{row.name}: {row.warning}", style="yellow")
        console.print(Padding(text, (0, 0, 0, 2), expand=False))
    legend = "; ".join(f"{mark} {text}" for mark, _, _, text in found.legend)
    console.print(Padding(Text(legend, style="dim"), (0, 0, 0, 2), expand=False))
