"""`history.html`: a plot for each trend, what changed when, and what was not as expected."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports import numbers, page, svg
from reports.history_view import ADVICE, Block, Report, Row, span, unit
from results.history import MIN_EARLIER, MIN_SIZE

#: A page draws at most so many trends; the tables and the CSV have all of them.
MOST_PLOTS = 60

_WIDTH_IN, _HEIGHT_IN = 4.6, 1.5

#: More points than this hide each other: only the line is drawn then.
_MOST_DOTS = 150


def render(report: Report) -> str:
    rows = {f"{block.anchor}-{n}": (block, row)
            for machine in report.machines
            for block in machine.blocks
            for n, row in enumerate(block.rows)}  # fmt: skip
    drawn = dict(list(rows.items())[:MOST_PLOTS])
    return page.render(
        "history.html.j2",
        report=report,
        plots={anchor: Markup(_plot(anchor, *one)) for anchor, one in drawn.items()},
        left_out=len(rows) - len(drawn),
        advice=ADVICE,
        limits=_limits(),
    )


def _limits() -> Mapping[str, int]:
    return {"size": MIN_SIZE, "earlier": MIN_EARLIER}


def _plot(anchor: str, block: Block, row: Row) -> str:
    series = row.series
    values = [point.value for point in series.points]
    expected = series.expected
    edges = [expected.low, expected.high] if expected else []
    factor, shown = numbers.scale(max(map(abs, [*values, *edges])), unit(series))
    scaled = [value * factor for value in values]
    with matplotlib.rc_context(svg.STYLE):
        low, high = span([*scaled, *(edge * factor for edge in edges)])
        margin = 0.08 * (high - low) or 1.0
        figure = Figure(figsize=(_WIDTH_IN, _HEIGHT_IN))
        axes = figure.add_axes((0.105, 0.15, 0.88, 0.72))
        _frame(axes, row, shown)
        axes.set_ylim(low - margin, high + margin)
        axes.plot(range(len(scaled)), scaled, color=svg.SERIES[0], lw=0.8, alpha=0.6)
        if len(scaled) <= _MOST_DOTS:
            axes.plot(range(len(scaled)), scaled, "o", ms=3, mfc=svg.SERIES[0], mew=0)
        starts = [0, *(change.at for change in series.changes)]
        ends = [*starts[1:], len(values)]
        levels = [c.before for c in series.changes[:1]] + [c.after for c in series.changes]
        levels = levels or [median(values)]
        for start, end, level in zip(starts, ends, levels, strict=False):
            axes.plot([start - 0.5, end - 0.5], [level * factor] * 2, color=svg.INK, lw=1.4)
        for change in series.changes:
            axes.axvline(change.at - 0.5, color=svg.MUTED, lw=0.8, ls="--")
        if expected:
            last = len(scaled) - 1
            axes.plot(
                [last, last], [edge * factor for edge in edges], color=svg.INK, lw=4, alpha=0.25
            )
    title = f"{block.title}: {row.name}"
    said = "; ".join(f"{c.when}: {c.text}" for c in row.changes) or "no change of level"
    return svg.inline(figure, anchor, title, f"{row.runs} runs, latest {row.latest}; {said}.")


def _frame(axes: Axes, row: Row, shown: str) -> None:
    points = row.series.points
    axes.patch.set_visible(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.margins(x=0.02)
    axes.grid(axis="y", color=svg.RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=svg.MUTED, length=0, labelsize=8)
    axes.locator_params(axis="y", nbins=4)
    last = len(points) - 1
    axes.set_xticks([0, last] if last else [0])
    axes.set_xticklabels([f"{points[n].at:%Y-%m-%d}" for n in ((0, last) if last else (0,))])
    labels = axes.get_xticklabels()
    if last:
        labels[0].set_horizontalalignment("left")
        labels[-1].set_horizontalalignment("right")
    axes.text(0, 1.03, shown, transform=axes.transAxes, fontsize=8, color=svg.MUTED)
