"""`report.html`: the view model and its plots, as one page."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from reports import (
    decision,
    fidelity_lines,
    length_lines,
    load_bars,
    memory_lines,
    page,
    quality_lines,
    token_lines,
)
from reports.plots import Plot, plots
from reports.quality_words import LEGEND as QUALITY_LEGEND
from reports.template_words import LEGEND, MARKS
from reports.view import Report
from results import arms


@dataclass(frozen=True)
class Drawn:
    """The plots of a page. `tasks` and `tokens` are by the anchor of a task's table, `fidelity` and
    `quality` in the order of their groups."""

    decision: list[Plot]
    lengths: list[Plot]
    tasks: dict[str, list[Plot]]
    tokens: dict[str, Plot]
    fidelity: list[list[Plot]]
    quality: list[Plot | None]
    memory: list[Plot]


def render(report: Report) -> str:
    """The whole page."""
    return page.render(
        "report.html.j2",
        script="report.js",
        report=report,
        drawn=_drawn(report),
        markup=Markup,
        legend=LEGEND,
        marks=MARKS,
        quality_legend=QUALITY_LEGEND,
    )


def drawings(report: Report) -> list[Plot]:
    """Every plot of the page, in its order."""
    drawn = _drawn(report)
    found = [*drawn.decision, *drawn.lengths]
    for table in report.tables:
        found += drawn.tasks[table.anchor]
        found += [drawn.tokens[table.anchor]] if table.anchor in drawn.tokens else []
    found += [plot for group in drawn.fidelity for plot in group]
    found += [plot for plot in drawn.quality if plot is not None]
    return found + drawn.memory


def _drawn(report: Report) -> Drawn:
    tables, colors = report.tables, _colors(report)
    truths = report.fidelity.groups if report.fidelity else ()
    by_arm = {arms.key(row.found.case): row.found for group in truths for row in group.rows}
    phases = dict(load_bars.plots(tables, colors))
    tokens = {t.anchor: token_lines.plot(t, colors) for t in tables if t.measure == "generate"}
    memory = memory_lines.plot(tables, colors)
    return Drawn(
        decision=decision.plots(tables, by_arm, colors),
        lengths=list(length_lines.plots(tables, colors)),
        tasks={
            table.anchor: [
                *([phases[table.anchor]] if table.anchor in phases else []),
                *plots(table, colors),
            ]
            for table in tables
        },
        tokens={anchor: plot for anchor, plot in tokens.items() if plot is not None},
        fidelity=list(fidelity_lines.plots(truths, colors)),
        quality=list(quality_lines.plots(report.quality.groups if report.quality else (), colors)),
        memory=[memory] if memory is not None else [],
    )


def _colors(report: Report) -> dict[str, int]:
    """Each engine's colour, the same in all plots."""
    rows = [row.backend for table in report.tables for row in table.rows]
    for part in (report.fidelity, report.quality):
        rows += [row.backend for group in (part.groups if part else ()) for row in group.rows]
    backends = sorted(set(rows))
    return {backend: number for number, backend in enumerate(backends)}
