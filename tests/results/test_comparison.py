from dataclasses import replace

import pytest

from results.comparison import choose_base, compare
from results.metrics import METRICS
from results.ranking import rank
from results.records import Case
from results.statistics import ratio
from results.summary import summarise, workloads


@pytest.fixture
def task(make, generate):
    """`task({"a": (gaps of its trials)}, facts..., audits, KL of its distributions)`: one workload."""

    def build(gaps, facts=None, audits=(), kl=None):
        records = [
            replace(generate(name, repetition, gap), conditions=make.conditions())
            for name, found in gaps.items()
            for repetition, gap in enumerate(found)
        ]
        cases = {r.case.backend: r.case for r in records}
        records += [make.audit(cases[name], **checks) for name, checks in audits]
        facts = [make.facts(f"{name}-f32", **(facts or {}).get(name, {})) for name in gaps]
        for name, far in ({"reference": 0.0, **kl} if kl else {}).items():
            measure = "reference" if name == "reference" else "fidelity"
            case = Case("m", name, f"{name}-f32", measure)
            seen = {"item": "tides", "kl": [far], "agree": [1], "logprob": []}
            records.append(make.record(case, samples=(), observations=(seen,)))
        (found,) = workloads(summarise(make.run(records, facts=facts)))
        return found

    return build


def _of(task, metric="decode_tok_s"):
    return {c.summary.case.backend: c for c in compare(task) if c.metric.name == metric}


def test_a_ratio_is_of_geometric_means_and_its_interval_is_welchs():
    found = ratio([2.0, 2.2, 2.4], [1.0, 1.05, 1.1, 1.2])
    from numpy import log
    from scipy import stats

    expected = stats.ttest_ind(log([2.0, 2.2, 2.4]), log([1.0, 1.05, 1.1, 1.2]), equal_var=False)
    low, high = expected.confidence_interval(0.95)
    assert log(found.value) == pytest.approx(
        log([2.0, 2.2, 2.4]).mean() - log([1, 1.05, 1.1, 1.2]).mean()
    )
    assert (log(found.low), log(found.high)) == (pytest.approx(low), pytest.approx(high))


def test_a_single_trial_gives_a_ratio_without_interval_and_a_zero_none():
    assert ratio([2.0], [1.0, 1.1]).low is None
    assert ratio([0.0, 1.0], [1.0]) is None and ratio([], [1.0]) is None
    assert ratio([1e-300, 1e300], [1.0, 1.0]).low > 0


def test_slower_is_worse_faster_is_better_and_units_have_a_direction(task):
    found = task({"a": (10, 10.1, 10.2), "b": (20, 20.1, 20.2)})
    worse = _of(found)["b"]
    assert choose_base(found).case.backend == "a"
    assert worse.verdict == "worse" and worse.ratio.value == pytest.approx(0.5, rel=0.01)
    assert worse.ratio.low < worse.ratio.value < worse.ratio.high < 1
    assert (worse.n, worse.base_n) == (3, 3)
    same = _of(found, "ttft_ms")["b"]
    assert same.verdict == "same" and same.ratio.value == 1


def test_of_a_time_less_is_better(make, generate):
    first = {"a": (100, 101), "b": (50, 51), "c": (200, 202)}
    records = [
        generate(name, r, 10 if name == "a" else 20, first_ms=ms)
        for name, values in first.items()
        for r, ms in enumerate(values)
    ]
    facts = [make.facts(f"{name}-f32") for name in first]
    (task,) = workloads(summarise(make.run(records, facts=facts)))
    found = _of(task, "ttft_ms")
    assert {name: c.verdict for name, c in found.items()} == {"b": "better", "c": "worse"}
    assert found["b"].ratio.value < 1 < found["c"].ratio.value


@pytest.mark.parametrize(
    ("gaps", "verdict"),
    [
        ((10.05, 10.05, 10.05), "same"),
        ((10.2, 10.2, 10.2), "worse"),
        ((10.0, 12.0, 9.9), "inconclusive"),
        ((12.0,), "inconclusive"),
    ],
)
def test_only_an_interval_within_one_percent_is_the_same(task, gaps, verdict):
    assert _of(task({"a": (10, 10, 10), "b": gaps}))["b"].verdict == verdict


def test_the_base_is_the_best_of_the_largest_group_of_equal_weights(task):
    q4 = {"precision": "int4", "weights": "v"}
    found = task({"a": (20, 20), "b": (30, 30), "c": (5, 5)}, {"c": q4})
    assert choose_base(found).case.backend == "a"
    compared = _of(found)["c"]
    assert compared.verdict == "better" and compared.certificate.grade == "with caveats"
    assert any("weights differ" in reason for reason in compared.certificate.reasons)


def test_of_groups_of_one_size_the_one_with_the_better_case_holds_the_base(task):
    found = task({"a": (20, 20), "b": (5, 5)}, {"b": {"weights": "v"}})
    assert choose_base(found).case.backend == "b"


def test_a_liar_is_no_base_and_its_ratio_is_refused(task):
    found = task({"a": (20, 20), "liar": (5, 5)}, audits=[("liar", {"forced_length": False})])
    assert choose_base(found).case.backend == "a"
    refused = _of(found)["liar"]
    assert (refused.ratio, refused.verdict) == (None, "incomparable")
    assert "forced_length: liar liar-f32" in refused.why
    alone = task({"liar": (5, 5)}, audits=[("liar", {"forced_length": False})])
    assert choose_base(alone).case.backend == "liar"


def test_a_case_whose_answers_broke_is_no_base_is_not_ranked_and_its_ratio_is_refused(task):
    """3 nats from the reference: 32 bits explain 0.0001."""
    found = task({"a": (20, 20), "b": (21, 21), "broken": (5, 5)}, kl={"a": 0, "b": 0, "broken": 3})
    assert choose_base(found).case.backend == "a"
    compared = _of(found)
    assert (compared["broken"].ratio, compared["broken"].verdict) == (None, "incomparable")
    assert compared["broken"].why.startswith(
        "broken broken-f32 is at fault in fidelity: its distributions are 3 nats from"
    )
    assert [item.name for item in compared["broken"].certificate.deciding] == ["answers"]
    assert compared["b"].ratio is not None
    ranking = rank(found.cases, METRICS["decode_tok_s"])
    assert [case.case.backend for case in ranking.ranked] == ["a", "b"]
    assert [case.case.backend for case in ranking.left_out] == ["broken"]
    alone = task({"broken": (5, 5)}, kl={"broken": 3})
    assert choose_base(alone).case.backend == "broken"


def test_a_run_without_fidelity_keeps_its_grade(task):
    plain, judged = ({"a": (20, 20), "b": (21, 21)} for _ in range(2))
    (before,) = {c.certificate.grade for c in compare(task(plain))}
    (after,) = {c.certificate.grade for c in compare(task(judged, kl={"a": 0, "b": 0}))}
    assert before == after == "fair as far as known"


def test_a_case_without_a_value_is_incomparable_and_no_values_make_no_base(make, generate):
    lost = replace(generate("b", 0, 10), status="crashed", reason="gone")
    records = [generate("a", 0, 10), lost]
    (task,) = workloads(summarise(make.run(records)))
    found = _of(task)["b"]
    assert (found.verdict, found.ratio, found.n) == ("incomparable", None, 0)
    (task,) = workloads(summarise(make.run([lost])))
    assert choose_base(task) is None and compare(task) == ()
