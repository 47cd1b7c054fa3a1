"""The drawing of ratios: where marks, margins and arrows lie."""

import re
from dataclasses import dataclass, replace
from xml.etree import ElementTree

import pytest

from reports.gate import plot, view
from results.gate.outcome import Row
from results.gate.rules import Margin

SVG = "{http://www.w3.org/2000/svg}"


@dataclass(frozen=True)
class Margined(Row):
    margin: Margin | None = None


def _drawn(outcome, index, **changes):
    row = outcome.rows[index]
    if "ratio" in changes:
        row = replace(row, judged=replace(row.judged, **changes))
    margin = changes.get("margin")
    if isinstance(margin, Margin):
        row = Margined(row.task, row.metric, row.base, row.candidate, row.judged, row.why, margin)
    shown = view.build(replace(outcome, rows=(row,))).rows
    return ElementTree.fromstring(plot.draw("task", shown, "p").svg)


def test_one_is_in_the_middle_and_more_is_to_the_right(samples):
    at = [
        float(_drawn(samples["green"], 0, ratio=r, low=r, high=r).find(f"{SVG}circle").get("cx"))
        for r in (1 / 1.03, 1.0, 1.03)
    ]
    assert at[0] < at[1] == 200.0 < at[2]
    assert at[1] - at[0] == pytest.approx(at[2] - at[1], abs=0.2)


@pytest.mark.parametrize(("index", "worse_is_right"), [(0, True), (3, False)])
def test_the_tint_is_on_the_side_that_is_worse(samples, index, worse_is_right):
    drawn = _drawn(samples["green"], index, margin=Margin(0.01, 0.05))
    band, tint = drawn.findall(f"{SVG}rect")
    middle = float(band.get("x")) + float(band.get("width")) / 2
    assert middle == pytest.approx(200, abs=0.2)
    left, width = float(tint.get("x")), float(tint.get("width"))
    assert left > 200 if worse_is_right else left + width < 200
    assert "fill-bad" in tint.get("class")


def test_an_interval_beyond_the_axis_ends_in_an_arrow(samples):
    drawn = _drawn(samples["green"], 0, ratio=1.0, low=0.001, high=1000.0)
    assert len(drawn.findall(f"{SVG}polygon")) == 2
    for line in drawn.findall(f"{SVG}line"):
        assert 0 <= float(line.get("x1")) <= float(line.get("x2")) <= 400


@pytest.mark.parametrize("ratio", [1e-300, 1e300, 0.5, 3.0])
def test_any_ratio_can_be_drawn(samples, ratio):
    drawn = _drawn(samples["green"], 0, ratio=ratio, low=None, high=None)
    assert 0 <= float(drawn.find(f"{SVG}circle").get("cx")) <= 400
    labels = [t.text for t in drawn.iter(f"{SVG}text") if re.fullmatch(r"[\d.]+×", t.text or "")]
    assert "1.00×" in labels and len(labels) == len(set(labels)) <= 7


@pytest.mark.parametrize("ratio", [float("inf"), float("nan"), 0.0, -1.0])
def test_what_is_no_ratio_is_a_dash_and_not_drawn(samples, ratio):
    green = samples["green"]
    row = replace(green.rows[0], judged=replace(green.rows[0].judged, ratio=ratio))
    shown = view.build(replace(green, rows=(row,))).rows
    assert shown[0].ratio == "–" and shown[0].interval == ""
    assert plot.draw("task", shown, "p") is None
