"""Loading as stacked bars: process start, import, open, first token; cold above warm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from reports import labels, numbers, svg
from reports.canvas import Canvas, short, ticks
from reports.plots import Plot
from reports.tables import Row, Table
from reports.untrusted import one_line
from results import arms

#: Metric, what it is called, strength of the colour, and its unit in seconds.
_PHASES = (
    ("process_s", "start", 1.0, 1.0),
    ("import_s", "import", 0.44, 1.0),
    ("open_s", "open", 0.28, 1.0),
    ("load_first_token_ms", "first token", 0.14, 1e-3),
)
_WIDTH, _LEFT, _HEAD, _BAR, _BELOW = 331.0, 36.0, 16.0, 18.0, 22.0
_FONT = 7.0


@dataclass(frozen=True)
class Bar:
    """One case: its page cache, and (phase, seconds) in order."""

    row: Row
    cache: str
    phases: tuple[tuple[str, float], ...]

    @property
    def total(self) -> float:
        return sum(seconds for _, seconds in self.phases)


def plots(tables: Sequence[Table], colors: Mapping[str, int]) -> Iterator[tuple[str, Plot]]:
    """Per model, the anchor of its first table of loading and a plot of all of them."""
    found: dict[str, list[Table]] = {}
    for table in tables:
        if table.measure == "load":
            found.setdefault(table.model, []).append(table)
    for family in found.values():
        if bars := _by_arm(family):
            yield family[0].anchor, _plot(family[0].anchor, bars, colors)


def _by_arm(family: Sequence[Table]) -> list[list[Bar]]:
    """The bars of each arm that has any, by name."""
    found: dict[str, list[Bar]] = {}
    for table in family:
        for row in table.rows:
            estimates = row.summary.estimates
            phases = tuple(
                (name, estimates[metric].value * unit)
                for metric, name, _, unit in _PHASES
                if metric in estimates
            )
            if phases:
                cache = one_line(row.summary.case.parameters.get("page_cache") or "", 12)
                found.setdefault(arms.key(row.summary.case), []).append(Bar(row, cache, phases))
    several = [sorted(bars, key=lambda bar: bar.cache) for bars in found.values()]
    return sorted(several, key=lambda bars: bars[0].row.name)


def _plot(anchor: str, arms_: Sequence[Sequence[Bar]], colors: Mapping[str, int]) -> Plot:
    limit = 1.02 * max(bar.total for bars in arms_ for bar in bars) or 1.0
    factor, unit = numbers.scale(limit, "s")
    height = sum(_HEAD + _BAR * len(bars) for bars in arms_) + _BELOW
    drawn = Canvas(_WIDTH, height)
    scale = (_WIDTH - _LEFT - 4) / limit
    grid = []
    for tick in ticks(limit * factor, 5):
        x = _LEFT + tick / factor * scale
        grid.append([(x, _BELOW), (x, height)])
        drawn.text(x, 8, f"{tick:g} {unit}", 7.5, svg.MUTED, align="center")
    drawn.strokes(grid, svg.RULE, 0.6)
    at = height
    for bars in arms_:
        drawn.text(_LEFT, at - 12, short(bars[0].row.name, 44), 8.5)
        at -= _HEAD
        for bar in bars:
            color = svg.series(colors[bar.row.backend])
            _draw(drawn, bar, at - _BAR / 2, scale, color)
            at -= _BAR
    return Plot(
        "what loading takes",
        "process start, engine import, model open, first token: dark to light, in this order; "
        "means of trials",
        drawn.inline(
            f"{anchor}-phases",
            "what loading takes",
            "; ".join(_described(bar) for bars in arms_ for bar in bars),
        ),
    )


def _draw(drawn: Canvas, bar: Bar, y: float, scale: float, color: str) -> None:
    strengths = {name: strength for _, name, strength, _ in _PHASES}
    left = _LEFT
    for name, seconds in bar.phases:
        width = seconds * scale
        drawn.bar(left, y, width, 12, color, strengths[name])
        text = f"{name} {numbers.quantity(seconds, 's')}"
        if labels.size(text, _FONT)[0] + 6 < width:
            # On the darkest one ink would not be read.
            ink = svg.PAPER if strengths[name] > 0.5 else svg.INK
            drawn.text(left + width / 2, y, text, _FONT, ink, align="center", middle=True)
        left += width
        drawn.strokes([[(left, y - 6), (left, y + 6)]], svg.PAPER, 0.8)
    drawn.text(_LEFT - 4, y, bar.cache, 7.5, svg.MUTED, align="right", middle=True)


def _described(bar: Bar) -> str:
    parts = ", ".join(f"{name} {numbers.quantity(seconds, 's')}" for name, seconds in bar.phases)
    return f"{bar.row.name}{f', {bar.cache}' if bar.cache else ''}: {parts}"
