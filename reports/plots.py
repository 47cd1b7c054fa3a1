"""Plots of one workload: a row per case, dots for trials, and the estimate with its interval.

All axes start at zero, so that lengths may be compared by eye.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from reports import numbers, svg
from reports.canvas import Canvas, Stroke, short, ticks
from reports.tables import Row, Table
from results import metrics
from results.statistics import Estimate

#: Per measure: the metrics that get a plot.
_DOTS = {
    "load": ("load_s", "load_first_token_ms"),
    "generate": ("decode_tok_s", "ttft_ms", "ttft_reused_prefix_ms"),
}

#: More dots than this in one row hide each other, and slow the page down.
_MOST_DOTS = 100

_WIDTH, _SIDE = 331.0, 5.0
_ROW, _HEADING, _BELOW = 32.0, 19.0, 25.0


@dataclass(frozen=True)
class Plot:
    title: str
    note: str
    svg: svg.Drawing


@dataclass(frozen=True)
class _Scale:
    """From a metric's own unit to where it stands in the drawing, in points."""

    end: float

    def __call__(self, value: float) -> float:
        return _SIDE + min(value / self.end, 1) * (_WIDTH - 2 * _SIDE)


def plots(table: Table, colors: Mapping[str, int]) -> Iterator[Plot]:
    """The plots of a workload. `colors` gives each backend its number, the same in all plots."""
    for name in _DOTS.get(table.measure, ()):
        if _has(table, name):
            metric = metrics.METRICS[name]
            better = f"{metric.better} is better" if metric.better else ""
            yield _dots(table, metric, metric.title, better, colors)
    if _has(table, table.peak):
        kind = "proportional set size" if table.peak == "peak_pss_bytes" else "resident set size"
        note = f"{kind}, lower is better; the bar is the artifact's size on disk"
        yield _dots(table, metrics.METRICS[table.peak], "peak memory", note, colors, sizes=True)


def _has(table: Table, metric: str) -> bool:
    return any(metric in row.summary.estimates for row in table.rows)


def _dots(
    table: Table,
    metric: metrics.Metric,
    title: str,
    note: str,
    colors: Mapping[str, int],
    *,
    sizes: bool = False,
) -> Plot:
    found = [(row, row.summary.estimates.get(metric.name)) for row in table.rows]
    on_disk = [row.summary.facts.bytes for row in table.rows if row.summary.facts] if sizes else []
    scale = _Scale(_limit([e for _, e in found if e], on_disk))
    drawn, places = _rows(table, scale, metric)
    dots: dict[str, list[tuple[float, float]]] = defaultdict(list)
    lines: dict[str, list[Stroke]] = defaultdict(list)
    means: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row, y in places:
        color = svg.series(colors[row.backend])
        estimate = row.summary.estimates.get(metric.name)
        if estimate is None:
            continue
        if sizes and row.summary.facts:
            drawn.bar(_SIDE, y, scale(row.summary.facts.bytes) - _SIDE, 11, color, 0.22)
        dots[color] += [(scale(value), y) for value in _drawn(row.summary.values[metric.name])]
        if estimate.low is not None and estimate.high is not None:
            lines[color].append([(scale(estimate.low), y), (scale(estimate.high), y)])
        means[color].append((scale(estimate.value), y))
    for color, points in means.items():
        drawn.marks(dots[color], "o", 4.5, edge=color, edge_width=0.9, alpha=0.75)
        drawn.strokes(lines[color], color, 2.2)
        drawn.marks(points, "D", 5.5, color, svg.PAPER)
    most = max((len(row.summary.values.get(metric.name, ())) for row in table.rows), default=0)
    if most > _MOST_DOTS:
        note += (
            f"{'; ' if note else ''}dots are {_MOST_DOTS} of up to {most} trials, extremes included"
        )
    heading = f"{title}: {table.title}"
    return Plot(
        title,
        note,
        drawn.inline(f"{table.anchor}-{metric.name}", heading, _described(found, metric)),
    )


def _drawn(values: Sequence[float]) -> Sequence[float]:
    """All values, or so many as can be told apart: evenly among the sorted ones, both ends included."""
    if len(values) <= _MOST_DOTS:
        return values
    ordered, last = sorted(values), len(values) - 1
    return [ordered[round(n * last / (_MOST_DOTS - 1))] for n in range(_MOST_DOTS)]


def _rows(
    table: Table, scale: _Scale, metric: metrics.Metric
) -> tuple[Canvas, list[tuple[Row, float]]]:
    """A drawing with a name, a value and a line for each row, and how high each line is."""
    several = len(table.sections) > 1
    height = _ROW * len(table.rows) + several * _HEADING * len(table.sections) + 4 + _BELOW
    drawn, places, at = Canvas(_WIDTH, height), [], height
    _grid(drawn, scale, metric.unit)
    for section in table.sections:
        if several:
            drawn.text(_SIDE, at - 12, short(section.short, 58), 7.5, svg.MUTED)
            at -= _HEADING
        for row in section.rows:
            value = row.summary.estimates.get(metric.name)
            said = numbers.with_interval(value, metric.unit) if value else _absent(row)
            drawn.text(_SIDE, at - 15, short(row.name, 30) + (" ✗" if row.lies else ""))
            drawn.text(_WIDTH - _SIDE, at - 15, said, align="right")
            places.append((row, at - 24))
            at -= _ROW
    drawn.strokes([[(_SIDE, y), (_WIDTH - _SIDE, y)] for _, y in places], svg.RULE, 0.6)
    return drawn, places


def _grid(drawn: Canvas, scale: _Scale, unit: str) -> None:
    """The unit stands at the last tick; labels at the edges stay inside the drawing."""
    factor, shown = numbers.scale(scale.end, unit)
    found = ticks(scale.end * factor, 5)
    places = [scale(tick / factor) for tick in found]
    drawn.strokes([[(x, _BELOW), (x, drawn.height)] for x in places], svg.RULE, 0.6)
    for tick, x in zip(found, places, strict=True):
        last = tick == found[-1]
        drawn.text(
            x, 10, f"{tick:g} {shown}" if last else f"{tick:g}", 8, svg.MUTED,
            align="right" if last else "center" if tick else "left",
        )  # fmt: skip


def _limit(found: Sequence[Estimate], others: Sequence[float]) -> float:
    """Where the axis ends: all values, and intervals unless they are so wide that they say little."""
    largest = max([e.value for e in found] + list(others), default=1.0)
    highs = [e.high for e in found if e.high is not None]
    return max([largest, *(min(high, largest * 1.6) for high in highs)]) * 1.04 or 1.0


def _absent(row: Row) -> str:
    return row.trouble or numbers.MISSING


def _described(found: Sequence[tuple[Row, Estimate | None]], metric: metrics.Metric) -> str:
    parts = (f"{row.name}: {numbers.with_interval(e, metric.unit)}" for row, e in found)
    return f"{metric.title} with 95 % intervals. {'; '.join(parts)}."
