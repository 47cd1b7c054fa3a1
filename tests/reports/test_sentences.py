"""Runs with a known truth: the sentences say it, and never more."""

from dataclasses import replace

import pytest

from reports import sentences
from results.records import Case
from results.statistics import estimate
from results.summary import CaseSummary, Counts, Failure, Group


def _case(backend, values, *, metric="decode_tok_s", ok=None, planned=3, artifact=""):
    failed = planned - (len(values) if ok is None else ok)
    return CaseSummary(
        case=Case("m", backend, artifact or f"{backend}-f32", "generate", {}),
        facts=None,
        counts=Counts(planned=planned, ok=planned - failed, crashed=failed),
        values={metric: tuple(values)} if values else {},
        estimates={metric: estimate(values)} if values else {},
        budgets=(),
        failure=Failure("t", "crashed", "r", None, None, None, "") if failed else None,
        engines=(),
    )


def _say(*cases, caveats=()):
    found = list(sentences.headlines("Task", Group("w", "f32", cases, caveats)))
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
    assert not said.told and "only a gave a value" in said.text
    assert _say(_case("a", []), _case("b", [])).text.startswith(
        "Can't tell which has the highest decode speed: no case gave a value."
    )


def test_a_winner_that_lost_trials_says_so():
    said = _say(_case("a", [30, 30.01], planned=5), _case("b", [20, 20.1, 19.9]))
    assert said.told and "3 of its 5 trials gave no value." in said.text


def test_a_caveat_forbids_every_ranking():
    said = _say(_case("a", [30, 31]), _case("b", [1, 1]), caveats=("other prompts",))
    assert (said.told, said.text) == (False, "Not compared: other prompts.")


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
