"""Two answers to one prompt: cut at the first differing token, with the margin and the verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reports import html, side_by_side, view
from results import fidelity
from results.records import ArtifactFacts, Case, Record, Trial
from results.store import Run

EVIL = "<script>alert(1)</script>\x1b[31m"
ITEMS = [
    {"name": "chat", "style": "chat", "messages": [{"role": "user", "content": f"Why? {EVIL}"}]}
]
WORDS = {1: "Because", 2: " the", 3: " sea", 4: " moon", 5: " pulls", 6: EVIL}


def record(name: str, measure: str, ids: list[int], **observed: Any) -> Record:
    case = Case("m", name, name, measure)
    found: dict[str, Any] = {
        "item": "chat", "method": "logits", "kl": [1e-9] * 9, "agree": [1] * 9,
        "error": [0.5] * 9, "logprob": [-1.0] * 8, "greedy": ids,
        "pieces": [WORDS[token] for token in ids], "ended": True, **observed,
    }  # fmt: skip
    return Record(f"t-{name}", case, 0, 1, "ok", "", 1.0, observations=(found,))


@pytest.fixture
def parted(run: Run) -> Run:
    records = (
        record("reference", "reference", [1, 2, 3, 5]),
        record("same", "fidelity", [1, 2, 3, 5]),
        record("tie", "fidelity", [1, 2, 4, 5], step=2, margin=0.25),
        record("broken", "fidelity", [1, 6, 3, 5], step=1, margin=7.0),
        record("short", "fidelity", [1, 2]),
    )
    facts = tuple(
        ArtifactFacts("m", r.case.artifact, "x", "f32", "w", 1, "0" * 64) for r in records
    )
    trials = tuple(Trial(r.trial, r.case, 0) for r in records)
    info = replace(run.info, trials=trials, artifacts=facts, items={"fidelity": ITEMS}, budgets=())
    return replace(run, info=info, records=records)


def pairs(run: Run) -> dict[str, side_by_side.Pair]:
    ((item,),) = side_by_side.build(run, fidelity.of(run))
    return {pair.name.split(" ")[0]: pair for pair in item.pairs}


def test_answers_are_cut_at_the_first_differing_token(parted: Run) -> None:
    found = pairs(parted)
    assert set(found) == {"tie", "broken", "short"}
    tie = found["tie"]
    assert (tie.token, tie.shared) == (3, "Because the")
    assert (tie.reference.first, tie.reference.rest) == (" sea", " pulls")
    assert (tie.engine.first, tie.engine.rest) == (" moon", " pulls")


def test_the_margin_is_held_against_the_usual_error_and_says_the_verdict(parted: Run) -> None:
    found = pairs(parted)
    assert (found["tie"].verdict, found["tie"].margin, found["tie"].usual) == (
        "near-tie", "0.25", "0.5",
    )  # fmt: skip
    assert (found["broken"].verdict, found["broken"].margin) == ("fault", "7")


def test_an_answer_that_ends_too_early_shows_where(parted: Run) -> None:
    short = pairs(parted)["short"]
    assert (short.verdict, short.token) == ("ends elsewhere", 3)
    assert short.engine.first == "(ends)" and short.reference.first == " sea"


def test_who_gave_the_reference_s_answer_is_named(parted: Run) -> None:
    ((item,),) = side_by_side.build(parted, fidelity.of(parted))
    assert item.same == ("same same",)


def test_a_run_that_kept_no_texts_shows_ids(parted: Run) -> None:
    bare = [
        replace(r, observations=({**r.observations[0], "pieces": ["one too few"]},))
        for r in parted.records
    ]
    tie = pairs(replace(parted, records=tuple(bare)))["tie"]
    assert (tie.shared, tie.engine.first) == ("⟨1⟩⟨2⟩", "⟨4⟩")


def test_the_page_shows_the_pair_and_nothing_of_it_runs(parted: Run) -> None:
    page = html.render(view.build(parted))
    assert "<mark> sea</mark> pulls" in page and "<mark> moon</mark> pulls" in page
    assert "the reference preferred its own token by 0.25 logits" in page
    assert page.count("<script") == 1 and "\x1b" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\x1b[31m" in page
