from dataclasses import replace
from typing import Any

import pytest

from results import arms
from results.records import Budget, Case
from results.summary import Counts, summarise, workloads


def test_every_planned_trial_is_counted_once_under_what_became_of_it(make):
    case = make.case()
    records = [
        make.record(case, 0),
        make.record(case, 1, "crashed", reason="gone", remedy="retry", signal="SIGSEGV"),
        make.record(case, 2, "timeout", reason="late"),
    ]
    (found,) = summarise(make.run(records, planned=[make.record(case, 3)]))
    assert found.counts == Counts(planned=4, ok=1, crashed=1, timeout=1, missing=1)
    assert found.counts.bad == 2
    assert found.values["ttft_ms"] == (pytest.approx(100),)
    assert found.estimates["ttft_ms"].n == 1


def test_the_first_failure_keeps_reason_remedy_and_signal(make):
    case = make.case()
    records = [
        make.record(
            case, 1, "crashed", reason="first", remedy="do", signal="SIGKILL", exit_code=-9
        ),
        make.record(case, 0, "failed", reason="second"),
    ]
    (found,) = summarise(make.run(records))
    assert (found.failure.reason, found.failure.remedy, found.failure.signal) == (
        "first",
        "do",
        "SIGKILL",
    )
    assert found.failure.status == "crashed"


def test_cases_come_in_planned_order_and_values_by_repetition(make, generate):
    records = [generate("z", 1, 10), generate("b", 0, 40), generate("z", 0, 20)]
    found = summarise(make.run(records))
    assert [s.case.backend for s in found] == ["z", "b"]
    assert found[0].values["tpot_ms"] == (pytest.approx(20), pytest.approx(10))


@pytest.mark.parametrize(
    ("budget", "verdict"),
    [
        (Budget("ttft_ms", max=100), "met"),
        (Budget("ttft_ms", max=99), "missed"),
        (Budget("decode_tok_s", min=40), "met"),
        (Budget("decode_tok_s", min=41), "missed"),
        (Budget("ttft_ms", min=50, max=99), "missed"),
    ],
)
def test_a_budget_is_judged_on_the_estimate(make, budget, verdict):
    records = [make.record(make.case(), r) for r in range(2)]
    (found,) = summarise(make.run(records, budgets=[budget]))
    assert [v.verdict for v in found.budgets] == [verdict]


def test_a_case_without_a_value_never_meets_a_budget(make):
    records = [make.record(make.case(), r, "crashed") for r in range(3)]
    (found,) = summarise(make.run(records, budgets=[Budget("ttft_ms", max=1e9)]))
    assert [(v.verdict, v.value) for v in found.budgets] == [("unknown", None)]


def test_a_budget_concerns_only_cases_that_can_have_its_metric(make):
    records = [
        make.record(make.case(measure="load"), 0),
        make.record(make.case(reuse_prefix=True), 0),
    ]
    found = summarise(make.run(records, budgets=[Budget("ttft_ms", max=1)]))
    assert [s.budgets for s in found] == [(), ()]


def test_a_budget_on_a_metric_nobody_knows_is_unknown_not_ignored(make):
    (found,) = summarise(make.run([make.record(make.case())], budgets=[Budget("magic", max=1)]))
    assert [v.verdict for v in found.budgets] == ["unknown"]


def _groups(make, records, facts):
    return workloads(summarise(make.run(records, facts=facts)))


def test_equal_weights_and_precision_are_one_group(make, generate):
    facts = [make.facts(f"{n}-f32") for n in "ab"] + [make.facts("c-f32", precision="q4")]
    (task,) = _groups(make, [generate(n, 0, 10) for n in "abc"], facts)
    assert [[c.case.backend for c in g.cases] for g in task.groups] == [["a", "b"], ["c"]]
    assert [c.case.backend for c in task.cases] == ["a", "b", "c"]


def test_unknown_weights_are_equal_to_nothing(make, generate):
    facts = [make.facts("a-f32"), make.facts("b-f32", weights="other")]
    (task,) = _groups(make, [generate(n, 0, 10) for n in "abcd"], facts)
    assert [g.weights for g in task.groups] == ["w", "other", None, None]


def test_other_parameters_are_another_workload(make):
    records = [make.record(make.case()), make.record(make.case("b", prompt_tokens=20))]
    assert len(_groups(make, records, [make.facts()])) == 2


def test_an_audit_is_no_workload_but_evidence_for_its_arm_only(make, generate):
    mine, theirs = generate("a", 0, 10), generate("b", 0, 10)
    other = make.case("a", "a-f32")
    other = replace(other, settings={"mmap": False})
    records = [mine, theirs, make.audit(mine.case, forced_length=False), make.record(other)]
    found = summarise(make.run(records))
    assert [task.measure for task in workloads(found)] == ["generate"]
    names = {
        (s.case.backend, str(s.case.settings)): [c.name for c in s.evidence.failed_checks]
        for s in found
        if s.case.measure == "generate"
    }
    assert names == {
        ("a", "{}"): ["forced_length"], ("b", "{}"): [], ("a", "{'mmap': False}"): [],
    }  # fmt: skip


def test_of_several_audits_a_failed_check_counts_before_all_others(make, generate):
    mine = generate("a", 0, 10)
    audits = [
        replace(make.audit(mine.case, x=x, y=y), trial=f"audit-{i}")
        for i, (x, y) in enumerate([(True, None), (False, True), (None, True)])
    ]
    found = summarise(make.run([mine, *audits]))[0].evidence.checks
    assert {c.name: c.passed for c in found} == {"x": False, "y": None}


def test_an_engines_own_environment_goes_without_saying_and_another_by_its_name(make: Any) -> None:
    def named(python: str, **options: str) -> str:
        backend = "openai" if options else "mlx"
        case = Case("m", backend, "hf", "load", {}, {"python": python, "options": options})
        return arms.arm(case)

    assert named("/data/bakeoff/engines/mlx/bin/python") == "mlx hf"
    assert named("/data/bakeoff/engines/mlx-old/bin/python") == "mlx hf python=mlx-old"
    assert named("/opt/new/bin/python") == "mlx hf python=/opt/new/bin/python"
    server = named("/data/bakeoff/engines/xllamacpp/bin/python", server="xllamacpp")
    assert server == "openai hf server=xllamacpp"


def test_an_arms_own_name_stands_for_its_settings_but_not_for_its_role() -> None:
    settings = {"device": "cuda", "options": {"server": "generic"}, "name": "ours"}
    assert arms.arm(Case("m", "openai", "hf", "load", {}, settings)) == "openai hf ours"
    base = Case("m", "openai", "hf", "load", {}, settings, "base")
    assert arms.arm(base) == "openai hf ours (base)"
