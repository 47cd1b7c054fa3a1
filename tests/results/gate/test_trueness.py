"""Answers: what the candidate lost is found, and what was not compared is never a pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from results.gate import verdict
from results.gate.description import Description, to_json
from results.gate.outcome import Outcome
from results.gate.rules import Rules
from results.records import ArtifactFacts, Case, Record, Trial
from results.store import Run

TEXTS = ({"name": "tides", "text": "x"}, {"name": "sums", "text": "y"})
TRUE = ({"item": "tides", "logprob": [-1.0], "kl": [0.0, 0.0], "agree": [1, 1], "error": [0.0, 0.0]},
        {"item": "sums", "logprob": [-2.0], "kl": [0.0, 0.0], "agree": [1, 1], "error": [0.0, 0.0]})  # fmt: skip
BROKEN = {"item": "sums", "error": "a NaN"}

TASKS = tuple(
    {"name": f"t{n}", "kind": "sum", "messages": [{"role": "user", "content": "0 + 1?"}],
     "check": {"how": "number", "answer": 1}}
    for n in range(8)
)  # fmt: skip
GREEDY = {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0,
          "seed": 0}  # fmt: skip


def _answers(text: str | None) -> list[dict[str, Any]]:
    told: dict[str, Any] = {"ids": [1], "text": text, "ended": True}
    if text is None:
        told = {"error": "out of memory"}
    return [{"item": t["name"], "setting": 0, "seed": 0, "run": 0, **told} for t in TASKS]


@pytest.fixture
def gated(make: Any) -> Any:
    """A gate of one case in one measure: what each arm observed."""

    def build(
        measure: str,
        base: Sequence[Mapping[str, Any]],
        candidate: Sequence[Mapping[str, Any]],
    ) -> Outcome:
        settings: dict[str, Any] = (
            {"settings": [GREEDY], "seeds": 1} if measure == "quality" else {}
        )
        arms = [
            Case("m", "a", "f32", measure, settings, arm=role) for role in ("base", "candidate")
        ]
        records = tuple(
            Record(c.key, c, 0, 0, "ok", "", 1.0, observations=tuple(seen))
            for c, seen in zip(arms, (base, candidate), strict=True)
        )
        run: Run = make.run(list(records))
        told = to_json(
            Description(((arms[0], arms[1]),), Rules(exact=()), {"base": "", "candidate": ""})
        )
        info = replace(
            run.info,
            plan={"gate": told},
            trials=tuple(Trial(r.trial, r.case, 0) for r in records),
            items={"fidelity": TEXTS, "quality": TASKS},
            artifacts=(ArtifactFacts("m", "f32", "hf", "f32", "w", 1, "0" * 64),),
        )
        found = verdict.of(replace(run, info=info, records=records))
        assert found is not None
        return found

    return build


def test_the_same_distributions_are_green(gated: Any) -> None:
    found = gated("fidelity", TRUE, TRUE)
    assert found.colour == "green"
    assert found.sentence == "no regression: 1 comparison of answers, not worse"


def test_a_text_that_the_candidate_alone_fails_on_is_red(gated: Any) -> None:
    found = gated("fidelity", TRUE, (TRUE[0], BROKEN))
    assert (found.colour, found.findings[0].kind) == ("red", "fidelity")
    assert "it fails on 1 of 2 texts: sums: a NaN" in found.sentence


def test_a_text_that_both_fail_on_is_not_held_against_the_candidate(gated: Any) -> None:
    assert gated("fidelity", (TRUE[0], BROKEN), (TRUE[0], BROKEN)).colour == "green"


def test_no_common_text_is_incomparable(gated: Any) -> None:
    found = gated("fidelity", TRUE[:1], TRUE[1:])
    assert (found.colour, found.passed) == ("incomparable", False)
    assert "no position of the fidelity texts could be compared" in found.sentence


def test_a_candidate_that_answers_nothing_is_red(gated: Any) -> None:
    assert gated("quality", _answers("1"), _answers("1")).colour == "green"
    found = gated("quality", _answers("1"), _answers(None))
    assert (found.colour, found.findings[0].kind) == ("red", "quality")
    assert "answers none of the tasks, greedy: out of memory" in found.sentence


def test_worse_answers_are_red(gated: Any) -> None:
    found = gated("quality", _answers("1"), _answers("no"))
    assert "100% right became 0% of 8 tasks" in found.sentence


def test_a_gate_that_compared_nothing_is_not_green(gated: Any) -> None:
    found = gated("templates", (), ())
    assert (found.colour, found.passed) == ("incomparable", False)
    assert found.sentence.startswith("nothing was compared")
