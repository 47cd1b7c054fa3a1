"""Runs with a known truth: the sentences say it, and never more."""

from dataclasses import replace

import pytest

from reports import sentences
from results.records import Case, Check, Record
from results.statistics import estimate
from results.summary import CaseSummary, Counts, Evidence, Failure, Group


def _case(
    backend, values, *, metric="decode_tok_s", ok=None, planned=3, artifact="", lie="", **evidence
):
    failed = planned - (len(values) if ok is None else ok)
    case = Case("m", backend, artifact or f"{backend}-f32", "generate", {})
    if lie:
        audit = Record(
            "a",
            replace(case, measure="audit"),
            0,
            1,
            "ok",
            "",
            1.0,
            checks=(Check(lie, False, "it lied"),),
        )
        evidence["audits"] = (audit,)
    return CaseSummary(
        case=case,
        facts=None,
        counts=Counts(planned=planned, ok=planned - failed, crashed=failed),
        values={metric: tuple(values)} if values else {},
        estimates={metric: estimate(values)} if values else {},
        budgets=(),
        failure=Failure("t", "crashed", "r", None, None, None, "") if failed else None,
        engines=(),
        evidence=Evidence(**evidence),
    )


def _say(*cases):
    found = list(sentences.headlines("Task", Group("w", "f32", cases)))
    return found[0].statements[0] if found else None


def test_a_clear_winner_is_named_with_both_values():
    said = _say(_case("slow", [20, 20.1, 19.9]), _case("fast", [30, 30.1, 29.9]))
    assert said.told
    assert said.text == (
        "fast has the highest decode speed: 30.0 tok/s [29.8, 30.2]; "
        "next is slow with 20.0 tok/s [19.8, 20.2]."
    )


def test_for_a_time_the_lowest_wins():
    cases = [_case(n, [v, v + 0.1, v + 0.2], metric="ttft_ms") for n, v in (("a", 50), ("b", 20))]
    (headline,) = sentences.headlines("Task", Group("w", "f32", tuple(cases)))
    assert headline.statements[1].text.startswith("b has the lowest time to first token: 20.1 ms")


def test_overlapping_intervals_are_a_tie():
    said = _say(_case("a", [30, 31, 32]), _case("b", [30, 31.5, 32.5]))
    assert not said.told
    assert said.text.startswith(
        "Can't tell which has the highest decode speed: the intervals of b "
    )
    assert said.text.endswith("overlap.")
    assert " has the highest decode speed: 3" not in said.text


def test_a_wide_interval_further_down_also_makes_it_a_tie():
    said = _say(
        _case("first", [30, 30.1, 29.9]),
        _case("second", [25, 25.1, 24.9]),
        _case("wild", [5, 20, 40]),
    )
    assert not said.told and "first" in said.text and "wild" in said.text
    assert "second" not in said.text


def test_one_trial_each_is_never_enough():
    said = _say(_case("a", [10], planned=1), _case("b", [100], planned=1))
    assert not said.told and "single trial gives no interval" in said.text


def test_a_crashed_case_is_not_ranked_and_named():
    said = _say(_case("a", [30, 30.1, 29.9]), _case("b", [20, 20.1, 19.9]), _case("c", []))
    assert said.told and said.text.endswith(" Not ranked: c (crashed).")


def test_the_last_one_standing_has_not_won():
    said = _say(_case("a", [30, 30.1, 29.9]), _case("b", []))
    assert not said.told and "only a gave a value that counts" in said.text
    assert _say(_case("a", []), _case("b", [])).text.startswith(
        "Can't tell which has the highest decode speed: no case gave a value that counts."
    )


def test_a_winner_that_lost_trials_says_so():
    said = _say(_case("a", [30, 30.01], planned=5), _case("b", [20, 20.1, 19.9]))
    assert said.told and " 3 of 5 trials of a gave no value." in said.text


def test_a_runner_up_that_lost_trials_is_said_too_and_in_a_tie_as_well():
    said = _say(_case("a", [30, 30.01, 30]), _case("b", [20, 20.1], planned=4))
    assert said.told and said.text.endswith(" 2 of 4 trials of b gave no value.")
    tie = _say(_case("a", [30, 31, 32]), _case("b", [30, 31.5], planned=4))
    assert not tie.told and tie.text.endswith(" 2 of 4 trials of b gave no value.")


def test_a_case_that_failed_its_audit_is_never_the_winner_and_the_check_is_named():
    liar = _case("liar", [90, 90.1, 89.9], lie="forced_length")
    said = _say(liar, _case("a", [30, 30.1, 29.9]), _case("b", [20, 20.1, 19.9]))
    assert said.told and said.text.startswith("a has the highest decode speed")
    assert said.text.endswith(" Not ranked: liar (failed its audit: forced_length).")
    alone = _say(liar, _case("a", [30, 30.1, 29.9]))
    assert not alone.told and "only a gave a value that counts" in alone.text
    assert "90" not in alone.text


def test_a_winner_whose_work_differed_is_not_named():
    cases = [
        _case("a", [30, 30.1, 29.9], fingerprint="x"),
        _case("b", [20, 20.1, 19.9], fingerprint="y"),
    ]
    said = _say(*cases)
    assert not said.told
    assert said.text == (
        "Can't tell which has the highest decode speed: a and b are not comparable, "
        "other machines: x and y."
    )


def test_a_lead_under_other_conditions_keeps_its_caveat():
    slow = _case("b", [20, 20.1, 19.9])
    slow = replace(slow, case=replace(slow.case, settings={"device": "cuda:0"}))
    said = _say(_case("a", [30, 30.1, 29.9]), slow)
    assert said.told and said.text.endswith(" Caveat: other devices: cpu and cuda:0.")


def test_nothing_is_said_about_one_case_or_unknown_weights():
    assert _say(_case("a", [30, 31, 32])) is None
    unknown = Group(None, None, (_case("a", [1, 2]), _case("b", [3, 4])))
    assert list(sentences.headlines("Task", unknown)) == []


def test_two_artifacts_of_one_engine_keep_their_names():
    said = _say(
        _case("a", [30, 30.1, 29.9], artifact="x"), _case("a", [20, 20.1, 19.9], artifact="y")
    )
    assert said.text.startswith("a x has") and "next is a y with" in said.text


@pytest.mark.parametrize("reused", [True, False])
def test_a_reused_prefix_is_asked_about_under_its_own_name(reused):
    cases = tuple(
        replace(c, case=replace(c.case, parameters={"reuse_prefix": reused}))
        for c in (_case("a", [1, 2]), _case("b", [1, 2]))
    )
    (headline,) = sentences.headlines("Task", Group("w", "f32", cases))
    assert ("reused prefix" in headline.statements[1].text) is reused
    assert len(headline.statements) == 2
