"""Plots of one workload: a row per case, dots for trials, and the estimate with its interval.

All axes start at zero, so that lengths may be compared by eye. matplotlib's object interface
only: no global figure, nothing to close.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from reports import numbers, svg
from reports.tables import Row, Section, Table
from results import metrics
from results.statistics import Estimate

#: Per measure: the metrics that get a plot.
_DOTS = {
    "load": ("load_first_token_ms",),
    "generate": ("decode_tok_s", "ttft_ms", "ttft_reused_prefix_ms"),
}
_PHASES = (("process_s", "process", 1.0), ("import_s", "import", 0.6), ("open_s", "open", 0.3))

#: More dots than this in one row hide each other, and slow the page down.
_MOST_DOTS = 100

_WIDTH_IN = 4.6
_ROW_IN = 0.44
_HEADING_IN = 0.26
_MARGIN_IN = 0.34


@dataclass(frozen=True)
class Plot:
    title: str
    note: str
    svg: str


@dataclass(frozen=True)
class _Slot:
    """A row's place on the vertical axis, in inches from the top."""

    row: Row
    at: float


def plots(table: Table, colors: dict[str, int]) -> Iterator[Plot]:
    """The plots of a workload. `colors` gives each backend its number, the same in all plots."""
    if table.measure == "load" and _has(table, "load_s"):
        yield _bars(table, colors)
    for name in _DOTS.get(table.measure, ()):
        if _has(table, name):
            metric = metrics.METRICS[name]
            better = f"{metric.better} is better" if metric.better else ""
            yield _dots(table, (name,), metric.title, better, colors)
    memory = ("peak_pss_bytes",) if _all_pss(table) else ("peak_rss_bytes",)
    if _has(table, memory[0]):
        kind = "proportional set size" if memory == ("peak_pss_bytes",) else "resident set size"
        note = f"{kind}, lower is better; the bar is the artifact's size on disk"
        yield _dots(table, memory, "peak memory", note, colors, sizes=True)


def _has(table: Table, metric: str) -> bool:
    return any(metric in row.summary.estimates for row in table.rows)


def _all_pss(table: Table) -> bool:
    return all(
        "peak_pss_bytes" in row.summary.estimates for row in table.rows if row.summary.estimates
    )


def _dots(
    table: Table,
    names: tuple[str, ...],
    title: str,
    note: str,
    colors: dict[str, int],
    *,
    sizes: bool = False,
) -> Plot:
    metric = metrics.METRICS[names[0]]
    found = {row.name: row.summary.estimates.get(metric.name) for row in table.rows}
    on_disk = [row.summary.facts.bytes for row in table.rows if row.summary.facts] if sizes else []
    limit = _limit([e for e in found.values() if e], on_disk)
    factor, unit = numbers.scale(limit, metric.unit)
    figure, axes, slots = _canvas(table, limit * factor, unit, found, metric)
    with matplotlib.rc_context(svg.STYLE):
        for slot in slots:
            color = svg.SERIES[colors[slot.row.backend] % len(svg.SERIES)]
            facts = slot.row.summary.facts
            if sizes and facts and found[slot.row.name]:
                width = facts.bytes * factor
                axes.barh(slot.at, width, height=0.16, color=color, alpha=0.22, linewidth=0)
            estimate = found[slot.row.name]
            if estimate is None:
                continue
            values = [v * factor for v in _drawn(slot.row.summary.values[metric.name])]
            axes.plot(
                values,
                [slot.at] * len(values),
                "o",
                ms=4.5,
                mfc="none",
                mec=color,
                mew=0.9,
                alpha=0.75,
            )
            _estimate(axes, estimate, factor, slot.at, color)
    heading = f"{title}: {table.title}"
    most = max((len(row.summary.values.get(metric.name, ())) for row in table.rows), default=0)
    if most > _MOST_DOTS:
        note += (
            f"{'; ' if note else ''}dots are {_MOST_DOTS} of up to {most} trials, extremes included"
        )
    return Plot(
        title, note, svg.inline(figure, _prefix(table, metric), heading, _described(found, metric))
    )


def _drawn(values: Sequence[float]) -> Sequence[float]:
    """All values, or so many as can be told apart: evenly among the sorted ones, both ends included."""
    if len(values) <= _MOST_DOTS:
        return values
    ordered, last = sorted(values), len(values) - 1
    return [ordered[round(n * last / (_MOST_DOTS - 1))] for n in range(_MOST_DOTS)]


def _bars(table: Table, colors: dict[str, int]) -> Plot:
    metric = metrics.METRICS["load_s"]
    found = {row.name: row.summary.estimates.get("load_s") for row in table.rows}
    limit = _limit([e for e in found.values() if e], [])
    factor, unit = numbers.scale(limit, "s")
    figure, axes, slots = _canvas(table, limit * factor, unit, found, metric)
    with matplotlib.rc_context(svg.STYLE):
        for slot in slots:
            color = svg.SERIES[colors[slot.row.backend] % len(svg.SERIES)]
            left = 0.0
            for name, _, strength in _PHASES:
                phase = slot.row.summary.estimates.get(name)
                if phase is not None:
                    width = phase.value * factor
                    axes.barh(
                        slot.at,
                        width,
                        left=left,
                        height=0.16,
                        color=color,
                        alpha=strength,
                        linewidth=0,
                    )
                    left += width
            if (estimate := found[slot.row.name]) is not None:
                _estimate(axes, estimate, factor, slot.at, svg.INK)
    note = "process start, engine import, model open (dark to light); lower is better"
    described = f"{_described(found, metric)} Each bar is split into {note}."
    return Plot(
        "load time",
        note,
        svg.inline(figure, _prefix(table, metric), f"load time: {table.title}", described),
    )


def _canvas(
    table: Table,
    limit: float,
    unit: str,
    found: dict[str, Estimate | None],
    metric: metrics.Metric,
) -> tuple[Figure, Axes, list[_Slot]]:
    """An empty plot with a name and a value above each row's line."""
    several = len(table.sections) > 1
    at, slots = 0.0, []
    headings: list[tuple[float, Section]] = []
    for section in table.sections:
        if several:
            headings.append((at + 0.17, section))
            at += _HEADING_IN
        for row in section.rows:
            slots.append(_Slot(row, at + 0.33))
            at += _ROW_IN
    height = at + 0.06
    with matplotlib.rc_context(svg.STYLE):
        figure = Figure(figsize=(_WIDTH_IN, height + _MARGIN_IN))
        total = height + _MARGIN_IN
        axes = figure.add_axes((0.015, _MARGIN_IN / total, 0.97, height / total))
        axes.set_xlim(0, limit)
        axes.set_ylim(height, 0)
        axes.set_yticks([])
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.tick_params(axis="x", colors=svg.MUTED, length=0, labelsize=8, pad=3)
        axes.grid(axis="x", color=svg.RULE, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.patch.set_visible(False)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_xticks([tick for tick in axes.get_xticks() if 0 <= tick <= limit])
        _label_ticks(axes, unit)
        across = axes.get_yaxis_transform()
        for y, section in headings:
            text = _short(section.short, 58)
            axes.text(0, y, text, transform=across, fontsize=7.5, color=svg.MUTED, va="baseline")
        for slot in slots:
            value = found[slot.row.name]
            right = numbers.with_interval(value, metric.unit) if value else _absent(slot.row)
            y = slot.at - 0.12
            name = _short(slot.row.name, 30) + (" ✗" if slot.row.lies else "")
            axes.text(0, y, name, transform=across, color=svg.INK, va="baseline")
            axes.text(1, y, right, transform=across, color=svg.INK, va="baseline", ha="right")
            axes.axhline(slot.at, color=svg.RULE, linewidth=0.6, zorder=0.5)
    return figure, axes, slots


def _label_ticks(axes: Axes, unit: str) -> None:
    """The unit stands at the last tick; labels at the edges stay inside the drawing."""
    labels = axes.get_xticklabels()
    ticks = axes.get_xticks()
    texts = [f"{tick:g}" for tick in ticks]
    texts[-1] += f" {unit}"
    axes.set_xticklabels(texts)
    labels = axes.get_xticklabels()
    labels[0].set_horizontalalignment("left")
    labels[-1].set_horizontalalignment("right")


def _estimate(axes: Axes, found: Estimate, factor: float, y: float, color: str) -> None:
    if found.low is not None and found.high is not None:
        axes.plot(
            [found.low * factor, found.high * factor],
            [y, y],
            color=color,
            lw=2.2,
            solid_capstyle="butt",
        )
    axes.plot([found.value * factor], [y], "D", ms=5.5, mfc=color, mec=svg.PAPER, mew=1.0)


def _limit(found: Sequence[Estimate], others: Sequence[float]) -> float:
    """Where the axis ends: all values, and intervals unless they are so wide that they say little."""
    largest = max([e.value for e in found] + list(others), default=1.0)
    highs = [e.high for e in found if e.high is not None]
    return max([largest, *(min(high, largest * 1.6) for high in highs)]) * 1.04 or 1.0


def _absent(row: Row) -> str:
    return row.trouble or numbers.MISSING


def _described(found: dict[str, Estimate | None], metric: metrics.Metric) -> str:
    parts = (f"{name}: {numbers.with_interval(e, metric.unit)}" for name, e in found.items())
    return f"{metric.title} with 95 % intervals. {'; '.join(parts)}."


def _prefix(table: Table, metric: metrics.Metric) -> str:
    return f"{table.anchor}-{metric.name}"


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
