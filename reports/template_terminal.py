"""Chat templates at the end of a run: one mark per conversation, then what each arm did."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from reports.template_view import ModelView, Templates
from reports.template_words import LEGEND, MARKS
from results.template_verdicts import Severity

_STYLES: dict[Severity, str] = {
    "same": "green", "harmless": "green", "minor": "yellow", "bad": "red", "untold": "dim",
}  # fmt: skip
_WIDTH = 80
_NAME_WIDTH = 30
_SENTENCES = 12


def show(console: Console, found: Templates | None) -> None:
    if found is None:
        return
    console.print()
    console.print(Text("Chat templates", style="bold"))
    for where, said in found.sentences[:_SENTENCES]:
        text = Text(f"{where}: ", style="dim").append(said, style="not dim")
        console.print(Padding(text, (0, 0, 0, 2), expand=False))
    if (more := len(found.sentences) - _SENTENCES) > 0:
        console.print(Padding(Text(f"and {more} more, see below", style="dim"), (0, 0, 0, 2)))
    told: tuple[str, ...] = ()
    for model in found.models:
        names = tuple(column.name for column in model.columns)
        if names != told:
            console.print()
            legend = Text("Conversations: ", style="dim")
            legend.append("; ".join(f"{n} {name}" for n, name in enumerate(names, 1)))
            console.print(Padding(legend, (0, 0, 0, 2), expand=False))
            told = names
        _model(console, model)
    console.print()
    marks = Text("; ".join(f"{MARKS[s]} {text}" for s, text in LEGEND.items()), style="dim")
    console.print(Padding(marks, (0, 0, 0, 2), expand=False))
    injected = [one for one in found.injections if one.special]
    for one in injected:
        text = Text(f"{one.model}, {one.conversation}: ", style="bold")
        text.append(f"{one.tokens} in a message becomes special", style="not bold yellow")
        text.append(f" with {', '.join(one.special)}", style="not bold default")
        console.print(Padding(text, (0, 0, 0, 2), expand=False))


def _model(console: Console, model: ModelView) -> None:
    console.print()
    console.print(Text(model.name, style="bold"))
    if model.trouble:
        text = Text(f"no reference: {model.trouble}", style="yellow")
        console.print(Padding(text, (0, 0, 0, 2), expand=False))
    at_once = max(1, (_WIDTH - _NAME_WIDTH - 2) // 3)
    for start in range(0, len(model.columns), at_once):
        _marks(console, model, slice(start, start + at_once))
    for row in model.rows:
        for verdict, severity, numbers, detail in row.findings:
            text = Text(f"{MARKS[severity]} ", style=_STYLES[severity]).append(
                f"{row.name}: ", style="not dim default"
            )
            text.append(verdict, style=_STYLES[severity])
            text.append(f" ({', '.join(map(str, numbers))})", style="default")
            if len(detail) <= 200:
                text.append(f" {detail}", style="dim")
            console.print(Padding(text, (0, 0, 0, 2), expand=False))


def _marks(console: Console, model: ModelView, part: slice) -> None:
    grid = Grid(box=None, pad_edge=False, padding=0, header_style="dim")
    grid.add_column("", width=_NAME_WIDTH, overflow="fold")
    for column in model.columns[part]:
        grid.add_column(str(column.number), width=3, justify="right", overflow="fold")
    for row in model.rows:
        marks = (Text(cell.mark, style=_STYLES[cell.severity]) for cell in row.cells[part])
        grid.add_row(Padding(Text(row.name), (0, 0, 0, 1)), *marks)
    console.print(grid)
