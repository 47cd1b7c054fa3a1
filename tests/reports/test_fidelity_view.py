"""Fidelity in every format: numbers, verdicts, and an engine's text made safe."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from reports import fidelity_text, fidelity_view, html, markdown, view
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
    found = fidelity_view.build(told)
    assert found is not None
    rows = {row.backend: row for row in found.groups[0].rows}
    assert rows["onnx"].verdict == "true to the weights"
    assert rows["onnx"].kl == "1.0e-09"
    assert rows["onnx"].top1 == "100.00%"
    evil = rows["evil <script>"]
    assert evil.verdict == "fault" and evil.kl == "8"
    assert evil.perplexity.startswith("2.7183")
    assert any("weights stored in 4 bits explain 1 at most" in fault for fault in evil.faults)
    assert any("True to the weights: onnx onnx" in sentence for sentence in found.sentences)


def test_every_format_shows_it_and_escapes_it(told: Run) -> None:
    report = view.build(told)
    page = html.render(report)
    assert "true to the weights" in page and "<script>" not in page and "<img>" not in page
    text = markdown.render(report)
    assert "## Fidelity" in text and "<script>" not in text
    table = fidelity_text.csv(told)
    assert "kl_mean_nats" in table and "\x1b" not in table
    screen = Console(file=io.StringIO(), width=80, force_terminal=False)
    fidelity_text.show(screen, report.fidelity)
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, shown.splitlines())) <= 80
    assert "✗ fault" in shown and "\x1b" not in shown


def test_a_failed_reference_is_told(told: Run) -> None:
    broken = record(told.records[0].case, [], "failed")
    found = fidelity_view.build(replace(told, records=(broken, *told.records[1:])))
    assert found is not None
    assert found.groups[0].trouble == "the reference failed: <b>no</b>"
    assert all(row.verdict == "not judged" for row in found.groups[0].rows)


def test_a_run_without_it_shows_nothing(run: Run) -> None:
    assert fidelity_view.build(run) is None
