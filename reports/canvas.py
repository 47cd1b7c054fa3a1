"""A drawing in points, y upwards, made of as few matplotlib artists as it takes.

matplotlib's axes make an object of every tick and grid line, and a page has dozens of plots. Here
equal strokes are one artist, whatever their number.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Affine2D

from reports import svg

Stroke = Sequence[tuple[float, float]]

_NAN = float("nan")


class Canvas:
    """`width` × `height` points. What is drawn later covers what was drawn earlier."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width / 72, height / 72))
        self.figure.patch.set_visible(False)
        self._to_pixels = Affine2D().scale(1 / 72) + self.figure.dpi_scale_trans

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float = 9,
        color: str = svg.INK,
        *,
        align: Literal["left", "center", "right"] = "left",
        middle: bool = False,
    ) -> None:
        """One line; `y` is its baseline, or its middle."""
        self.figure.text(
            x, y, text, fontsize=size, color=color, ha=align,
            va="center_baseline" if middle else "baseline", transform=self._to_pixels,
            parse_math=False,
        )  # fmt: skip

    def strokes(
        self,
        strokes: Iterable[Stroke],
        color: str,
        width: float,
        alpha: float = 1,
        *,
        dashes: tuple[float, float] | None = None,
    ) -> None:
        """Lines through points; those of one call are one path."""
        joined: list[tuple[float, float]] = []
        for stroke in strokes:
            joined += [*stroke, (_NAN, _NAN)]
        if joined:
            x, y = zip(*joined, strict=True)
            line = Line2D(x, y, color=color, lw=width, alpha=alpha, solid_capstyle="butt")
            if dashes:
                line.set_dashes(dashes)
            self._add(line)

    def marks(
        self,
        points: Iterable[tuple[float, float]],
        marker: str,
        size: float,
        face: str = "none",
        edge: str = "",
        edge_width: float = 1.0,
        alpha: float = 1,
    ) -> None:
        """Markers of one kind; `size` is their diameter, no `edge` none."""
        if found := list(points):
            x, y = zip(*found, strict=True)
            self._add(
                Line2D(
                    x, y, ls="none", marker=marker, ms=size, mfc=face, mec=edge or face,
                    mew=edge_width if edge else 0, alpha=alpha,
                )
            )  # fmt: skip

    def area(self, outline: Stroke, color: str, alpha: float) -> None:
        """A filled outline."""
        self._add(Polygon(list(outline), closed=True, fc=color, ec="none", lw=0, alpha=alpha))

    def bar(
        self, left: float, middle: float, width: float, height: float, color: str, alpha: float = 1
    ) -> None:
        low, high = middle - height / 2, middle + height / 2
        self.area(
            [(left, low), (left + width, low), (left + width, high), (left, high)], color, alpha
        )

    def inline(self, prefix: str, title: str, description: str) -> svg.Drawing:
        """The drawing as an `<svg>` element."""
        return svg.inline(self.figure, prefix, title, description)

    def _add(self, artist: Line2D | Polygon) -> None:
        artist.set_transform(self._to_pixels)
        self.figure.add_artist(artist)


def ticks(limit: float, most: int) -> list[float]:
    """Round numbers from 0 up to `limit`, about `most` of them."""
    return [float(tick) for tick in MaxNLocator(most).tick_values(0, limit) if 0 <= tick <= limit]


def short(text: str, most: int) -> str:
    """The text, or as many characters of it."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
