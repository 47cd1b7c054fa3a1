"""Each plot as a file of its own, PNG or SVG, in the page's light colours on white.

A page's plot has a caption beside it and the reader's theme; a file has to bring both.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from pathlib import Path

import matplotlib
from matplotlib.artist import Artist
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure

from reports import svg
from reports.plots import Plot

_DPI = 200
_STYLE_SHEET = Path(__file__).parent / "templates" / "report.css"
_COLOURS = ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor")


def write(plots: Iterable[Plot], kinds: Iterable[str], folder: Path) -> list[Path]:
    """One file per plot and kind, named after the table and the metric. Returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    theme, written = _theme(), []
    for plot in plots:
        figure = plot.svg.figure
        with matplotlib.rc_context(svg.STYLE):
            figure.patch.set_visible(True)
            _caption(figure, plot)
            for artist in figure.findobj():
                _paint(artist, theme)
            for kind in kinds:
                path = folder / f"{plot.svg.prefix}.{kind}"
                told = {"metadata": {"Date": None}} if kind == "svg" else {"dpi": _DPI}
                figure.savefig(path, format=kind, bbox_inches="tight", facecolor="white", **told)
                written.append(path)
    return written


def _caption(figure: Figure, plot: Plot) -> None:
    """Heading and note above the drawing, in points from its upper edge."""
    wide, high = figure.get_size_inches() * 72
    note = textwrap.fill(plot.note, int(wide / 4.6))
    above = 7 + 10 * note.count("\n") + (12 if note else 0)
    for text, at, size, color, weight in (
        (note, 7, 8, svg.MUTED, "normal"),
        (plot.svg.heading, above, 10, svg.INK, "bold"),
    ):
        figure.text(
            4 / wide, 1 + at / high, text, fontsize=size, color=color, weight=weight, va="bottom",
            parse_math=False,
        )  # fmt: skip


def _paint(artist: Artist, theme: dict[str, str]) -> None:
    """The stand-in colours become those of the theme; how much shows through stays."""
    for name in _COLOURS:
        if hasattr(artist, f"set_{name}") and hasattr(artist, f"get_{name}"):
            found = getattr(artist, f"get_{name}")()
            if (painted := _painted(found, theme)) is not None:
                getattr(artist, f"set_{name}")(painted)


def _painted(found: object, theme: dict[str, str]) -> object | None:
    """The theme's colour in place of a stand-in, or a list of such; None where it is neither."""
    try:
        red, green, blue, alpha = to_rgba(found)  # type: ignore[arg-type]
    except ValueError:
        return None
    color = theme.get(to_hex((red, green, blue)))
    return None if color is None else to_rgba(color, alpha)


def _theme() -> dict[str, str]:
    """Stand-in -> the light theme's colour, as the page's style sheet says."""
    sheet = _STYLE_SHEET.read_text(encoding="utf-8")
    said = dict(re.findall(r"--([a-z]\w*): (#\w+);", sheet.partition("@media")[0]))
    names = {"ink": svg.INK, "muted": svg.MUTED, "rule": svg.RULE, "paper": svg.PAPER}
    names |= {f"s{number}": color for number, color in enumerate(svg.SERIES)}
    return {stand_in: said[name] for name, stand_in in names.items()}
