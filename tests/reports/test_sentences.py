"""What one task's numbers let be said: the sentence says it, and never more."""

from dataclasses import replace

import pytest

from reports import answers
from reports.objections import Objections
from reports.tables import assign_letters
from results import fidelity
from results.records import ArtifactFacts, Budget, Case, Check, Record
from results.statistics import estimate
from results.summary import BudgetVerdict, CaseSummary, Counts, Evidence, Failure, Group, Workload


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


def _task(*groups):
    return Workload("m", "generate", groups[0].cases[0].case.parameters, groups)


def _ask(task, title="", letters=None):
    return answers.ask(task, title, letters or assign_letters([task]))


def _all(*cases):
    found = answers.of_task(_ask(_task(Group("w", "f32", cases))), Objections())
    return {headline.question: headline.statements for headline in found}


def _say(*cases, question="Fastest"):
    (said,) = _all(*cases)[question]
    return said


def _other_weights(backend, values, weights, precision):
    facts = ArtifactFacts("m", f"{backend}-x", "f", precision, weights, 1, "")
    return Group(weights, precision, (replace(_case(backend, values), facts=facts),))


def test_a_clear_winner_is_named_with_both_values_and_the_ratio():
    said = _say(_case("slow", [20, 20.1, 19.9]), _case("fast", [30, 30.1, 29.9]))
    assert said.told and said.lead == "fast" and said.against == ()
    assert said.full == (
        "fast has the highest decode speed: 30.0 tok/s [29.8, 30.2], 1.50× [1.48, 1.52] that of "
        "the next, slow with 20.0 tok/s [19.8, 20.2]."
    )


def test_for_a_time_the_lowest_wins():
    cases = [_case(n, [v, v + 0.1, v + 0.2], metric="ttft_ms") for n, v in (("a", 50), ("b", 20))]
    said = _say(*cases, question="First to answer")
    assert said.full.startswith("b has the lowest time to first token: 20.1 ms")
    assert ", 0.401× [0.397, 0.406] that of the next" in said.text


def test_a_ratio_that_may_be_one_can_t_be_told():
    said = _say(_case("a", [30, 31, 32]), _case("b", [30, 31.5, 32.5]))
    assert not said.told and said.lead == "Can't tell"
    assert said.text.startswith("which has the highest decode speed: b, 31.3 tok/s")
    assert "has the highest" not in said.text.removeprefix("which has the highest")


def test_of_many_that_are_as_close_the_nearest_are_told_and_the_rest_counted():
    said = _say(*(_case(f"e{n}", [20 - n, 35 - n, 22 - n]) for n in range(7)))
    assert said.lead == "Can't tell" and "e0, " in said.text
    assert all(f"that of e{n}, " in said.text for n in (1, 2, 3))
    assert "so on for 3 more" in said.text and "e4" not in said.text


def test_the_sentence_says_what_the_comparison_says():
    """Intervals that overlap a little forbid nothing: the ratio's own interval decides."""
    fast, slow = _case("a", [30.0, 31.0, 32.0]), _case("b", [27.0, 28.0, 29.0])
    assert fast.estimates["decode_tok_s"].low < slow.estimates["decode_tok_s"].high
    said = _say(fast, slow)
    assert said.told and "1.11× [1.02, 1.20]" in said.text


def test_one_wild_case_further_down_forbids_a_winner():
    said = _say(
        _case("first", [30, 30.1, 29.9]),
        _case("second", [25, 25.1, 24.9]),
        _case("wild", [5, 20, 40]),
    )
    assert not said.told and "first" in said.text and "wild" in said.text
    assert "second" not in said.text


def test_equals_within_a_hair_share_the_lead():
    said = _say(
        _case("a", [30, 30.01, 29.99]), _case("b", [30, 30.02, 29.98]), _case("c", [9, 9.1])
    )
    assert said.told and said.lead == "a and b"
    assert said.text.startswith("share the highest decode speed, no difference of 1 %: 30.0 tok/s")


def test_one_trial_each_is_never_enough():
    said = _say(_case("a", [30], planned=1), _case("b", [20], planned=1))
    assert not said.told and "single trial" in said.text


def test_failures_are_not_ranked_and_named_with_their_reason():
    said = _say(_case("a", [30, 30.1, 29.9]), _case("b", [20, 20.1, 19.9]), _case("c", []))
    assert said.told and said.text.endswith(" Not ranked: c (crashed).")


def test_the_last_one_standing_has_not_won():
    said = _say(_case("a", [30, 30.1, 29.9]), _case("b", []))
    assert not said.told and "only a gave a value that counts" in said.text
    assert _say(_case("a", []), _case("b", [])).text.startswith(
        "which has the highest decode speed: no case gave a value that counts."
    )


def test_what_a_winner_lost_speaks_against_it():
    said = _say(_case("a", [30, 30.01], planned=5), _case("b", [20, 20.1, 19.9]))
    assert said.told and said.against == ("3 of 5 trials crashed",)
    assert said.full.endswith(" But: 3 of 5 trials crashed.")


def test_what_others_lost_is_a_note_and_in_a_tie_as_well():
    said = _say(_case("a", [30, 30.01, 30]), _case("b", [20, 20.1], planned=4))
    assert said.told and said.text.endswith(" 2 of 4 trials of b gave no value.")
    tie = _say(_case("a", [30, 31, 32]), _case("b", [30, 31.5], planned=4))
    assert not tie.told and tie.text.endswith(" 2 of 4 trials of b gave no value.")


def test_a_missed_budget_speaks_against_the_winner():
    missed = BudgetVerdict(Budget("decode_tok_s", min=40), 30, "missed")
    said = _say(replace(_case("a", [30, 30.1]), budgets=(missed,)), _case("b", [20, 20.1]))
    assert said.against[-1] == "misses its budget"


def test_a_case_that_failed_its_audit_is_never_the_winner_and_the_check_is_named():
    liar = _case("liar", [90, 90.1, 89.9], lie="forced_length")
    said = _say(liar, _case("a", [30, 30.1, 29.9]), _case("b", [20, 20.1, 19.9]))
    assert said.told and said.lead == "a"
    assert said.text.endswith(" Not ranked: liar (failed its audit: forced_length).")
    alone = _say(liar, _case("a", [30, 30.1, 29.9]))
    assert not alone.told and "only a gave a value that counts" in alone.text
    assert "90" not in alone.text


def test_a_case_whose_answers_broke_is_not_ranked_however_fast_it_is():
    judged = fidelity.judged(_case("broken", []).case, None, {}, None, None, {})
    truth = replace(judged, verdict="fault", faults=("it is 3 nats off",))
    broken = _case("broken", [90, 90.1, 89.9], truth=truth)
    said = _say(broken, _case("a", [30, 30.1]), _case("b", [20, 20.1]))
    assert said.told and said.lead == "a"
    assert said.text.endswith(" Not ranked: broken (fault in fidelity).")


def test_a_winner_whose_work_differed_is_not_named():
    cases = [
        _case("a", [30, 30.1, 29.9], fingerprint="x"),
        _case("b", [20, 20.1, 19.9], fingerprint="y"),
    ]
    said = _say(*cases)
    assert not said.told
    assert said.text == (
        "which has the highest decode speed: a and b are not comparable, other machines: x and y."
    )


def test_one_that_did_other_work_than_most_is_left_out_and_the_rest_is_ranked():
    cases = [
        _case("odd", [90, 90.1, 89.9], fingerprint="y"),
        _case("a", [30, 30.1, 29.9], fingerprint="x"),
        _case("b", [20, 20.1, 19.9], fingerprint="x"),
    ]
    said = _say(*cases)
    assert said.told and said.lead == "a"
    assert "Not ranked: odd (not comparable: other machines: y and x)" in said.text


def test_a_lead_under_other_conditions_keeps_its_caveat():
    slow = _case("b", [20, 20.1, 19.9])
    slow = replace(slow, case=replace(slow.case, settings={"device": "cuda:0"}))
    said = _say(_case("a", [30, 30.1, 29.9]), slow)
    assert said.told and said.against == ("other devices: cpu and cuda:0",)


def test_other_weights_are_ranked_apart_and_speak_against_the_winner():
    task = _task(
        Group("w", "f32", (_case("a", [30, 30.1, 29.9]), _case("b", [20, 20.1, 19.9]))),
        _other_weights("c", [90, 90.1, 89.9], "v", "int4"),
        _other_weights("d", [80, 80.1, 79.9], "w", "q4_1"),
    )
    (headline, *_) = answers.of_task(_ask(task), Objections())
    anyway, same = headline.statements
    assert (anyway.scope, same.scope) == ("all cases", "same f32 weights")
    assert (anyway.lead, same.lead) == ("c", "a")
    assert anyway.against == ("other weights, int4 against q4_1",) and same.against == ()


def test_a_case_on_its_own_is_told_and_wins_nothing():
    said = _say(_case("a", [30, 30.1, 29.9]))
    assert said.full == (
        "a is the only case, with 30.0 tok/s [29.8, 30.2]: there is nothing to compare with."
    )


def test_a_case_on_its_own_keeps_what_speaks_against_it_in_several_tasks():
    task = _task(Group("w", "f32", (_case("a", [30, 30.1]),)))
    (said,) = _over([task, task], ["x", "y"])
    assert (said.task, said.lead) == ("both tasks", "a")
    assert said.full == (
        "a is the only case: there is nothing to compare with. But: 1 of 3 trials crashed."
    )


def test_two_artifacts_of_one_engine_keep_their_names():
    said = _say(
        _case("a", [30, 30.1, 29.9], artifact="x"), _case("a", [20, 20.1, 19.9], artifact="y")
    )
    assert said.lead == "a x" and "the next, a y with" in said.text


@pytest.mark.parametrize("reused", [True, False])
def test_a_reused_prefix_is_asked_about_under_its_own_name(reused):
    cases = tuple(
        replace(c, case=replace(c.case, parameters={"reuse_prefix": reused}))
        for c in (_case("a", [1, 2]), _case("b", [1, 2]))
    )
    found = _all(*cases)
    assert ("First to answer, prefix reused" in found) is reused
    assert ("First to answer" in found) is not reused


def _over(tasks, titles):
    letters = assign_letters(tasks)
    asked = [_ask(task, title, letters) for task, title in zip(tasks, titles, strict=True)]
    return next(answers.headlines(tasks, asked, Objections())).statements


def _lengths(*ahead, noise=0.1):
    """Tasks of other lengths; in each the named case is ahead, or nobody is."""
    tasks = []
    for number, name in enumerate(ahead):
        cases = tuple(
            _case(
                n, [v, v + noise, v - noise] if name else [10, 30, 50 + number], artifact=f"{n}-f32"
            )
            for n, v in (("a", 30 if name == "a" else 20), ("b", 20 if name == "a" else 30))
        )
        tasks.append(_task(Group("w", "f32", cases)))
    titles = [f"task {n}" for n in range(len(tasks))]
    return _over(tasks, titles)


def test_tasks_with_the_same_winner_share_a_sentence():
    (said,) = _lengths("a", "a", "a", "a")
    assert said.task == "all 4 tasks" and said.lead == "a"
    assert said.text == (
        "has the highest decode speed, 30.0 tok/s: 1.50× [1.48, 1.52] that of the next."
    )


def test_tasks_that_disagree_are_told_apart_and_what_can_t_be_told_comes_last():
    first, second, last = _lengths("a", "b", "a", None)
    assert first.task == "2 of 4 tasks: task 0; task 2" and first.lead == "a"
    assert second.task == "task 1" and second.lead == "b"
    assert last.task == "task 3" and not last.told


def test_several_tasks_that_can_t_be_told_name_nobody_as_ahead():
    (said,) = _lengths(None, None)
    assert said.task == "both tasks" and not said.told
    assert said.text in {
        f"which has the highest decode speed: too close or not comparable: {names}."
        for names in ("a and b", "b and a")
    }


def test_who_is_not_ranked_is_told_once_for_all_tasks():
    cases = (_case("a", [30, 30.1, 29.9]), _case("b", [20, 20.1, 19.9]), _case("c", []))
    task = _task(Group("w", "f32", cases))
    said = _over([task, task], ["x", "y"])[0]
    assert said.lead == "a" and said.text.endswith("that of the next. Not ranked: c (crashed).")


def test_what_is_said_alike_of_all_weights_and_of_equal_ones_is_said_once():
    task = _task(
        Group("w", "f32", (_case("a", [30], planned=1), _case("b", [20], planned=1))),
        _other_weights("c", [10, 10.1, 9.9], "v", "int4"),
    )
    (headline, *_) = answers.of_task(_ask(task), Objections())
    (said,) = headline.statements
    assert said.scope == "" and "a single trial gives no interval" in said.text


def _pairs(*groups):
    """A task whose groups are (weights, precision, then name and value of each case)."""
    made = [
        Group(
            weights,
            precision,
            tuple(_case(name, [v, v * 1.003, v * 0.997]) for name, v in cases),
        )
        for weights, precision, *cases in groups
    ]
    return _task(*made)


def test_two_sets_of_weights_with_one_precision_are_two_scopes():
    task = _pairs(("w1", "int8", ("a", 100), ("b", 150)), ("w2", "int8", ("c", 300), ("d", 200)))
    found = {one.scope: one.lead for one in _over([task], ["t"])}
    assert found == {"same int8 weights (A)": "b", "all cases; same int8 weights (B)": "c"}


def test_those_who_share_the_lead_keep_what_speaks_against_them():
    level = [100 + n / 1000 for n in range(3)]
    missed = BudgetVerdict(Budget("decode_tok_s", min=500), 100.0, "missed")
    a, b = (replace(_case(name, level), budgets=(missed,)) for name in "ab")
    said = _say(a, b)
    assert said.lead == "a and b" and said.told
    assert said.against == ("a: misses its budget", "b: misses its budget")
    task = _task(Group("w", "f32", (a, b)))
    (both,) = _over([task, task], ["x", "y"])
    assert both.task == "both tasks" and both.lead == "a and b" and both.told
    assert both.against == said.against


def _with_memory(name, **peaks):
    made = _case(name, [10, 10.1, 9.9])
    values = {f"peak_{kind}_bytes": (v, v * 1.001, v * 0.999) for kind, v in peaks.items()}
    return replace(made, values=values, estimates={name: estimate(v) for name, v in values.items()})


def test_tasks_whose_peak_is_another_metric_are_not_merged():
    both = [_with_memory("a", pss=1e8, rss=2e8), _with_memory("b", pss=3e8, rss=4e8)]
    task = _task(Group("w", "f32", tuple(both)))
    other = _task(Group("w", "f32", (both[0], _with_memory("b", rss=4e8))))
    letters = assign_letters([task, other])
    asked = [_ask(task, "x", letters), _ask(other, "y", letters)]
    (leanest,) = [
        h for h in answers.headlines([task, other], asked, Objections()) if h.question == "Leanest"
    ]
    assert ["100 MB" in leanest.statements[0].text, "200 MB" in leanest.statements[1].text] == [
        True
    ] * 2
