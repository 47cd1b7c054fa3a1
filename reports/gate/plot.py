"""A drawing per task: each metric's ratio with its interval against 1, on a logarithmic axis.

Plain SVG by an XML writer, with the page's CSS classes for colours: no matplotlib, which would
cost a second for a few lines. A verdict has a shape and its word beside its colour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from reports import numbers
from reports.gate.view import RowView, Span

_WIDTH = 400.0
_SIDE = 10.0
_ROW = 46.0
_AXIS = 24.0
_NARROWEST, _WIDEST = math.log(1.08), math.log(4.0)
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
_CLASSES = {
    "regressed": "bad",
    "pass": "good",
    "inconclusive": "warn",
    "incomparable": "bad",
    None: "muted",
}


@dataclass(frozen=True)
class Plot:
    task: str
    svg: str


def draw(task: str, rows: Sequence[RowView], prefix: str) -> Plot | None:
    """None where no row has a ratio. `prefix` is unique within the page."""
    shown = [(row, row.span) for row in rows if row.span]
    if not shown:
        return None
    limit = _limit([span for _, span in shown])
    height = _ROW * len(shown) + _AXIS
    root = _element(
        None, "svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {_WIDTH:g} {height:g}",
        role="img", **{"aria-labelledby": f"{prefix}-title {prefix}-desc"},
    )  # fmt: skip
    _element(root, "title", id=f"{prefix}-title").text = f"candidate / base: {task}"
    _element(root, "desc", id=f"{prefix}-desc").text = _described(rows)
    ticks = _ticks(limit)
    for tick in ticks:
        _tick_label(root, tick, limit, height - 6)
    for number, (row, span) in enumerate(shown):
        _shade(root, span, limit, number * _ROW)
        for tick in ticks:  # not through the words above a row
            _line(root, _x(tick, limit), number * _ROW + 21, "muted" if tick == 1 else "rule")
        _row(root, row, span, limit, number * _ROW)
    return Plot(task, ElementTree.tostring(root, encoding="unicode"))


def _limit(spans: Sequence[Span]) -> float:
    """Half the axis, as a logarithm: all ratios, and intervals unless they are very wide."""
    ratios = max(abs(math.log(span.ratio)) for span in spans)
    ends = [abs(math.log(x)) for s in spans for x in (s.low, s.high) if x is not None]
    margins = [math.log1p(s.margin.interest) * 1.5 for s in spans if s.margin]
    wide = max([_NARROWEST, ratios * 1.15, *(min(e, ratios * 2 + 0.1) for e in ends), *margins])
    return min(wide, _WIDEST)


def _ticks(limit: float) -> list[float]:
    reach = 1 - math.exp(-limit)
    step = next((s for s in _STEPS if reach / s < 3), _STEPS[-1])
    ticks = [1 + step * n for n in range(-3, 9) if step * n > -1]
    inside = [tick for tick in ticks if abs(math.log(tick)) <= 0.92 * limit]
    return inside if len(inside) <= 7 else [t for t in inside if round((t - 1) / step) % 2 == 0]


def _shade(root: ElementTree.Element, span: Span, limit: float, top: float) -> None:
    """A band of changes that are none, and a tint where a loss is as large as matters."""
    if span.margin is None:
        return
    near = math.log1p(span.margin.ignorable)
    far = span.worse * math.log1p(span.margin.interest)
    edge = span.worse * limit
    for start, end, name in ((-near, near, "fill-rule"), (far, edge, "fill-bad tint")):
        if abs(start) < limit:
            left, right = sorted((_at(start, limit), _at(end, limit)))
            _element(
                root, "rect", x=_n(left), y=_n(top + 22), width=_n(right - left), height="20",
                **{"class": name},
            )  # fmt: skip


def _row(root: ElementTree.Element, row: RowView, span: Span, limit: float, top: float) -> None:
    name = row.metric if len(row.metric) <= 22 else f"{row.metric[:21]}…"
    _text(root, _SIDE, top + 15, name, "ink", "start")
    words = f"{row.ratio} {row.interval} {row.shown}"
    _text(root, _WIDTH - _SIDE, top + 15, words, "ink", "end")
    color, y = _CLASSES[row.verdict], top + 32
    if span.low is not None and span.high is not None:
        left, right = _x(span.low, limit), _x(span.high, limit)
        _element(
            root, "line", x1=_n(left), x2=_n(right), y1=_n(y), y2=_n(y),
            **{"class": f"stroke-{color}", "stroke-width": "2.4"},
        )  # fmt: skip
        for end, at, way in ((span.low, left, -1), (span.high, right, 1)):
            if abs(math.log(end)) > limit:
                points = f"{_n(at + 5 * way)},{_n(y)} {_n(at)},{_n(y - 4)} {_n(at)},{_n(y + 4)}"
                _element(root, "polygon", points=points, **{"class": f"fill-{color}"})
    _mark(root, row, _x(span.ratio, limit), y, color)


def _mark(root: ElementTree.Element, row: RowView, x: float, y: float, color: str) -> None:
    if row.verdict == "regressed":
        points = f"{_n(x - 6)},{_n(y)} {_n(x)},{_n(y - 6)} {_n(x + 6)},{_n(y)} {_n(x)},{_n(y + 6)}"
        _element(root, "polygon", points=points, **{"class": f"fill-{color}"})
        return
    filled = row.verdict == "pass"
    classes = f"fill-{color if filled else 'paper'} stroke-{color}"
    _element(root, "circle", cx=_n(x), cy=_n(y), r="5", **{"class": classes, "stroke-width": "2"})


def _tick_label(root: ElementTree.Element, tick: float, limit: float, y: float) -> None:
    x = _x(tick, limit)
    anchor = "start" if x < 30 else "end" if x > _WIDTH - 30 else "middle"
    at = x if anchor == "middle" else min(max(x, _SIDE), _WIDTH - _SIDE)
    _text(root, at, y, numbers.quantity(tick, "ratio"), "muted", anchor)


def _described(rows: Sequence[RowView]) -> str:
    parts = (f"{r.metric}: {r.ratio} {r.interval} {r.shown}" for r in rows if r.span)
    return f"Ratios with 90 % intervals. {'; '.join(parts)}."


def _x(ratio: float, limit: float) -> float:
    return _at(math.log(ratio), limit)


def _at(logarithm: float, limit: float) -> float:
    share = min(max(logarithm / limit, -1.0), 1.0)
    return _WIDTH / 2 + share * (_WIDTH / 2 - _SIDE)


def _line(root: ElementTree.Element, x: float, top: float, color: str) -> None:
    _element(
        root, "line", x1=_n(x), x2=_n(x), y1=_n(top), y2=_n(top + 22),
        **{"class": f"stroke-{color}"},
    )  # fmt: skip


def _text(
    root: ElementTree.Element, x: float, y: float, text: str, color: str, anchor: str
) -> None:
    element = _element(
        root, "text", x=_n(x), y=_n(y),
        **{"class": f"fill-{color}", "text-anchor": anchor, "font-size": "12"},
    )  # fmt: skip
    element.text = text


def _element(
    parent: ElementTree.Element | None, tag: str, **attributes: str
) -> ElementTree.Element:
    if parent is None:
        return ElementTree.Element(tag, attributes)
    return ElementTree.SubElement(parent, tag, attributes)


def _n(value: float) -> str:
    return f"{value:.1f}"
