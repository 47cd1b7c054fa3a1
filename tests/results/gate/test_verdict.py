"""From records to an outcome: which blocks count, when it judges, and which finding speaks first."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from results.gate import verdict
from results.gate.conclusion import Held, timings
from results.gate.description import Description, describe, to_json
from results.gate.outcome import Outcome
from results.gate.rules import Looks, Rules
from results.records import Budget, Record
from results.store import Run

RULES = Rules(metrics=("decode_tok_s",), looks=Looks((6, 10, 20)), redo=2)


@pytest.fixture
def gated(make: Any) -> Callable[..., Run]:
    """`gated(blocks, slower=…)`: a gate of one task; `planned` blocks more have not run."""

    def build(
        blocks: int,
        *,
        slower: float = 1.0,
        slow_blocks: Sequence[int] = (),
        foreign: Sequence[int] = (),
        planned: int = 0,
        rules: Rules = RULES,
        change: Callable[[Record], Record] = lambda record: record,
        seed: int = 1,
    ) -> Run:
        noise = random.Random(seed)
        base, candidate = (replace(make.case(), arm=arm) for arm in ("base", "candidate"))

        def trial(case: Any, block: int) -> Record:
            gap = 20 * noise.gauss(1, 0.005) * (slower if case.arm == "candidate" else 1)
            if case.arm == "candidate" and block in slow_blocks:
                gap *= 2
            conditions = make.conditions(foreign_s=5.0 if block in foreign else 0.0)
            sample = make.sample(gaps_ms=(gap, gap, gap))
            return change(make.record(case, block, samples=(sample,), conditions=conditions))

        every = [trial(case, b) for b in range(blocks + planned) for case in (base, candidate)]
        run = make.run(every[: 2 * blocks], planned=every[2 * blocks :], facts=[make.facts()])
        told = to_json(
            Description(((base, candidate),), rules, {"base": "", "candidate": "options.x=1"})
        )
        return replace(run, info=replace(run.info, plan={"gate": told}))

    return build


def _of(run: Run) -> Outcome:
    found = verdict.of(run)
    assert found is not None
    return found


def test_a_run_without_arms_is_no_gate(make: Any) -> None:
    assert verdict.of(make.run([make.record(make.case())])) is None


def test_the_description_reads_back(gated: Any) -> None:
    gate = describe(gated(1).info)
    assert gate is not None
    assert gate.rules == RULES
    assert [b.arm for b, _ in gate.pairs] == ["base"]


def test_slower_is_red_and_the_same_is_green(gated: Any) -> None:
    red = _of(gated(10, slower=1.12))
    assert (red.colour, red.passed, red.findings[0].kind) == ("red", False, "regressed")
    assert red.sentence.startswith(
        "the candidate is worse: decode speed of a a-f32, generate 10→3 fell"
    )
    judged = red.rows[0].judged
    assert judged is not None and judged.low is not None and judged.high is not None
    assert judged.low < judged.ratio < judged.high < 0.95
    green = _of(gated(10))
    assert (green.colour, green.passed) == ("green", True)
    assert green.sentence.startswith("no regression: 1 metric within its limits after 10 blocks")


def test_faster_is_no_regression(gated: Any) -> None:
    assert _of(gated(10, slower=0.8)).colour == "green"


def test_nothing_is_judged_between_looks_while_the_gate_goes_on(gated: Any) -> None:
    """Ten blocks would call it; eleven of a gate that goes on rest on the look at ten."""
    early = _of(gated(8, slower=1.12, planned=12))
    assert early.rows[0].judged is not None  # the look at six
    assert early.rows[0].judged.blocks == 6
    assert early.colour == "yellow"
    before = _of(gated(4, slower=1.12, planned=16))
    assert before.rows[0].judged is None
    assert before.colour == "yellow"
    assert "not timed to an end: 4 blocks" in before.sentence
    assert not verdict.settled(before, RULES)


def test_a_gate_that_ended_between_looks_is_judged_there(gated: Any) -> None:
    ended = _of(gated(12, slower=1.12, rules=replace(RULES, looks=Looks((6, 20)))))
    assert ended.rows[0].judged is not None
    assert ended.rows[0].judged.blocks == 12
    assert ended.colour == "red"


def test_six_blocks_never_call_a_regression(gated: Any) -> None:
    assert _of(gated(6, slower=2.0)).colour == "yellow"


def test_a_pass_at_an_earlier_look_stays(gated: Any) -> None:
    """After the look at six passed, four noisy blocks do not take it back."""
    run = gated(10, slow_blocks=(6, 7, 8, 9))
    found = _of(run).rows[0].judged
    assert found is not None and found.verdict == "pass"
    alone = _of(gated(10, slow_blocks=(6, 7, 8, 9), rules=replace(RULES, looks=Looks((10, 20)))))
    assert alone.rows[0].judged is not None
    assert alone.rows[0].judged.verdict != "pass"


def test_disturbed_blocks_are_set_aside_up_to_the_limit(gated: Any) -> None:
    found = _of(gated(12, foreign=(0, 3)))
    assert (found.blocks, found.set_aside) == (10, 2)
    more = _of(gated(12, foreign=(0, 3, 5)))
    assert (more.blocks, more.set_aside) == (10, 2)  # the third one counts


def test_setting_aside_does_not_look_at_timings(gated: Any) -> None:
    run = gated(12, foreign=(0, 3), slow_blocks=(1, 2))
    found = _of(run)
    assert (found.blocks, found.set_aside) == (10, 2)
    assert found.rows[0].everyone is not None and found.rows[0].everyone < 0.95


def test_a_slow_mode_is_told_by_the_mean_of_all_processes(gated: Any) -> None:
    found = _of(gated(20, slow_blocks=range(0, 20, 3), rules=replace(RULES, redo=0)))
    judged = found.rows[0].judged
    assert judged is not None and judged.slow_mode
    assert found.colour == "red"
    assert "fell by 21" in found.sentence
    assert "in the mean of all processes, the faster ones fell by 0." in found.sentence


def _crash(record: Record) -> Record:
    if record.case.arm == "candidate" and record.repetition == 2:
        return replace(record, status="crashed", reason="ended by SIGSEGV", samples=())
    return record


def test_a_crash_is_red_before_any_timing(gated: Any) -> None:
    found = _of(gated(10, slower=1.12, change=_crash))
    assert next(f.kind for f in found.findings) == "crashed"
    assert found.sentence.startswith(
        "the candidate crashed in a a-f32, generate 10→3: ended by SIGSEGV"
    )
    assert verdict.settled(found, RULES)


def test_a_base_that_crashes_is_incomparable(gated: Any) -> None:
    def crash(record: Record) -> Record:
        if record.case.arm == "base" and record.repetition == 2:
            return replace(record, status="crashed", reason="ended by SIGSEGV", samples=())
        return record

    found = _of(gated(10, change=crash))
    assert (found.colour, found.passed) == ("incomparable", False)


def test_other_work_is_incomparable_whatever_the_timings_say(gated: Any) -> None:
    def other(record: Record) -> Record:
        if record.case.arm == "candidate":
            changed = tuple(replace(s, prompt="q") for s in record.samples)
            return replace(record, samples=changed)
        return record

    found = _of(gated(10, change=other))
    assert (found.colour, found.passed) == ("incomparable", False)
    assert "different prompts" in found.sentence
    (row,) = found.rows
    assert row.refused and row.why == "not the same: prompt_ids"
    assert not _of(gated(10)).rows[0].refused


@pytest.mark.parametrize(("slower", "colour"), [(1.12, "red"), (1.0, "incomparable")])
def test_a_sentence_holds_no_number_of_a_ratio_that_is_refused(
    gated: Any, slower: float, colour: str
) -> None:
    def other(record: Record) -> Record:
        changed = tuple(replace(s, prompt=record.case.arm) for s in record.samples)
        return replace(record, samples=changed)

    found = _of(gated(10, slower=slower, change=other))
    assert found.colour == colour
    assert not any("fell by" in f.sentence or "rose by" in f.sentence for f in found.findings)
    if colour == "red":
        assert found.sentence == (
            "the candidate is worse: decode speed of a a-f32, generate 10→3 "
            "(no ratio: the arms can't be compared)"
        )


def test_what_can_t_be_told_is_said_by_a_metric_that_may_have_a_ratio(gated: Any) -> None:
    """Of one that is refused there is no change to tell, however large."""
    (row,) = _of(gated(6, slower=1.03)).rows
    assert row.judged is not None
    open_ = replace(row, judged=replace(row.judged, verdict="inconclusive"))
    far = replace(open_, task="other", refused=True, judged=replace(open_.judged, ratio=0.1))
    (said,) = timings(Held(rows=(far, open_), blocks=6))
    assert f"the largest change for the worse: decode speed of {row.task} fell" in said.sentence
    (alone,) = timings(Held(rows=(replace(far, judged=open_.judged),), blocks=6))
    assert "no ratio" in alone.sentence and "fell" not in alone.sentence


def test_base_and_candidate_are_means_of_the_processes_that_the_ratio_compares(gated: Any) -> None:
    (row,) = _of(gated(10, slower=1.12)).rows
    assert row.base is not None and row.candidate is not None and row.judged is not None
    assert (row.base.n, row.candidate.n) == (6, 6)
    assert row.candidate.value / row.base.value == pytest.approx(row.judged.ratio, rel=1e-5)


def test_budgets_are_of_the_candidate_and_wait_for_a_look(gated: Any) -> None:
    rules = replace(RULES, budgets=(Budget("decode_tok_s", min=49.0),))
    found = _of(gated(10, rules=rules, slower=1.05))
    assert next(f.kind for f in found.findings if f.colour == "red") == "budget"
    assert "below its budget of 49 tok/s" in found.sentence
    early = _of(gated(2, rules=rules, slower=1.05, planned=18))
    assert [f.kind for f in early.findings] == ["inconclusive"]


def test_yellow_fails_where_the_policy_says_so(gated: Any) -> None:
    assert _of(gated(4)).passed
    assert not _of(gated(4, rules=replace(RULES, yellow="fail"))).passed


def test_a_look_ends_it_only_where_everything_is_clear(gated: Any) -> None:
    assert verdict.settled(_of(gated(6, planned=14)), RULES)
    assert not verdict.settled(_of(gated(6, slower=1.048, planned=14)), RULES)
    assert verdict.settled(_of(gated(10, slower=1.12, planned=10)), RULES)


def test_the_arms_are_named(gated: Any) -> None:
    arms = _of(gated(6)).arms
    assert [(a.role, a.overlay) for a in arms] == [
        ("base", "as the scenario says"), ("candidate", "options.x=1"),
    ]  # fmt: skip


def test_a_metric_that_this_machine_cannot_measure_is_left_out(gated: Any, make: Any) -> None:
    rules = replace(RULES, metrics=("decode_tok_s", "peak_pss_bytes"))
    found = _of(gated(10, rules=rules))
    assert found.colour == "green"
    assert [row.metric.name for row in found.rows] == ["decode_tok_s"]


def test_a_metric_that_one_arm_has_cannot_be_judged(gated: Any, make: Any) -> None:
    def lonely(record: Record) -> Record:
        return replace(record, memory=make.memory()) if record.case.arm == "candidate" else record

    found = _of(gated(10, rules=replace(RULES, metrics=("peak_pss_bytes",)), change=lonely))
    assert found.colour == "yellow"
    assert "can't be compared: the candidate alone has it" in found.sentence


def test_what_to_do_when_it_did_not_end(gated: Any) -> None:
    """--resume where trials are left; after a limit nothing is left to go on with."""
    assert _of(gated(4, planned=16)).findings[0].remedy == "go on: bakeoff gate --resume RUN"
    ended = _of(gated(0, rules=replace(RULES, time_limit_s=1.0)))
    assert str(ended.findings[0].remedy).startswith("raise `time_limit_s` in the policy")


def test_no_change_for_the_worse_is_not_called_one(gated: Any) -> None:
    better = _of(gated(10, slower=0.9))
    assert "none looks worse" in better.sentence and "change for the worse" not in better.sentence
