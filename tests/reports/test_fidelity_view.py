"""Fidelity in every format: numbers, verdicts, and an engine's text made safe."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from reports import fidelity_lines, fidelity_text, fidelity_view, html, markdown, view
from reports.plots import Plot
from results import fidelity
from results.records import ArtifactFacts, Case, Record, Trial
from results.store import Run

ITEMS = [{"name": "tides", "style": "science", "text": "x"}, {"name": "chat", "style": "chat"}]


def record(case: Case, observations: list[dict[str, Any]], status: Any = "ok") -> Record:
    return Record(
        case.key, case, 0, 0, status, "", 1.0, reason=None if status == "ok" else "<b>no</b>",
        observations=tuple(observations),
    )  # fmt: skip


@pytest.fixture
def told(run: Run) -> Run:
    base = run
    reference = Case("m", "transformers", "hf", "reference")
    good = Case("m", "onnx", "onnx", "fidelity")
    bad = Case("m", "evil <script>", "int4", "fidelity")
    wanted = [
        {"item": "tides", "logprob": [-1.0, -2.0]},
        {"item": "chat", "logprob": [-1.0], "greedy": [1, 2, 3], "ended": True},
    ]
    same = [
        {**wanted[0], "method": "logits", "kl": [0.0, 1e-9], "agree": [1, 1], "error": [0.0, 1e-5]},
        {**wanted[1], "method": "logits", "kl": [2e-9], "agree": [1], "error": [1e-5]},
    ]
    off = [
        {"item": "tides", "logprob": [-3.0, -2.0], "kl": [9.0, 7.0], "agree": [0, 1], "error": [3.0, 1.0]},
        {"item": "chat", "error": "=cmd() \x1b[31m<img>"},
    ]  # fmt: skip
    records = (record(reference, wanted), record(good, same), record(bad, off))
    facts = tuple(
        ArtifactFacts("m", name, form, precision, "w", 1, "0" * 64)
        for name, form, precision in (("hf", "hf", "f32"), ("onnx", "onnx", "f32"), ("int4", "x", "int4"))
    )  # fmt: skip
    trials = tuple(Trial(r.trial, r.case, 0) for r in records)
    info = replace(base.info, trials=trials, artifacts=facts, items={"fidelity": ITEMS}, budgets=())
    return replace(base, info=info, records=records)


def test_the_view_says_who_is_true_and_who_is_not(told: Run) -> None:
    found = fidelity_view.build(fidelity.of(told))
    assert found is not None
    rows = {row.backend: row for row in found.groups[0].rows}
    assert rows["onnx"].verdict == "true to the weights"
    assert rows["onnx"].kl == "1.0e-09"
    assert rows["onnx"].top1 == "100.00%"
    evil = rows["evil <script>"]
    assert evil.verdict == "fault" and evil.kl == "8"
    assert evil.perplexity.startswith("2.7183")
    assert any("weights stored in 4 bits explain 1 at most" in fault for fault in evil.faults)
    assert found.sentences[0] == ("onnx onnx (KL 1.0e-09)", "is true to the weights.", True)
    assert found.sentences[1][0] == "evil <script> int4" and not found.sentences[1][2]


def test_every_format_shows_it_and_escapes_it(told: Run) -> None:
    report = view.build(told)
    page = html.render(report)
    assert "true to the weights" in page and "evil <script>" not in page and "<img>" not in page
    text = markdown.render(report)
    assert "## Fidelity" in text and "<script>" not in text
    table = fidelity_text.csv(told)
    assert "kl_mean_nats" in table and "\x1b" not in table
    screen = Console(file=io.StringIO(), width=80, force_terminal=False)
    fidelity_text.show(screen, report.fidelity)
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, shown.splitlines())) <= 80
    assert "✗ fault" in shown and "\x1b" not in shown


def test_a_lower_bound_sorts_by_its_number(told: Run) -> None:
    def known_in_part(record: Record) -> Record:
        seen = tuple({**one, "method": "top-k"} for one in record.observations)
        return replace(record, observations=seen)

    page = html.render(
        view.build(replace(told, records=(told.records[0], *map(known_in_part, told.records[1:]))))
    )
    assert '<td class="number" data-value="8.0">≥ 8</td>' in page


def test_a_failed_reference_is_told(told: Run) -> None:
    broken = record(told.records[0].case, [], "failed")
    found = fidelity_view.build(fidelity.of(replace(told, records=(broken, *told.records[1:]))))
    assert found is not None
    assert found.groups[0].trouble == "the reference failed: <b>no</b>"
    assert all(row.verdict == "not judged" for row in found.groups[0].rows)
    assert found.sentences[0][0] == "Can't tell" and not found.sentences[0][2]


def test_a_reference_that_got_half_way_is_a_caution_and_what_it_has_is_judged(told: Run) -> None:
    half = replace(told.records[0], status="timeout", reason="killed after 300 s")
    found = fidelity_view.build(fidelity.of(replace(told, records=(half, *told.records[1:]))))
    assert found is not None
    assert found.sentences[0] == (
        "Caution:",
        "the reference is not complete, only what it has is judged: the reference timeout: killed "
        "after 300 s.",
        False,
    )
    assert found.sentences[1][0] == "onnx onnx (KL 1.0e-09)"


def test_a_run_without_it_shows_nothing(run: Run) -> None:
    assert fidelity_view.build(fidelity.of(run)) is None


def test_an_engine_that_shows_no_probabilities_is_not_called_true(told: Run) -> None:
    """Its best tokens find a gross fault; how far it is off they do not tell."""
    observed = [{"item": "tides", "method": "greedy", "agree": [1, 1], "logprob": []}]
    records = tuple(
        record(r.case, observed) if r.case.backend == "onnx" else r for r in told.records
    )
    found = fidelity_view.build(fidelity.of(replace(told, records=records)))
    assert found is not None
    (said,) = [one for one in found.sentences if "onnx" in "".join(map(str, one))]
    assert said[0] == "Can't tell" and not said[2]
    assert "it shows no probabilities" in said[1] and "100.00%" in said[1]


def test_an_engine_known_by_a_lower_bound_is_told_so_and_not_called_true(told: Run) -> None:
    def bounded(one: Record) -> Record:
        seen = [{**data, "method": "top-k"} for data in one.observations]
        return record(one.case, seen) if one.case.backend == "onnx" else one

    run = replace(told, records=tuple(map(bounded, told.records)))
    found = fidelity_view.build(fidelity.of(run))
    assert found is not None
    (row,) = [row for row in found.groups[0].rows if row.backend == "onnx"]
    assert (row.mark, row.verdict, row.kl) == ("≈", "as its bits allow", "≥ 1.0e-09")
    assert found.sentences[0] == (
        "onnx onnx (KL ≥ 1.0e-09)",
        "shows its best tokens only: no fault is seen, and how far off it is at most is not known.",
        False,
    )
    assert "onnx onnx" not in "".join(one[0] for one in found.sentences[1:])


def drawn(run: Run) -> list[list[Plot]]:
    found = fidelity_view.build(fidelity.of(run))
    assert found is not None
    backends = sorted({row.backend for group in found.groups for row in group.rows})
    return list(fidelity_lines.plots(found.groups, {b: n for n, b in enumerate(backends)}))


def test_the_spread_is_on_powers_of_ten_and_says_what_the_bits_allow(told: Run) -> None:
    ((spread,),) = drawn(told)
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", spread.svg)
    assert texts.index("onnx onnx ✓") < texts.index("evil &lt;script&gt; int4 ✗")
    assert {"1.0e-09", "8", "1e-9", "KL divergence, nats"} <= set(texts)
    limits = re.findall(r'<path d="([^"]*)"[^>]*class="stroke-ink"', spread.svg)
    places = [float(x) for path in limits for x in re.findall(r"M ([\d.]+)", path)]
    # 32 bits may cost 1e-4 nats, 4 bits 1: four of the scale's ten decades apart.
    assert len(places) == 2 and abs(places[1] - places[0] - 4 / 10 * (530 - 12)) < 1


def test_curves_rise_where_an_engine_drifts(told: Run) -> None:
    rising = [10.0 ** (n // 8 - 6) for n in range(40)]
    observed = [{"item": "tides", "method": "logits", "kl": rising, "agree": [1] * 40}]
    records = tuple(
        record(r.case, observed) if r.case.backend == "onnx" else r for r in told.records
    )
    ((_, curves),) = drawn(replace(told, records=records))
    assert "onnx onnx: 0–7 1.0e-06, 8–15 1.0e-05, 16–31 5.5e-04, 32–63 0.01" in curves.svg
    (line,) = re.findall(r'<path d="([^"]*)"[^>]*stroke-width="1.4"', curves.svg)
    heights = [float(y) for y in re.findall(r"[ML] [\d.]+ ([\d.]+)", line)]
    assert len(heights) == 4 and heights == sorted(heights, reverse=True)
    assert "1.0e-06 → 0.01 nats" in curves.svg


def test_without_probabilities_nothing_is_drawn(told: Run) -> None:
    observed = [{"item": "tides", "method": "greedy", "agree": [1, 1], "logprob": []}]
    records = (told.records[0], *(record(r.case, observed) for r in told.records[1:]))
    assert drawn(replace(told, records=records)) == [[]]
    assert html.render(view.build(replace(told, records=records)))


def test_an_arm_that_could_not_be_judged_is_told(told: Run) -> None:
    records = (told.records[0], *(record(r.case, [], "unsupported") for r in told.records[1:]))
    found = fidelity_view.build(fidelity.of(replace(told, records=records)))
    assert found is not None and [said[0] for said in found.sentences] == ["Can't tell"]
    assert "onnx onnx" in found.sentences[0][1] and "evil" in found.sentences[0][1]
