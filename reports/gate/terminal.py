"""The verdict at the end of a gate; fits 80 columns. Its first line is the whole answer.

Everything goes to rich as `Text`, never as markup, as in `reports.terminal`.
"""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from reports.gate import view
from reports.gate.view import ExactView, FindingView, RowView, View
from results.gate.outcome import Outcome

_STYLES = {"green": "green", "yellow": "yellow", "red": "red", "incomparable": "magenta"}
_VERDICTS = {
    "regressed": "red",
    "pass": "green",
    "inconclusive": "yellow",
    "incomparable": "magenta",
    None: "dim",
}
_COLUMNS = (("base", 10), ("candidate", 10), ("ratio, 90 % interval", 21), ("verdict", 14))
_NAME_WIDTH = 20


def show(outcome: Outcome, console: Console) -> None:
    """Print the outcome: the sentence, findings with remedies, every metric, exact checks."""
    found = view.build(outcome)
    console.print(Text(found.headline, style=f"bold {_STYLES[found.colour]}"))
    console.print(Text(found.consequence))
    for finding in found.findings:
        console.print(Padding(_finding(finding), (0, 0, 0, 2), expand=False))
    _rows(console, found)
    _exact(console, found.exact)
    console.print()
    for arm in found.arms:
        engines = f" ({', '.join(arm.engines)})" if arm.engines else ""
        console.print(Text(f"{arm.role}: ", style="dim").append(f"{arm.overlay}{engines}"))
    console.print(Text(f"{found.effort}, machine {found.fingerprint}", style="dim"))


def _finding(one: FindingView) -> Text:
    text = Text(one.word, style=_STYLES[one.colour])
    text.append(f" {one.title}".rstrip() + ": ", style="bold default")
    text.append(one.sentence, style="not bold default")
    return text.append(f" → {one.remedy}", style="not bold green") if one.remedy else text


def _rows(console: Console, found: View) -> None:
    if not found.rows:
        return
    console.print()
    console.print(_grid(show_header=True))
    for task, rows in found.tasks.items():
        console.print(Text(task, style="bold"))
        for row in rows:
            grid = _grid(show_header=False)
            grid.add_row(
                Text(f" {row.metric}"),
                Text(row.base),
                Text(row.candidate),
                Text(f"{row.ratio} {row.interval}".rstrip()),
                Text(row.shown, style=_VERDICTS[row.verdict]),
            )
            console.print(grid)
            if row.note:
                console.print(Padding(_note(row), (0, 0, 0, 3), expand=False))


def _grid(*, show_header: bool) -> Grid:
    """Fixed widths: the tables of all tasks line up under one header."""
    grid = Grid(
        box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim", show_header=show_header
    )
    grid.add_column("", width=_NAME_WIDTH, overflow="fold")
    for heading, width in _COLUMNS:
        justify = "left" if heading == "verdict" else "right"
        grid.add_column(heading, width=width, justify=justify, overflow="fold")  # type: ignore[arg-type]
    return grid


def _note(row: RowView) -> Text:
    return Text(row.note, style="dim" if row.verdict is None else _VERDICTS[row.verdict])


def _exact(console: Console, checks: tuple[ExactView, ...]) -> None:
    if not checks:
        return
    console.print()
    console.print(Text("Exact checks", style="bold"))
    for one in checks:
        style = {True: "green", False: "red", None: "dim"}[one.same]
        text = Text(f"{one.shown} ", style=style)
        text.append(f"{one.name}, {one.task}", style="default")
        if one.detail:
            text.append(f": {one.detail}", style="default")
        console.print(Padding(text, (0, 0, 0, 2), expand=False))
