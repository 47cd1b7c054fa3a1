"""How far engines are from the reference, in nats, on a scale of powers of ten."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from reports import svg
from reports.canvas import Canvas
from reports.fidelity_view import Group, Row
from reports.panels import Axis, Panels
from reports.plots import Plot

_WIDTH, _SIDE, _ROW, _BELOW = 530.0, 6.0, 30.0, 34.0
#: Below this every divergence is the same: rounding.
_LEAST = -12
_MARKS = 6


def plots(groups: Sequence[Group], colors: Mapping[str, int]) -> Iterator[list[Plot]]:
    """Of each group the spread of its arms and the curves of those that have several places; none
    where no arm shows probabilities."""
    for group in groups:
        rows = [row for row in group.rows if row.found.kl is not None]
        rows.sort(key=lambda row: (row.found.kl.mean if row.found.kl else 0, row.name))
        curves = [row for row in rows if len(row.found.by_position) > 1]
        yield [
            *([_spread(group, rows, colors)] if rows else []),
            *([_curves(group, curves, colors)] if curves else []),
        ]


def _power(value: float) -> float:
    return max(_LEAST, math.log10(value)) if value > 0 else _LEAST


def _decades(values: Sequence[float]) -> tuple[int, int]:
    """Whole powers of ten around the values, at least one apart."""
    low = math.floor(min(map(_power, values)))
    return low, max(low + 1, math.ceil(max(map(_power, values))))


def _marks(low: int, high: int, most: int) -> list[tuple[int, str]]:
    step = math.ceil((high - low) / most)
    return [(power, f"1e{power}" if power else "1") for power in range(low, high + 1, step)]


def _spread(group: Group, rows: Sequence[Row], colors: Mapping[str, int]) -> Plot:
    values = [
        value
        for row in rows
        if (kl := row.found.kl)
        for value in (kl.median, kl.mean, kl.max, row.found.limit or kl.mean)
    ]
    low, high = _decades(values)
    drawn = Canvas(_WIDTH, _ROW * len(rows) + 6 + _BELOW)

    def at(value: float) -> float:
        return _SIDE + (_power(value) - low) / (high - low) * (_WIDTH - 2 * _SIDE)

    grid = []
    for power, label in _marks(low, high, _MARKS + 2):
        x = at(10.0**power)
        grid.append([(x, _BELOW - 6), (x, drawn.height)])
        drawn.text(
            x, _BELOW - 17, label, 7.5, svg.MUTED,
            align="left" if power == low else "right" if power == high else "center",
        )  # fmt: skip
    drawn.strokes(grid, svg.RULE, 0.6)
    drawn.text(_WIDTH - _SIDE, 4, "KL divergence, nats", 8, svg.MUTED, align="right")
    limits = []
    for number, row in enumerate(rows):
        top = drawn.height - _ROW * number
        y, kl, color = top - 24, row.found.kl, _color(row, colors)
        assert kl is not None
        drawn.text(_SIDE, top - 13, f"{row.name} {row.mark}")
        drawn.text(_WIDTH - _SIDE, top - 13, row.kl, align="right")
        drawn.strokes([[(at(kl.median), y), (at(kl.max), y)]], color, 1.2, 0.6)
        drawn.strokes([[(at(kl.median), y), (at(kl.p99), y)]], color, 5, 0.3)
        drawn.marks([(at(kl.max), y)], "o", 4.5, svg.PAPER, color, 0.9)
        drawn.marks([(at(kl.mean), y)], "D", 5.5, color, svg.PAPER)
        if row.found.limit:
            limits.append([(at(row.found.limit), y - 5), (at(row.found.limit), y + 5)])
    drawn.strokes(limits, svg.INK, 1.4)
    said = "; ".join(
        f"{row.name}: mean {row.kl}, 99 % of positions below {row.kl_p99}, at most {row.kl_max}"
        for row in rows
    )
    return Plot(
        "How far from the reference",
        "Lower is better. Diamond: mean over positions. Bar: median to 99th percentile. Ring: the "
        "worst position. Upright stroke: the mean that so many bits may cost at most.",
        drawn.inline(f"{group.anchor}-spread", f"KL divergence: {group.title}", said),
    )


def _curves(group: Group, rows: Sequence[Row], colors: Mapping[str, int]) -> Plot:
    places = list(dict.fromkeys(place for row in rows for place, _ in row.found.by_position))
    low, high = _decades([value for row in rows for _, value in row.found.by_position])
    marks = [(power - low, label) for power, label in _marks(low, high, _MARKS - 2)]
    drawn = Panels(
        [(f"{row.name} {row.mark}", _ends(row)) for row in rows],
        x=Axis(
            len(places) - 0.8,
            "position in the text, tokens",
            [(n + 0.1, _start(place)) for n, place in enumerate(places)],
        ),
        y=Axis(high - low, "KL, nats", marks),
    )
    lines = [
        [(places.index(place) + 0.1, _power(value) - low) for place, value in row.found.by_position]
        for row in rows
    ]
    others = drawn.backdrop(lines)
    for panel, (row, line) in enumerate(zip(rows, lines, strict=True)):
        drawn.line(panel, line, _color(row, colors), 1.4)
        drawn.dots(panel, line, _color(row, colors))
    said = (
        f"{row.name}: " + ", ".join(f"{place} {value}" for place, value in row.places)
        for row in rows
    )
    return Plot(
        "Does it drift?",
        f"Mean divergence by the position in the text{others}. A line that rises "
        "loses the weights as the text grows: a cache in few bits, a wrong RoPE base.",
        drawn.inline(f"{group.anchor}-curves", f"KL by position: {group.title}", "; ".join(said)),
    )


def _start(place: str) -> str:
    return place.partition("–")[0]


def _ends(row: Row) -> str:
    return f"{row.places[0][1]} → {row.places[-1][1]} nats"


def _color(row: Row, colors: Mapping[str, int]) -> str:
    return svg.series(colors[row.backend])
