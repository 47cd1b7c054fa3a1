"""Small multiples: one panel per case, all with the same axes, so that shapes may be compared."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from reports import labels, svg
from reports.canvas import Canvas, Stroke, ticks

_COLUMNS = 3
_WIDTH, _PANEL = 530.0, 78.0
_LEFT, _GAP, _TITLE, _BELOW, _ABOVE = 30.0, 14.0, 38.0, 32.0, 12.0
_BACKDROP = 15


@dataclass(frozen=True)
class Axis:
    """From 0 to `end`. `marks` are where it has a label; none: round numbers that label
    themselves."""

    end: float
    name: str
    marks: Sequence[tuple[float, str]] = ()

    @property
    def labels(self) -> Sequence[tuple[float, str]]:
        return self.marks or [(tick, f"{tick:g}") for tick in ticks(self.end, 4)]


class Panels:
    """A panel per title and subtitle, all with the axes `x` and `y`. Panels are numbered from 0; what
    is drawn in them is in the axes' units."""

    def __init__(self, titles: Sequence[tuple[str, str]], x: Axis, y: Axis) -> None:
        rows = math.ceil(len(titles) / _COLUMNS)
        self.x, self.y = x, y
        self.canvas = Canvas(_WIDTH, _ABOVE + rows * (_TITLE + _PANEL) + _BELOW)
        self._across = (_WIDTH - _LEFT - 6 - (_COLUMNS - 1) * _GAP) / _COLUMNS
        self._strokes: dict[tuple[str, float, float], list[Stroke]] = defaultdict(list)
        self._dress(len(titles))
        for number, (title, subtitle) in enumerate(titles):
            left, bottom = self._corner(number)
            self.canvas.text(
                left, bottom + _PANEL + 17, labels.fitting(title, 8.5, self._across), 8.5
            )
            self.canvas.text(
                left,
                bottom + _PANEL + 6,
                labels.fitting(subtitle, 7.5, self._across),
                7.5,
                svg.MUTED,
            )
        self.canvas.text(2, self.canvas.height - 10, y.name, 8, svg.MUTED)
        self.canvas.text(_WIDTH - 6, 3, x.name, 8, svg.MUTED, align="right")

    def line(self, panel: int, points: Stroke, color: str, width: float, alpha: float = 1) -> None:
        """Kept until `inline`: equal lines of all panels are drawn as one."""
        self._strokes[color, width, alpha].append(self._placed(panel, points))

    def backdrop(self, lines: Sequence[Stroke]) -> str:
        """All lines in each panel, in grey, unless there are too many to follow. Says so, for the
        note below the plot; else it is empty."""
        if not 1 < len(lines) <= _BACKDROP:
            return ""
        for panel in range(len(lines)):
            for line in lines:
                self.line(panel, line, svg.MUTED, 0.7, 0.4)
        return ", the others in grey"

    def area(self, panel: int, outline: Stroke, color: str, alpha: float) -> None:
        self.canvas.area(self._placed(panel, outline), color, alpha)

    def dots(self, panel: int, points: Stroke, color: str) -> None:
        self.canvas.marks(self._placed(panel, points), "o", 3.5, color)

    def inline(self, prefix: str, title: str, description: str) -> svg.Drawing:
        for (color, width, alpha), strokes in self._strokes.items():
            self.canvas.strokes(strokes, color, width, alpha)
        return self.canvas.inline(prefix, title, description)

    def _corner(self, panel: int) -> tuple[float, float]:
        row, column = divmod(panel, _COLUMNS)
        left = _LEFT + column * (self._across + _GAP)
        return left, self.canvas.height - _ABOVE - (row + 1) * (_TITLE + _PANEL)

    def _placed(self, panel: int, points: Stroke) -> list[tuple[float, float]]:
        left, bottom = self._corner(panel)
        return [
            (left + x / (self.x.end or 1) * self._across, bottom + y / (self.y.end or 1) * _PANEL)
            for x, y in points
        ]

    def _dress(self, panels: int) -> None:
        """Grid lines in all panels; numbers at the left and below the last ones."""
        across, up = self.x.labels, self.y.labels
        grid, base = [], []
        for panel in range(panels):
            grid += [self._placed(panel, [(tick, 0), (tick, self.y.end)]) for tick, _ in across]
            grid += [self._placed(panel, [(0, tick), (self.x.end, tick)]) for tick, _ in up]
            base.append(self._placed(panel, [(0, 0), (self.x.end, 0)]))
            if panel % _COLUMNS == 0:
                for tick, label in up:
                    ((x, y),) = self._placed(panel, [(0, tick)])
                    self.canvas.text(x - 3, y, label, 7.5, svg.MUTED, align="right", middle=True)
            if panel + _COLUMNS >= panels:
                for tick, label in across:
                    ((x, y),) = self._placed(panel, [(tick, 0)])
                    self.canvas.text(x, y - 10, label, 7.5, svg.MUTED, align="center")
        self.canvas.strokes(grid, svg.RULE, 0.5)
        self.canvas.strokes(base, svg.RULE, 0.9)
