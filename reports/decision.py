"""The decision plot: decode speed against peak memory, with what is lost of the answers.

A case is better the higher and the further left it is; the front are the cases that no other beats
in both, by their means. Cases that the comparisons do not tell apart from it are named, too. Shape
and words say how true a case is to the weights, so that colour says nothing alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from reports import labels, numbers, svg
from reports.canvas import Canvas, short, ticks
from reports.plots import Plot
from reports.tables import Row, Table
from results import arms, metrics
from results.certificate import certify
from results.comparison import against
from results.fidelity import ArmFidelity
from results.nats import nats
from results.ranking import rank
from results.statistics import Estimate

#: Marker by verdict of fidelity; one that was not judged is an empty circle.
_MARKERS = {"true to the weights": "o", "as its bits allow": "s", "fault": "X"}
_WIDTH, _HEIGHT, _TALLEST = 530.0, 300.0, 1400.0
_LEFT, _RIGHT, _BOTTOM, _TOP = 34.0, 12.0, 36.0, 26.0
_FONT = 9.0
_SPEED = "decode_tok_s"
_KINDS = {"peak_pss_bytes": "of PSS", "peak_rss_bytes": "of RSS"}


@dataclass(frozen=True)
class Point:
    """A case with both values, and what is known about its answers. `comparable` where it
    did the work that the others did."""

    row: Row
    speed: Estimate
    memory: Estimate
    truth: ArmFidelity | None
    comparable: bool = True

    @property
    def broken(self) -> bool:
        return bool(self.row.lies)

    @property
    def counts(self) -> bool:
        """Whether it may be on the front."""
        return self.comparable and not self.broken

    @property
    def label(self) -> str:
        said = [short(self.row.name, 36)]
        if self.truth and self.truth.kl and self.truth.verdict != "true to the weights":
            bound = "≥ " if self.truth.method == "top-k" else ""
            said.append(f"KL {bound}{nats(self.truth.kl.mean)}")
        if self.broken:
            said.append("✗ broken")
        return " · ".join(said)


def plots(
    tables: Sequence[Table], truths: Mapping[str, ArmFidelity], colors: Mapping[str, int]
) -> list[Plot]:
    """A plot per task that generates and has at least two cases to show, by `arms.key`; first the
    one that shows most cases, of equals the one with the longest prompt."""
    found = [(table, _points(table, truths)) for table in tables if table.measure == "generate"]
    shown = [(table, points) for table, points in found if len(points) > 1]
    shown.sort(key=lambda one: len(one[1]), reverse=True)
    most = [one for one in shown if len(one[1]) == len(shown[0][1])]
    ordered = [*most[::-1], *shown[len(most) :]]
    return [_plot(table, points, colors) for table, points in ordered]


def front(points: Sequence[Point]) -> list[Point]:
    """The cases that no other beats in both, by their means, from the leanest to the fastest.
    Broken ones are on no front, nor are those whose work can't be compared with the others'."""
    found: list[Point] = []
    whole = [point for point in points if point.counts]
    for point in sorted(whole, key=lambda p: (p.memory.value, -p.speed.value)):
        if not found or point.speed.value > found[-1].speed.value:
            found.append(point)
    return found


def _points(table: Table, truths: Mapping[str, ArmFidelity]) -> list[Point]:
    measured = [row for row in table.rows if {_SPEED, table.peak} <= row.summary.estimates.keys()]
    ranking = rank([row.summary for row in measured], metrics.METRICS[_SPEED])
    counted = {summary.case.key for summary in ranking.ranked}
    return [
        Point(
            row,
            row.summary.estimates[_SPEED],
            row.summary.estimates[table.peak],
            truths.get(arms.key(row.summary.case)),
            row.summary.case.key in counted,
        )
        for row in measured
    ]


def close(points: Sequence[Point], best: Sequence[Point], peak: str) -> list[Point]:
    """Those that count and are not on the front, but that no case on it is shown to beat in both."""
    judged = tuple(metrics.METRICS[name] for name in (_SPEED, peak))

    def beats(one: Point, other: Point) -> bool:
        if one.speed.value <= other.speed.value or one.memory.value >= other.memory.value:
            return False
        first, second = one.row.summary, other.row.summary
        certificate = certify(first, second)
        return all(against(first, second, m, certificate).verdict == "better" for m in judged)

    fronted = set(map(id, best))
    rest = (point for point in points if point.counts and id(point) not in fronted)
    return [point for point in rest if not any(beats(one, point) for one in best)]


def _plot(table: Table, points: Sequence[Point], colors: Mapping[str, int]) -> Plot:
    best = front(points)
    level = close(points, best, table.peak)
    fronted = set(map(id, [*best, *level]))
    points = sorted(points, key=lambda point: (id(point) not in fronted, -point.speed.value))
    ends = [1.06 * max(_high(e) for e in found) or 1.0 for found in _columns(points)]
    factor, unit = numbers.scale(ends[0], "bytes")
    sizes = [labels.size(point.label, _FONT) for point in points]
    radii = [max(5.0, _halo(p.truth) / 2) for p in points]
    height = max(_HEIGHT, _TOP + _BOTTOM + 1.6 * _FONT * len(points))
    while True:
        inside = labels.Box(_LEFT, _BOTTOM, _WIDTH - _RIGHT, height - _TOP)
        places = [_inside(p.memory.value, p.speed.value, ends, inside) for p in points]
        placed = labels.place(places, sizes, inside, _lines(points, best, ends, inside), radii)
        if None not in placed or height > _TALLEST:
            break
        height *= 1.15
    drawn = Canvas(_WIDTH, height)
    _axes(drawn, ends, factor, f"{unit} {_KINDS[table.peak]}", inside)
    stairs = [_inside(*corner, ends, inside) for corner in zip(*_stairs(best, ends), strict=True)]
    drawn.strokes([stairs] if stairs else [], svg.MUTED, 0.9, dashes=(4, 3))
    for point in points:
        color = svg.series(colors[point.row.backend])
        _mark(drawn, point, color, ends, inside)
    for point, place, label in zip(points, places, placed, strict=True):
        if label is not None:
            _label(drawn, point, place, label, on_front=id(point) in fronted)
    unnamed = placed.count(None)
    no_room = f" No room for the names of {unnamed}: the table has them." if unnamed else ""
    names = ", ".join(point.row.name for point in best) or "none"
    if level:
        names += f". Not told apart from it: {', '.join(point.row.name for point in level)}"
    return Plot(
        table.title,
        f"Dashed: the front, which nobody beats in both: {names}. {_legend(points)}{no_room}",
        drawn.inline(
            f"{table.anchor}-decision",
            f"decode speed against peak memory: {table.title}",
            f"{'; '.join(_described(points))}. On the front: {names}.",
        ),
    )


def _legend(points: Sequence[Point]) -> str:
    if not any(point.truth for point in points):
        return "The run has no measure of fidelity: what the answers are worth is not shown."
    return (
        "● true to the weights; ■ as its bits allow, with a halo that is wider the more is lost; "
        "✖ at fault; ○ not judged."
    )


def _columns(points: Sequence[Point]) -> tuple[list[Estimate], list[Estimate]]:
    return [point.memory for point in points], [point.speed for point in points]


def _high(found: Estimate) -> float:
    """The end of an interval, unless it is so wide that it says little."""
    return found.value if found.high is None else min(found.high, 1.3 * found.value)


def _inside(
    memory: float, speed: float, ends: Sequence[float], inside: labels.Box
) -> tuple[float, float]:
    """Where in the drawing, in points."""
    return (
        inside.left + min(memory / ends[0], 1) * (inside.right - inside.left),
        inside.bottom + min(speed / ends[1], 1) * (inside.top - inside.bottom),
    )


def _axes(
    drawn: Canvas, ends: Sequence[float], factor: float, unit: str, inside: labels.Box
) -> None:
    """Grid, numbers and what they are; memory in its readable unit."""
    grid = []
    for tick in ticks(ends[0] * factor, 6):
        x, y = _inside(tick / factor, 0, ends, inside)
        grid.append([(x, inside.bottom), (x, inside.top)])
        drawn.text(x, y - 11, f"{tick:g}", 8, svg.MUTED, align="center")
    for tick in ticks(ends[1], 6):
        x, y = _inside(0, tick, ends, inside)
        grid.append([(inside.left, y), (inside.right, y)])
        drawn.text(x - 4, y, f"{tick:g}", 8, svg.MUTED, align="right", middle=True)
    drawn.strokes(grid, svg.RULE, 0.6)
    drawn.text(4, drawn.height - 10, "decode speed, tok/s; higher is better", 8, svg.MUTED)
    drawn.text(
        _WIDTH - _RIGHT, 5, f"peak memory, {unit}; left is better", 8, svg.MUTED, align="right"
    )


def _stairs(best: Sequence[Point], ends: Sequence[float]) -> tuple[list[float], list[float]]:
    """The front as a line: what lies below and to the right of it is beaten in both."""
    if not best:
        return [], []
    x, y = [best[0].memory.value], [0.0]
    for point, following in zip(best, [*best[1:], None], strict=True):
        x += [point.memory.value, following.memory.value if following else ends[0]]
        y += [point.speed.value] * 2
    return x, y


def _lines(
    points: Sequence[Point], best: Sequence[Point], ends: Sequence[float], inside: labels.Box
) -> list[labels.Box]:
    """What labels should not lie on: the front and the intervals, as thin boxes."""
    drawn = list(itertools.pairwise(zip(*_stairs(best, ends), strict=True)))
    drawn += [interval for point in points for interval in _intervals(point)]
    placed = ([_inside(*end, ends, inside) for end in line] for line in drawn)
    return [
        labels.Box(left - 0.5, min(low, high) - 0.5, right + 0.5, max(low, high) + 0.5)
        for (left, low), (right, high) in placed
    ]


def _intervals(point: Point) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    """Both intervals as lines of (memory, speed)."""
    memory, speed = point.memory, point.speed
    if memory.low is not None and memory.high is not None:
        yield (memory.low, speed.value), (memory.high, speed.value)
    if speed.low is not None and speed.high is not None:
        yield (memory.value, speed.low), (memory.value, speed.high)


def _mark(
    drawn: Canvas, point: Point, color: str, ends: Sequence[float], inside: labels.Box
) -> None:
    place = [_inside(point.memory.value, point.speed.value, ends, inside)]
    lines = [[_inside(*end, ends, inside) for end in line] for line in _intervals(point)]
    drawn.strokes(lines, color, 1.0, 0.55)
    truth = point.truth
    if wide := _halo(truth):
        drawn.marks(place, "o", wide, color, alpha=0.18)
    marker = _MARKERS.get(truth.verdict) if truth else None
    drawn.marks(place, marker or "o", 7, color if marker else svg.PAPER, color, 1.4)


def _halo(truth: ArmFidelity | None) -> float:
    """Diameter in points: none up to a KL of 0.0001 nats, then 6 more per power of ten."""
    if truth is None or truth.kl is None or truth.kl.mean <= 1e-4:
        return 0.0
    return min(11 + 6 * (math.log10(truth.kl.mean) + 4), 44)


def _label(
    drawn: Canvas, point: Point, place: tuple[float, float], label: labels.Label, *, on_front: bool
) -> None:
    box = label.box
    middle = (box.bottom + box.top) / 2
    if label.led:
        x = min(max(place[0], box.left), box.right)
        above = box.bottom if box.bottom > place[1] else box.top
        drawn.strokes([[place, (x, middle if x != place[0] else above)]], svg.MUTED, 0.6)
    color = svg.INK if on_front else svg.MUTED
    drawn.text(box.left, middle, point.label, _FONT, color, middle=True)


def _described(points: Sequence[Point]) -> Iterator[str]:
    for point in points:
        speed = numbers.with_interval(point.speed, metrics.METRICS["decode_tok_s"].unit)
        truth = point.truth.verdict if point.truth else "fidelity not measured"
        yield f"{point.label}: {speed}, {numbers.with_interval(point.memory, 'bytes')}, {truth}"
