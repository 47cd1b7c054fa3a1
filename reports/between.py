"""Two runs side by side, in a terminal of 80 columns and as Markdown; in words for `between_html`."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reports import numbers
from reports.markdown import escape
from reports.untrusted import one_line
from results.between import SESSIONS, Between, Line
from results.fixed import identity
from results.gate.outcome import Exact

_SAME = {True: "same", False: "DIFFERS", None: "not compared"}
_COLUMNS = ("", "first", "second", "second / first, 95 %")


def show(found: Between, console: Console) -> None:
    """Everything as `Text`: runs are untrusted."""
    console.print(Text(headline(found), style="bold"))
    for said in (*_names(found), *facts(found)):
        console.print(Text(said))
    for task, lines in _by_task(found):
        console.print(Text(f"\n{one_line(task)}", style="bold"))
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for number, name in enumerate(_COLUMNS):
            table.add_column(name, justify="right" if number else "left")
        for line in lines:
            table.add_row(*(Text(cell) for cell in cells(line)))
        console.print(table)
        for why in whys(lines):
            console.print(Text(f"  {why}", style="yellow"))
    if found.exact:
        console.print(Text("\nDeterministic, and so comparable", style="bold"))
    for one in found.exact:
        style = {True: "green", False: "red", None: "dim"}[one.same]
        console.print(Text(f"  {deterministic(one)}", style=style))


def markdown(found: Between) -> str:
    """`comparison.md`."""
    lines = [f"## {escape(headline(found))}", ""]
    lines += [f"- {escape(said)}" for said in (*_names(found), *facts(found))]
    for task, several in _by_task(found):
        lines += ["", f"### {escape(one_line(task))}", ""]
        lines += ["| metric | first | second | second / first, 95 % |", "|---|---:|---:|---:|"]
        lines += ["| " + " | ".join(map(escape, cells(line))) + " |" for line in several]
        lines += ["", *(f"- {escape(why)}" for why in whys(several))]
    if found.exact:
        lines += ["", "### Deterministic, and so comparable", ""]
        lines += [f"- {escape(deterministic(one))}" for one in found.exact]
    return "\n".join(lines) + "\n"


def headline(found: Between) -> str:
    """The first line."""
    if found.machines:
        return "Incomparable timings: the runs are of two machines"
    differing = sum(one.same is False for one in found.exact)
    if differing:
        return f"{differing} deterministic results differ; timings are described, not judged"
    return "Described, not judged: the runs are of two sessions"


def _names(found: Between) -> tuple[str, str]:
    return f"first:  {one_line(found.first)}", f"second: {one_line(found.second)}"


def facts(found: Between) -> Iterator[str]:
    """How the machines differ, and what one of the runs has alone."""
    for said in found.machines:
        yield f"other machine: {one_line(said)}"
    if not found.machines:
        yield SESSIONS
    else:
        yield "what to do: run both arms on one machine in one session: bakeoff gate"
    for name, cases in (("first", found.only_first), ("second", found.only_second)):
        for case in cases:
            yield f"only in the {name}: {one_line(found.task(case))}"


def _by_task(found: Between) -> Iterator[tuple[str, list[Line]]]:
    """The lines of each case under its title."""
    tasks: dict[str, list[Line]] = {}
    for line in found.lines:
        tasks.setdefault(identity(line.case), []).append(line)
    return ((found.tasks[key], lines) for key, lines in tasks.items())


def cells(line: Line) -> tuple[str, str, str, str]:
    """Metric, first, second, and second / first."""
    unit = line.metric.unit
    ratio = numbers.MISSING
    if line.ratio is not None:
        ratio = (
            f"{numbers.quantity(line.ratio.value, 'ratio')} {numbers.interval(line.ratio, 'ratio')}"
        )
    first, second = (numbers.compact(one, unit) for one in (line.first, line.second))
    return line.metric.title, first, second, ratio.strip()


def whys(lines: list[Line]) -> list[str]:
    """What keeps lines from being compared, or must be known about them; each once."""
    said = [f"incomparable: {one_line(line.why, 400)}" for line in lines if line.ratio is None]
    said += [
        f"{line.certificate.grade}: {one_line('; '.join(line.certificate.reasons), 400)}"
        for line in lines
        if line.ratio is not None and line.certificate.grade == "with caveats"
    ]
    return list(dict.fromkeys(said))


def deterministic(one: Exact) -> str:
    """One check, in words."""
    return f"{_SAME[one.same]}: {one.name}, {one_line(one.task)}: {one_line(one.detail, 300)}"
