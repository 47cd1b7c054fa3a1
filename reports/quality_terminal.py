"""Answers to tasks at the end of a run; fits 80 columns."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from reports.quality_view import GroupView, Quality

_SENTENCES = 16
_COLUMNS = (("right", 14), ("form", 14), ("repeated", 9), ("tokens", 6), ("again", 7))


def show(console: Console, found: Quality | None) -> None:
    if found is None:
        return
    console.print()
    console.print(Text("Answers to tasks", style="bold"))
    for where, said in found.sentences[:_SENTENCES]:
        text = Text(f"{where}: ", style="dim").append(said, style="not dim")
        console.print(Padding(text, (0, 0, 0, 2), expand=False))
    if (more := len(found.sentences) - _SENTENCES) > 0:
        console.print(Padding(Text(f"and {more} more, see the report", style="dim"), (0, 0, 0, 2)))
    for group in found.groups:
        _group(console, group)


def _group(console: Console, group: GroupView) -> None:
    console.print()
    title = Text(group.title, style="bold").append(f" · {group.about}", style="not bold")
    console.print(title)
    legend = "; ".join(f"{n} {name}" for n, name in enumerate(group.settings, 1))
    console.print(Padding(Text(f"Settings: {legend}", style="dim"), (0, 0, 0, 2), expand=False))
    grid = Grid(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    grid.add_column("", width=20, overflow="fold")
    grid.add_column("s", width=2, overflow="fold")
    for heading, width in _COLUMNS:
        grid.add_column(heading, width=width, justify="right", overflow="fold")
    for row in group.rows:
        grid.add_row(
            Padding(Text(row.name if row.first else ""), (0, 0, 0, 1)),
            Text(str(row.number)),
            Text(row.accuracy),
            Text(row.valid),
            Text(row.repeated.partition(" [")[0]),
            Text(row.tokens.partition(" [")[0]),
            Text(row.again, style="red" if any("Not rep" in one for one in row.faults) else ""),
        )
    console.print(grid)
    for name, trouble in group.troubles:
        text = Text(f"{name}: {trouble}", style="yellow")
        console.print(Padding(text, (0, 0, 0, 2), expand=False))
