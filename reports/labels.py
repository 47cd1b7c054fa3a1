"""Where labels go beside their points, so that none covers another label or a point."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath

_MEASURE = TextToPath()

#: Directions tried around a point, in degrees.
_ANGLES = (0, 180, 45, 135, -45, -135, 20, -20, 160, -160, 65, -65, 115, -115, 90, -90)
#: Distances from the point's edge, in points. From the third on the label needs a leader.
_DISTANCES = (5.0, 10.0, *(18 * 1.17**n for n in range(23)))
_NEAR, _BESIDE = 10.0, 4


def fitting(text: str, points: float, width: float) -> str:
    """The text, or as much of it as is no wider."""
    if size(text, points)[0] <= width:
        return text
    most = next(
        n for n in range(len(text), -1, -1) if size(f"{text[:n]}…", points)[0] <= width or not n
    )
    return f"{text[:most]}…"


@dataclass(frozen=True)
class Box:
    """A rectangle in points, y upwards."""

    left: float
    bottom: float
    right: float
    top: float

    def meets(self, other: Box) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.bottom < other.top
            and other.bottom < self.top
        )

    def within(self, other: Box) -> bool:
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.bottom >= other.bottom
            and self.top <= other.top
        )


@dataclass(frozen=True)
class Label:
    """`box` is what the text covers; `led` where it is so far away that it needs a line."""

    box: Box
    led: bool


def size(text: str, points: float) -> tuple[float, float]:
    """Width and height of one line in DejaVu Sans, which is wider than what browsers choose."""
    font = FontProperties(family="DejaVu Sans", size=points)
    width, _, _ = _MEASURE.get_text_width_height_descent(text, font, False)
    return width, points * 1.25


def place(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    bounds: Box,
    lines: Sequence[Box] = (),
    radii: Sequence[float] = (),
) -> list[Label | None]:
    """A label per point, inside `bounds` and off the `lines` where it can; None where one has no
    room.

    `radii` are how far each point reaches itself; 5 where nothing is said. Earlier points have the
    first choice."""
    reach = radii or [5.0] * len(points)
    taken = [_around(point, min(radius, 8)) for point, radius in zip(points, reach, strict=True)]
    placed: list[Label | None] = []
    for number, (point, wanted, radius) in enumerate(zip(points, sizes, reach, strict=True)):
        others = [box for n, box in enumerate(taken) if n != number]
        # Beside its point a label may cross a line, rather than stand far off and keep clear of it.
        found = next(
            (
                label
                for near, avoided in ((True, [*lines, *others]), (True, others), (False, others))
                for label in _candidates(point, wanted, radius, near=near)
                if label.box.within(bounds) and not any(map(label.box.meets, avoided))
            ),
            None,
        )
        placed.append(found)
        if found is not None:
            taken.append(found.box)
    return placed


def _candidates(
    point: tuple[float, float], wanted: tuple[float, float], radius: float, *, near: bool
) -> Iterator[Label]:
    width, height = wanted
    for distance in _DISTANCES[:_BESIDE] if near else _DISTANCES:
        for degrees in _ANGLES:
            x = point[0] + (radius + distance) * math.cos(math.radians(degrees))
            y = point[1] + (radius + distance) * math.sin(math.radians(degrees))
            left = x if abs(degrees) < 90 else x - width if abs(degrees) > 90 else x - width / 2
            box = Box(left, y - height / 2, left + width, y + height / 2)
            yield Label(box, distance > _NEAR)


def _around(point: tuple[float, float], radius: float) -> Box:
    return Box(point[0] - radius, point[1] - radius, point[0] + radius, point[1] + radius)
