"""What the plots show: labels that can be read, the right front, stalls, phases, equal axes."""

from __future__ import annotations

import itertools
import random
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from reports import (
    decision,
    html,
    labels,
    length_lines,
    load_bars,
    memory_lines,
    numbers,
    token_lines,
    view,
)
from reports.canvas import Canvas
from reports.tables import Row
from results import arms, fidelity
from results.nats import Spread
from results.records import Sample
from results.statistics import estimate
from results.store import Run

BOUNDS = labels.Box(0, 0, 480, 700)


@pytest.mark.parametrize("number", [1, 7, 40])
@pytest.mark.parametrize("spread", [600.0, 40.0, 0.0])
def test_no_label_covers_another_one_or_a_point(number: int, spread: float) -> None:
    """Also where all points are the same one."""
    draw = random.Random(number)
    points = [
        (100 + draw.random() * spread / 2, 300 + draw.random() * spread / 2) for _ in range(number)
    ]
    sizes = [labels.size(f"engine-{n} gguf-q4_1", 9) for n in range(number)]
    placed = [label for label in labels.place(points, sizes, BOUNDS) if label is not None]
    assert len(placed) == number
    for one, other in itertools.combinations(placed, 2):
        assert not one.box.meets(other.box)
    for own, label in enumerate(placed):
        assert label.box.within(BOUNDS)
        for n, (x, y) in enumerate(points):
            if n != own:
                assert not label.box.meets(labels.Box(x - 5, y - 5, x + 5, y + 5))


def test_labels_keep_off_lines_and_say_when_there_is_no_room() -> None:
    size = labels.size("llamacpp", 9)
    (free,) = labels.place([(200, 300)], [size], BOUNDS)
    assert free is not None
    line = labels.Box(free.box.left, free.box.bottom + 1, free.box.right, free.box.bottom + 2)
    (moved,) = labels.place([(200, 300)], [size], BOUNDS, [line])
    assert moved is not None
    assert not moved.box.meets(line) and moved.box != free.box
    assert labels.place([(5, 5)], [(600, 10)], BOUNDS) == [None]


def test_a_label_far_from_its_point_is_led_to_it() -> None:
    size = labels.size("llamacpp gguf-q4_1", 9)
    placed = labels.place([(200.0, 300.0)] * 30, [size] * 30, BOUNDS)
    for label in placed:
        assert label is not None
        away = max(
            label.box.left - 200, 200 - label.box.right, label.box.bottom - 300, 300 - label.box.top
        )
        assert label.led or away < 18


def _point(row: Row, speed: float, memory: float, **given: Any) -> decision.Point:
    return decision.Point(
        replace(row, **given),
        estimate([speed, speed * 1.01]),
        estimate([memory, memory * 1.01]),
        None,
    )


def test_the_front_are_the_cases_that_no_other_beats_in_both(run: Run) -> None:
    row = view.build(run).tables[1].rows[0]
    lean, fast, beaten, liar = (
        _point(row, 20, 1e8),
        _point(row, 90, 5e8),
        _point(row, 19, 2e8),
        _point(row, 99, 1e7, lies=(("forced_length", "it lied"),)),
    )
    assert decision.front([fast, beaten, liar, lean]) == [lean, fast]
    assert decision.front([liar]) == []


def test_a_case_that_is_not_shown_to_be_beaten_is_named_beside_the_front(run: Run) -> None:
    """By the means it is behind in both; by the comparisons it is level."""
    row = view.build(run).tables[1].rows[0]

    def made(name: str, speeds: list[float], bytes_: list[float]) -> decision.Point:
        values = {"decode_tok_s": tuple(speeds), "peak_pss_bytes": tuple(bytes_)}
        estimates = {name: estimate(v) for name, v in values.items()}
        case = replace(row.summary.case, backend=name)
        summary = replace(row.summary, case=case, values=values, estimates=estimates)
        one = replace(row, backend=name, summary=summary)
        return decision.Point(one, estimates["decode_tok_s"], estimates["peak_pss_bytes"], None)

    best = made("best", [100, 106, 94], [5e8, 5.01e8, 4.99e8])
    near = made("near", [98, 104, 92], [5.02e8, 5.03e8, 5.01e8])
    far = made("far", [50, 51, 49], [9e8, 9.1e8, 8.9e8])
    points = [best, near, far]
    assert decision.front(points) == [best]
    assert decision.close(points, [best], "peak_pss_bytes") == [near]
    other = replace(far, comparable=False)
    assert decision.front([other]) == decision.close([best, other], [best], "peak_pss_bytes") == []


def test_the_decision_plot_labels_every_case_and_says_what_is_broken(run: Run) -> None:
    report = view.build(run)
    table = next(t for t in report.tables if t.measure == "generate")
    found = decision.plots([table], {}, {row.backend: 0 for row in table.rows})
    (plot,) = found
    for row in table.rows:
        shown = "decode_tok_s" in row.summary.estimates
        assert (f">{row.name}<" in plot.svg) is shown
    assert "no measure of fidelity" in plot.note


def test_where_names_have_no_room_the_front_keeps_its_own_and_the_note_counts_the_rest(
    run: Run,
) -> None:
    table = next(t for t in view.build(run).tables if t.measure == "generate")
    row = replace(table.rows[0], backend="engine", artifact="x" * 30)
    same = [_point(row, 50 + n / 1e6, 2e8) for n in range(150)]
    lean = _point(replace(row, artifact="lean"), 10, 1e8)
    plot = decision._plot(table, [*same, lean], {"engine": 0})
    assert ">engine lean<" in plot.svg
    told = re.search(r"No room for the names of (\d+)", plot.note)
    named = re.findall(r"<text[^>]*>engine x", plot.svg)
    assert told and len(named) == 150 - int(told[1]) > 0


def test_fidelity_is_told_by_shape_and_words_not_by_colour_alone(run: Run) -> None:
    table = next(t for t in view.build(run).tables if t.measure == "generate")
    verdicts: tuple[fidelity.Verdict, ...] = (
        "true to the weights",
        "as its bits allow",
        "fault",
        "not judged",
    )
    kl = Spread(0.25, 0.2, 0.3, 0.4, 0.5)
    judged = fidelity.judged(table.rows[0].summary.case, None, {}, None, None, {})
    drawn = {}
    for verdict in verdicts:
        truths = {
            arms.key(row.summary.case): replace(judged, verdict=verdict, kl=kl)
            for row in table.rows
        }
        lies = (("fault in fidelity", "it is off"),) if verdict == "fault" else ()
        sections = [
            replace(one, rows=tuple(replace(row, lies=lies) for row in one.rows))
            for one in table.sections
        ]
        shown = replace(table, sections=tuple(sections))
        (plot,) = decision.plots([shown], truths, {row.backend: 0 for row in table.rows})
        texts = re.findall(r"<text[^>]*>([^<]*)</text>", plot.svg)
        drawn[verdict] = (
            sorted(re.findall(r'<path[^>]* d="(M [^"]*)" stroke', plot.svg)),
            any("KL 0.25" in text for text in texts),
            any("✗ broken" in text for text in texts),
        )
    assert len({str(shapes) for shapes, *_ in drawn.values()}) >= 3
    assert [drawn[v][1] for v in verdicts] == [False, True, True, True]
    assert [drawn[v][2] for v in verdicts] == [False, False, True, False]


def _stalled(sample: Sample, at: int, ms: int) -> Sample:
    moved = tuple(t + ms * 10**6 * (n >= at) for n, t in enumerate(sample.token_ns))
    return replace(sample, token_ns=moved, done_ns=sample.done_ns + ms * 10**6)


def test_a_stall_is_found_marked_and_named(run: Run) -> None:
    """One request of one trial waits 900 ms before its tenth token."""
    victim = next(
        r for r in run.records
        if r.case.measure == "generate" and r.status == "ok" and r.case.artifact == "gguf-f32"
    )  # fmt: skip
    samples = [*victim.samples[:-1], _stalled(victim.samples[-1], 9, 900)]
    records = tuple(replace(r, samples=tuple(samples)) if r is victim else r for r in run.records)
    length = victim.case.parameters["prompt_tokens"]
    report = view.build(replace(run, records=records))
    table = next(t for t in report.tables if f"Generate {length} " in t.title)
    colors = {row.backend: 0 for row in table.rows}
    plot = token_lines.plot(table, colors)
    assert plot is not None and plot.title.endswith("(llamacpp gguf-f32)")
    gap = float(re.search(r"longest gap (\d+) ms", plot.title)[1])  # type: ignore[index]
    assert 900 < gap < 960
    usual = token_lines.plot(
        next(t for t in view.build(run).tables if t.title == table.title), colors
    )
    assert usual is not None
    strokes = [drawing.count("stroke-ink") for drawing in (plot.svg, usual.svg)]
    assert strokes[0] == strokes[1] + 1


def test_at_most_so_many_requests_are_drawn_and_the_longest_gap_among_them() -> None:
    lasted = np.arange(50)[::-1].copy()
    assert token_lines._some(lasted[:3], 1) == [0, 1, 2]
    shown = token_lines._some(lasted, 20)
    assert len(shown) == token_lines._LINES and {0, 49, 20} <= set(shown)
    assert token_lines._some(lasted, 49).count(49) == 1


def test_a_case_s_gaps_are_those_of_its_requests_one_by_one(run: Run) -> None:
    """The vectorised gaps against plain differences, over trials of several requests."""
    table = next(t for t in view.build(run).tables if t.measure == "generate")
    for row in table.rows:
        found = [
            [b - a for a, b in itertools.pairwise(sample.token_ns)]
            for record in row.summary.evidence.ok
            for sample in record.samples
            if not sample.warmup
        ]
        case = token_lines._case(row)
        assert (case is None) == (not found)
        if case is not None:
            gaps = [gap / 1e6 for several in found for gap in several]
            assert case.gap_ms == pytest.approx(max(gaps))
            assert case.times == pytest.approx(max(gaps) / float(np.median(gaps)))
            assert case.longest.gaps.max() == pytest.approx(max(gaps))


def test_loading_is_stacked_in_order_cold_above_warm(run: Run) -> None:
    """The same run once more, as loads from a cold page cache."""

    def cold(case: Any) -> Any:
        return replace(case, parameters={**case.parameters, "page_cache": "cold"})

    loads = [r for r in run.records if r.case.measure == "load"]
    records = [*loads, *(replace(r, trial=f"c{r.trial}", case=cold(r.case)) for r in loads)]
    trials = [t for t in run.info.trials if t.case.measure == "load"]
    trials += [replace(t, id=f"c{t.id}", case=cold(t.case)) for t in trials]
    report = view.build(
        replace(run, records=tuple(records), info=replace(run.info, trials=tuple(trials)))
    )
    ((anchor, plot),) = load_bars.plots(
        report.tables, {row.backend: 0 for t in report.tables for row in t.rows}
    )
    assert anchor == report.tables[0].anchor
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", plot.svg)
    assert texts.count("cold") == texts.count("warm") == 5
    assert texts.index("cold") < texts.index("warm")
    assert "transformers hf-f32, cold: start 1" in plot.svg
    said = re.search(r"transformers hf-f32, warm: ([^;<]*)", plot.svg)
    assert said and [part.split(" ")[0] for part in said[1].split(", ")] == [
        "start", "import", "open", "first",
    ]  # fmt: skip


def test_equal_strokes_are_one_path_and_coordinates_are_short() -> None:
    drawn = Canvas(100, 100)
    drawn.strokes([[(1.23456, 2), (3, 4)], [(5, 6), (7, 8)]], "#010101", 1)
    text = str(drawn.inline("x", "title", "description"))
    assert text.count("<path") == 1 and text.count("M ") == 2
    assert not re.search(r"\d\.\d{2}", "".join(re.findall(r' d="([^"]*)"', text)))


def test_the_page_holds_each_plot_once_and_all_are_handed_out(run: Run) -> None:
    report = view.build(run)
    page, plots = html.render(report), html.drawings(report)
    assert page.count("<svg") == len(plots)
    assert all(page.count(f'id="{plot.svg.prefix}-title"') == 1 for plot in plots)


def test_memory_over_time_shows_the_trial_that_needed_most_with_its_phases(run: Run) -> None:
    report = view.build(run)
    colors = {row.backend: 0 for table in report.tables for row in table.rows}
    found = {one.row.name: one for one in memory_lines._series(report.tables)}
    assert set(found) == {row.name for row in report.tables[0].rows if row.backend != "mlx"}
    for row in report.memory:
        assert row.pss == numbers.quantity(max(found[row.name].pss), "bytes")
    one = found["llamacpp gguf-f32"]
    names = [name for name, *_ in one.phases]
    assert names[0] == "load" and names.count("prefill") == names.count("decode") > 0
    assert all(begin <= end for _, begin, end in one.phases)
    assert list(one.at_s) == sorted(one.at_s) and one.at_s[0] > 0
    plot = memory_lines.plot(report.tables, colors)
    assert plot is not None and f"peak {report.memory[0].pss}" in plot.svg


def test_what_a_longer_prompt_costs_has_a_panel_per_case_with_two_lengths(run: Run) -> None:
    report = view.build(run)
    colors = {row.backend: 0 for table in report.tables for row in table.rows}
    found = {plot.title: plot for plot in length_lines.plots(report.tables, colors)}
    assert set(found) == {"time to first token", "decode speed", "peak PSS"}
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", found["time to first token"].svg)
    tables = [t for t in report.tables if t.measure == "generate"]
    ends = [
        next(r.cells["ttft_ms"].value for r in t.rows if r.name == "onnx onnx-f32") for t in tables
    ]
    assert " → ".join(ends) in texts and "onnx onnx-f32" in texts
    assert "onnx onnx-int4" not in texts  # it crashed on the longer one
    assert list(length_lines.plots(tables[:1], colors)) == []


def test_a_name_is_cut_where_it_would_leave_its_panel() -> None:
    assert labels.fitting("short", 8.5, 100) == "short"
    cut = labels.fitting("W" * 60, 8.5, 100)
    assert cut.endswith("…") and labels.size(cut, 8.5)[0] <= 100 < labels.size("W" * 60, 8.5)[0]
