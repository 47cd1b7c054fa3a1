"""Whole runs with a known truth: what stands at the top of each report is true, and no more."""

from __future__ import annotations

import io
import random
import re
from csv import DictReader as reader
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from reports import csv, html, markdown, terminal, view
from results.records import ArtifactFacts, Case, Record, RunInfo, Sample, Trial
from results.store import Run

PARAMETERS = {"prompt_tokens": 8, "output_tokens": 16, "context": 64, "threads": 1}
FIDELITY_ITEMS = [{"name": "tides", "style": "science", "text": "x"}]


def make(
    speeds: dict[str, float],
    *,
    noise: float = 0.01,
    trials: int = 5,
    lengths: tuple[int, ...] = (8,),
    failing: tuple[str, ...] = (),
    crashes: dict[str, int] | None = None,
    context: dict[str, int] | None = None,
    kl: dict[str, float] | None = None,
    seed: int = 0,
) -> Run:
    """Engines of these decode speeds (tok/s) on the same weights, each trial off by `noise`.

    `failing` never end well, `crashes` lose that many trials, `context` sets another one, and `kl`
    adds the measure `fidelity`."""
    draw = random.Random(seed)
    records, planned = [], []
    for name, speed in speeds.items():
        for length in lengths:
            told = {**PARAMETERS, "prompt_tokens": length}
            told["context"] = (context or {}).get(name, told["context"])
            case = Case("m", name, "f32", "generate", told)
            for number in range(trials):
                one = Trial(f"{name}-{length}-{number}", case, number)
                planned.append(one)
                lost = name in failing or number < (crashes or {}).get(name, 0)
                pace = speed * draw.lognormvariate(0, noise)
                records.append(_record(one, pace, draw, lost))
    for name, far in (kl or {}).items():
        reference = name == "reference"
        case = Case("m", name, "f32", "reference" if reference else "fidelity")
        planned.append(Trial(f"{name}-kl", case, 0))
        seen = {
            "item": "tides", "method": "logits", "kl": [far] * 4, "agree": [1] * 4,
            "error": [1e-5] * 4, "logprob": [-1.0] * 3,
        }  # fmt: skip
        records.append(Record(f"{name}-kl", case, 0, 1, "ok", "", 1.0, observations=(seen,)))
    info = RunInfo(
        "r", "0", "2026", ("run",), "truth", "", "", "", 0, {}, tuple(planned),
        (ArtifactFacts("m", "f32", "x", "f32", "w", 1, "0" * 64),), (), {}, "host", {}, {},
        items={"fidelity": FIDELITY_ITEMS},
    )  # fmt: skip
    return Run(Path(), info, tuple(records), ())


def _record(one: Trial, pace: float, draw: random.Random, lost: bool) -> Record:
    told: Any = one.case.parameters
    prompt = told["prompt_tokens"] / 100 * draw.lognormvariate(0, 0.3)
    first = int(1e9 * (1 + prompt))
    stamps = [first + int(n * 1e9 / pace) for n in range(told["output_tokens"])]
    sample = Sample(
        0, False, f"p{told['prompt_tokens']}", told["prompt_tokens"], 10**9, tuple(stamps),
        tuple(range(len(stamps))), stamps[-1] + 1,
    )  # fmt: skip
    record = Record(one.id, one.case, one.repetition, 1, "ok", "", 3.0, samples=(sample,))
    if not lost:
        return record
    return replace(record, status="crashed", reason="it fell over", remedy="catch it", samples=())


def fastest(run: Run) -> tuple[Any, ...]:
    return next(h for h in view.build(run).headlines if h.question == "Fastest").statements


def formats(run: Run) -> dict[str, str]:
    """Each format as one line of plain text."""
    report = view.build(run)
    screen = Console(file=io.StringIO(), width=80, force_terminal=False)
    terminal.show(run, screen)
    page = re.sub(r"<[^>]*>", "", html.render(report)).replace("&#39;", "'")
    told = {
        "html": page, "md": markdown.render(report).replace("**", ""),
        "terminal": screen.file.getvalue(),  # type: ignore[attr-defined]
    }  # fmt: skip
    unescaped = {k: re.sub(r"&#(\d+);", lambda m: chr(int(m[1])), v) for k, v in told.items()}
    return {name: " ".join(text.split()) for name, text in unescaped.items()}


def test_a_lead_of_20_percent_is_told_with_its_interval_in_every_format() -> None:
    run = make({"a": 120, "b": 100})
    (said,) = fastest(run)
    assert said.told and said.lead == "a" and said.against == ()
    found = re.search(r"(1\.\d+)× \[(1\.\d+), (1\.\d+)\] that of the next, b", said.text)
    assert found and float(found[2]) < 1.2 < float(found[3])
    for name, text in formats(run).items():
        assert said.full in text, name


def test_a_tie_names_nobody() -> None:
    run = make({"a": 100, "b": 100})
    (said,) = fastest(run)
    assert not said.told and said.lead == "Can't tell"
    for name, text in formats(run).items():
        assert "Can't tell which has the highest decode speed: " in text, name
        assert not re.search(r"\b[ab] has the highest decode speed", text), name


def test_of_many_ties_at_most_one_in_twenty_names_a_winner() -> None:
    told = [fastest(make({"a": 100, "b": 100, "c": 100}, seed=n))[0].told for n in range(60)]
    assert sum(told) <= 3


def test_too_noisy_to_tell_is_said_to_be() -> None:
    (said,) = fastest(make({"a": 120, "b": 100}, noise=0.5))
    assert not said.told


def test_what_is_not_comparable_is_not_ranked() -> None:
    """Another context is other work: the task itself is another one."""
    run = make({"a": 120, "b": 100}, context={"b": 128})
    for said in fastest(run):
        assert "has the highest" not in said.text
        assert "nothing to compare with" in said.text


def test_one_that_crashed_is_left_out_and_half_crashed_is_told() -> None:
    run = make({"a": 120, "b": 100, "c": 200}, failing=("c",), crashes={"a": 2})
    (said,) = fastest(run)
    assert said.lead == "a" and said.against == ("2 of 5 trials crashed",)
    assert said.text.endswith("Not ranked: c (crashed).")
    for name, text in formats(run).items():
        assert "it fell over" in text and "catch it" in text, name


def test_faster_but_broken_is_not_the_fastest_and_looks_broken() -> None:
    """Its distributions are 3 nats off: f32 weights explain 0.0001 at most."""
    run = make({"a": 120, "b": 100, "c": 90}, kl={"reference": 0, "a": 3.0, "b": 1e-9, "c": 0})
    (said,) = fastest(run)
    assert said.told and said.lead == "b"
    assert said.text.endswith("Not ranked: a (fault in fidelity).")
    for name, text in formats(run).items():
        assert "a has the highest" not in text, name
        assert "a f32 is at fault" in text, name
        assert "✗ fault in fidelity" in text, name


def test_faster_but_broken_is_never_the_base_and_has_no_ratio() -> None:
    run = make({"a": 120, "b": 100, "c": 90}, kl={"reference": 0, "a": 3.0, "b": 1e-9, "c": 0})
    report = view.build(run)
    (compared,) = report.comparisons
    assert compared.base == "b f32"
    rows = {row.name: row for row in compared.rows}
    assert {cell.value for cell in rows["a f32"].cells} == {"refused"}
    assert (rows["a f32"].grade, rows["a f32"].blamed) == ("refused", ("answers",))
    assert rows["c f32"].cells[0].verdict == "worse"
    lies = {row.backend: [name for name, _ in row.lies] for row in report.tables[0].rows}
    assert lies == {"a": ["fault in fidelity"], "b": [], "c": []}
    cases = list(reader(csv.cases(run, report).splitlines()))
    assert {row["failed_checks"] for row in cases if row["backend"] == "a"} == {"fault in fidelity"}
    assert {row["failed_checks"] for row in cases if row["backend"] != "a"} == {""}
    ratios = [r for r in reader(csv.comparisons(run, report).splitlines()) if r["backend"] == "a"]
    assert {(row["ratio"], row["verdict"]) for row in ratios} == {("", "incomparable")}
    assert all(row["answers"].startswith("differs: a f32 is at fault in") for row in ratios)


def test_faster_with_worse_answers_is_told_with_what_it_costs() -> None:
    """a is 20 % faster and gets none of 20 sums right, b gets all of them."""
    run = make({"a": 120, "b": 100})
    told = {"tasks": "standard", "output_tokens": 8, "seeds": 1, "settings": [{"temperature": 0.0}]}
    items = [
        {"name": f"q{n}", "kind": "sum", "messages": [{"role": "user", "content": "?"}],
         "check": {"how": "number", "answer": n}}
        for n in range(20)
    ]  # fmt: skip
    trials, records = [], []
    for name, off in (("a", 1), ("b", 0)):
        case = Case("m", name, "f32", "quality", told)
        seen = tuple(
            {"item": f"q{n}", "setting": 0, "seed": 0, "run": 0, "ids": [n + off],
             "text": f"It is {n + off}", "ended": True}
            for n in range(20)
        )  # fmt: skip
        trials.append(Trial(f"{name}-quality", case, 0))
        records.append(Record(trials[-1].id, case, 0, 1, "ok", "", 1.0, observations=seen))
    info = replace(run.info, trials=(*run.info.trials, *trials), items={"quality": items})
    run = replace(run, info=info, records=(*run.records, *records))
    (said,) = fastest(run)
    assert said.told and said.lead == "a"
    assert said.against == ("100.0 points fewer right answers than b f32 (greedy)",)
    for name, text in formats(run).items():
        assert "But: 100.0 points fewer right answers" in text, name


def test_only_failures_rank_nobody() -> None:
    run = make({"a": 120, "b": 100}, failing=("a", "b"))
    (said,) = fastest(run)
    assert not said.told
    assert said.text.endswith(
        "no case gave a value that counts. Not ranked: a (crashed) and b (crashed)."
    )
    assert all("it fell over" in text for text in formats(run).values())


def test_one_case_only_has_nothing_to_win() -> None:
    run = make({"a": 120})
    (said,) = fastest(run)
    assert "nothing to compare with" in said.text
    assert not any("highest" in text for text in formats(run).values())


def test_forty_cases_fit_in_one_sentence_per_question() -> None:
    speeds = {f"engine-{n}": 100.0 + 40 * (n == 3) for n in range(10)}
    run = make(speeds, lengths=(8, 16, 32, 64))
    (said,) = fastest(run)
    assert said.task == "all 4 tasks" and said.lead == "engine-3"
    assert re.search(r"1\.\d+× \[1\.\d+, 1\.\d+\] to 1\.\d+× \[1\.\d+, 1\.\d+\]", said.text)
    assert max(len(s.full) for h in view.build(run).headlines for s in h.statements) < 400


def test_single_trials_are_said_to_be_the_reason_for_all_tasks() -> None:
    (said,) = fastest(make({"a": 120, "b": 100}, trials=1, lengths=(8, 16)))
    assert not said.told and said.task == "both tasks"
    assert "a single trial gives no interval" in said.text


def test_the_arms_of_a_gate_are_not_ranked() -> None:
    run = make({"a": 120, "b": 100})
    gate = replace(run, info=replace(run.info, plan={"gate": {}}))
    assert [h.question for h in view.build(gate).headlines] == ["Truest"]


def test_truth_is_asked_for_where_nobody_looked() -> None:
    last = view.build(make({"a": 120, "b": 100})).headlines[-1]
    assert last.question == "Truest" and not last.statements[0].told


@pytest.mark.parametrize("kl", [1e-9, 3.0])
def test_the_truest_is_named_with_how_far_it_is(kl: float) -> None:
    run = make({"a": 120, "b": 100}, kl={"reference": 0, "a": kl, "b": 0})
    said = view.build(run).headlines[-1].statements
    assert (len(said) == 1) is (kl < 1)
    assert said[0].lead == ("b f32 (KL 0), a f32 (KL 1.0e-09)" if kl < 1 else "b f32 (KL 0)")


def test_the_command_can_be_typed_as_it_stands() -> None:
    run = make({"a": 120})
    typed = replace(run, info=replace(run.info, command=("run", "my scenario.yaml")))
    assert view.build(typed).command == "bakeoff run 'my scenario.yaml'"
