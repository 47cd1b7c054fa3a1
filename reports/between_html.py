"""`comparison.html`: runs beside the first one, a column each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from reports import between, page
from reports.untrusted import one_line
from results.between import Between, Line, together
from results.fixed import identity


@dataclass(frozen=True)
class Cell:
    """One run's value, and its ratio to the first run's."""

    value: str
    ratio: str


@dataclass(frozen=True)
class Row:
    """One metric. `cells` are of the runs after the first, None where such a run has no such task."""

    metric: str
    first: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Task:
    """`whys` say what must be known about the ratios, or why there are none, and of which runs."""

    title: str
    rows: tuple[Row, ...]
    whys: tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """One run beside the first: `exact` are (tone, text)."""

    name: str
    headline: str
    facts: tuple[str, ...]
    exact: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class View:
    first: str
    pairs: tuple[Pair, ...]
    tasks: tuple[Task, ...]


def render(found: Sequence[Between]) -> str:
    """The whole page. `found` are comparisons with the same first run."""
    return page.render("between.html.j2", report=build(found))


def build(found: Sequence[Between]) -> View:
    """What the page shows, with the numbers as the terminal and Markdown have them."""
    found = together(found)
    tasks = dict.fromkeys(identity(line.case) for one in found for line in one.lines)
    return View(
        one_line(found[0].first, 200),
        tuple(map(_pair, found)),
        tuple(_task(task, found) for task in tasks),
    )


def _pair(one: Between) -> Pair:
    tones = {True: "good", False: "bad", None: "muted"}
    return Pair(
        one_line(one.second, 200),
        between.headline(one),
        tuple(between.facts(one)),
        tuple((tones[exact.same], between.deterministic(exact)) for exact in one.exact),
    )


def _task(task: str, found: Sequence[Between]) -> Task:
    sides: list[Mapping[str, Line]] = [
        {line.metric.name: line for line in one.lines if identity(line.case) == task}
        for one in found
    ]
    names = dict.fromkeys(name for side in sides for name in side)
    rows = []
    for name in names:
        told = [between.cells(side[name]) if name in side else None for side in sides]
        title, first, *_ = next(cells for cells in told if cells is not None)
        others = (Cell(cells[2], cells[3]) if cells is not None else None for cells in told)
        rows.append(Row(title, first, tuple(others)))
    return Task(one_line(found[0].tasks[task]), tuple(rows), tuple(_whys(sides, found)))


def _whys(sides: Sequence[Mapping[str, Line]], found: Sequence[Between]) -> Iterator[str]:
    """Each once, after the runs that it is about where there are several."""
    runs: dict[str, list[str]] = {}
    for side, one in zip(sides, found, strict=True):
        for why in between.whys(list(side.values())):
            runs.setdefault(why, []).append(one_line(one.second, 200))
    for why, names in runs.items():
        yield f"{', '.join(names)}: {why}" if len(found) > 1 else why
