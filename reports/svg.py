"""matplotlib's SVG, made fit to stand inside a page.

Colours become CSS classes, so that the page's light and dark themes apply; inline styles become
attributes, so that the page's Content-Security-Policy can forbid them; ids get a prefix, so that
several drawings share a page; a title and a description are what a screen reader reads.
"""

from __future__ import annotations

import io
import re
from typing import Any
from xml.etree import ElementTree

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

#: Stand-in colours for matplotlib, each replaced by the class `fill-NAME` or `stroke-NAME`.
INK, MUTED, RULE, PAPER = "#010101", "#020202", "#030303", "#040404"
SERIES = tuple(f"#0505{n:02x}" for n in range(8))

_NAMES = {INK: "ink", MUTED: "muted", RULE: "rule", PAPER: "paper"} | {
    color: f"s{n}" for n, color in enumerate(SERIES)
}
_SVG = "{http://www.w3.org/2000/svg}"
_XLINK = "{http://www.w3.org/1999/xlink}href"
_FONT_SIZE = re.compile(r"([\d.]+)px")
_REFERENCE = re.compile(r"url\(#([^)]*)\)")
_NUMBER = re.compile(r"-?\d+\.\d+")
_COORDINATES = frozenset({"d", "x", "y", "width", "height", "transform", "points", "viewBox"})
_DROPPED = (f"{_SVG}metadata", f"{_SVG}style")

#: svg.hashsalt: the same figure gives the same bytes. fonttype none: text stays text.
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "bakeoff",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.parse_math": False,
}


def series(number: int) -> str:
    """The colour of the engine with this number; there are eight, then they begin again."""
    return SERIES[number % len(SERIES)]


class Drawing(str):
    """An `<svg>` element, and the figure that it was made from: for a file of its own."""

    figure: Figure
    prefix: str
    heading: str

    def __new__(cls, text: str, figure: Figure, prefix: str, title: str) -> Drawing:
        made = super().__new__(cls, text)
        made.figure, made.prefix, made.heading = figure, prefix, title
        return made


def inline(figure: Figure, prefix: str, title: str, description: str) -> Drawing:
    """The figure as one `<svg>` element. `prefix` must be unique within the page."""
    FigureCanvasSVG(figure)
    file = io.StringIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(file, format="svg", metadata={"Date": None}, transparent=True)
    root = ElementTree.fromstring(file.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in _DROPPED:
                parent.remove(child)
    used = {name for element in root.iter() for name in _references(element)}
    for element in root.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)
        _attributes(element, prefix)
    for name in ("width", "height"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-labelledby", f"{prefix}-title {prefix}-desc")
    for position, (tag, text) in enumerate((("title", title), ("desc", description))):
        element = ElementTree.Element(f"{_SVG}{tag}", {"id": f"{prefix}-{tag}"})
        element.text = text
        root.insert(position, element)
    ElementTree.register_namespace("", _SVG.strip("{}"))
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    text = ElementTree.tostring(root, encoding="unicode")
    return Drawing(text, figure, prefix, title)


def _references(element: ElementTree.Element) -> list[str]:
    """The ids that an element refers to. matplotlib names every group; most names serve nothing."""
    link = [element.attrib[_XLINK].removeprefix("#")] if _XLINK in element.attrib else []
    return link + [name for text in element.attrib.values() for name in _REFERENCE.findall(text)]


def _rounded(number: re.Match[str]) -> str:
    text = f"{float(number[0]):.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def _attributes(element: ElementTree.Element, prefix: str) -> None:
    style = element.attrib.pop("style", "")
    for declaration in filter(None, (part.strip() for part in style.split(";"))):
        name, _, value = declaration.partition(":")
        if name.strip() in ("font", "font-size"):
            # Only the size: the page's font is the reader's own.
            if size := _FONT_SIZE.search(value):
                element.set("font-size", size[1])
        elif not name.strip().startswith("font-"):
            element.set(name.strip(), value.strip())
    classes = []
    for name in ("fill", "stroke"):
        if (color := _NAMES.get(element.get(name, ""))) is not None:
            del element.attrib[name]
            classes.append(f"{name}-{color}")
    if classes:
        element.set("class", " ".join(classes))
    if "id" in element.attrib:
        element.set("id", f"{prefix}-{element.attrib['id']}")
    if (link := element.get(_XLINK)) is not None:
        element.set(_XLINK, f"#{prefix}-{link.removeprefix('#')}")
    for name, value in element.attrib.items():
        if "url(#" in value:
            element.set(name, _REFERENCE.sub(rf"url(#{prefix}-\1)", value))
        elif name in _COORDINATES:
            element.set(name, " ".join(_NUMBER.sub(_rounded, value).split()))
