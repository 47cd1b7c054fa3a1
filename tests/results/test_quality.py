"""Answers to tasks: what is right, what repeats, who is better, and no number where there is none."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest

from results import quality
from results.quality_statistics import difference, holm, mcnemar, share
from results.quality_text import distinct, longest_repeat, repeated_share, self_bleu
from results.records import Case, Record, RunInfo, Trial
from results.store import Run

GREEDY = {
    "temperature": 0.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "seed": 0,
}
WARM = {**GREEDY, "temperature": 0.8, "top_p": 0.95, "seed": 5}
ITEMS = [
    {"name": f"q{n}", "kind": "sum" if n % 2 else "form",
     "messages": [{"role": "user", "content": f"{n} + 1?"}],
     "check": {"how": "number", "answer": n + 1} if n % 2 else {"how": "json", "answer": [n]}}
    for n in range(20)
]  # fmt: skip


def case(backend: str = "a", **more: Any) -> Case:
    parameters = {"tasks": "standard", "items": 20, "output_tokens": 8, "seeds": 3,
                  "settings": [GREEDY, WARM], "context": 64, **more}  # fmt: skip
    return Case("m", backend, f"{backend}-f32", "quality", parameters)


def answer(n: int, right: bool) -> str:
    return (str(n + 1) if n % 2 else f"[{n}]") if right else "no"


def seen(
    n: int, setting: int = 0, seed: int = 0, run: int = 0, right: bool = True, ids: Any = (1, 2, 3),
    **more: Any,
) -> dict[str, Any]:  # fmt: skip
    data = {"item": f"q{n}", "setting": setting, "seed": seed, "run": run, "ids": list(ids),
            "text": answer(n, right), "ended": True}  # fmt: skip
    return {**data, **more}


def everything(
    right: Any, warm: Any, ids: Any = None, warm_ids: Any = None
) -> list[dict[str, Any]]:
    """All requests of an arm: `right(n)` greedy, `warm(n, seed)` sampled."""
    found = []
    for n in range(20):
        mine = ids(n) if ids else (n + 100, 1, 2, 3, 4)
        found.append(seen(n, right=right(n), ids=mine))
        for seed in (5, 6, 7):
            theirs = warm_ids(n, seed) if warm_ids else (n + 100, seed, 2, 3, 4)
            found.append(seen(n, 1, seed, right=warm(n, seed), ids=theirs))
        if n < 8:
            found.append(seen(n, run=1, right=right(n), ids=mine))
            theirs = warm_ids(n, 5) if warm_ids else (n + 100, 5, 2, 3, 4)
            found.append(seen(n, 1, 5, 1, right=warm(n, 5), ids=theirs))
    return found


def record(one: Case, observations: Any, status: Any = "ok", repetition: int = 0) -> Record:
    trial = f"{one.key}-{repetition}"
    return Record(trial, one, repetition, 1, status, "2026", 1.0, observations=tuple(observations))


def run(*records: Record, items: Any = ITEMS, planned: tuple[Case, ...] = ()) -> Run:
    cases = [r.case for r in records] + list(planned)
    trials = tuple(Trial(f"{c.key}-{i}", c, i) for i, c in enumerate(cases))
    info = RunInfo(
        "r", "0", "2026", (), "s", "", "", "", 0, {}, trials, (), (), {}, "", {}, {},
        items={"quality": items},
    )  # fmt: skip
    return Run(Path(), info, tuple(records), ())


def one_arm(observations: Any) -> quality.Arm:
    (group,) = quality.groups(run(record(case(), observations)))
    return group.arms[0]


def test_accuracy_is_by_item_and_seeds_are_no_items() -> None:
    arm = one_arm(everything(lambda n: n < 10, lambda n, seed: seed == 5))
    greedy, warm = arm.summaries
    assert greedy.accuracy and warm.accuracy
    assert greedy.accuracy.value == 0.5 and greedy.accuracy.n == 20
    assert warm.accuracy.value == pytest.approx(1 / 3) and warm.accuracy.n == 20
    assert set(greedy.by_kind) == {"form", "sum"}
    assert greedy.valid and greedy.valid.value == 0.5 and greedy.valid.n == 10
    assert greedy.again == quality.Agreement(8, 8) and warm.again == quality.Agreement(8, 8)
    assert warm.other_seed == quality.Agreement(0, 20)
    assert greedy.distinct == {} and greedy.self_bleu is None
    assert warm.distinct[1] == pytest.approx(7 / 15)


@pytest.mark.parametrize(
    ("right", "warm", "verdict"),
    [
        (lambda n: n < 6, lambda n, seed: True, "confirmed"),
        (lambda n: True, lambda n, seed: n < 6, "refuted"),
        (lambda n: n < 10, lambda n, seed: n % 2 == 0, "can't tell"),
    ],
)
def test_whether_temperature_helps_comes_from_the_interval(
    right: Any, warm: Any, verdict: str
) -> None:
    claims = {claim.about: claim for claim in one_arm(everything(right, warm)).claims}
    assert claims["temperature helps"].verdict == verdict


@pytest.mark.parametrize(
    ("ids", "warm_ids", "verdict"),
    [
        (lambda n: (1, 2, 3, 4) * 4, lambda n, s: range(16), "confirmed"),
        (lambda n: range(16), lambda n, s: (1, 2, 3, 4) * 4, "refuted"),
        (lambda n: (1,) * 16 if n < 2 else range(16), lambda n, s: range(16), "can't tell"),
    ],
)
def test_whether_greedy_repeats_comes_from_the_interval(
    ids: Any, warm_ids: Any, verdict: str
) -> None:
    arm = one_arm(everything(lambda n: True, lambda n, s: True, ids, warm_ids))
    claims = {claim.about: claim for claim in arm.claims}
    assert claims["greedy repeats"].verdict == verdict


def test_engines_are_compared_item_by_item() -> None:
    good = record(case("a"), everything(lambda n: True, lambda n, s: True))
    bad = record(case("b"), everything(lambda n: n >= 10, lambda n, s: n >= 10))
    also = record(case("c"), everything(lambda n: True, lambda n, s: True))
    (group,) = quality.groups(run(good, bad, also))
    pairs = {(p.setting, p.first[0], p.second[0]): p for p in group.pairs}
    found = pairs[0, "a", "b"]
    assert (found.only_first, found.only_second) == (10, 0)
    assert found.p == pytest.approx(2 / 2**10)
    assert found.adjusted == pytest.approx(3 * 2 / 2**10)
    assert found.difference.value == 0.5 and found.difference.low and found.difference.low > 0
    same = pairs[0, "a", "c"]
    assert same.p == 1 and same.difference.value == 0
    assert same.difference.low is not None and same.difference.low < -0.1
    assert pairs[1, "a", "b"].p is None and pairs[1, "a", "b"].difference.value == 0.5


def test_what_is_not_repeatable_is_counted() -> None:
    observations = everything(lambda n: True, lambda n, s: True, warm_ids=lambda n, s: (n, 9))
    for data in observations:
        if data["run"] == 1 and data["item"] in ("q0", "q1"):
            data["ids"] = [77]
    greedy, warm = one_arm(observations).summaries
    assert greedy.again == quality.Agreement(6, 8) and warm.again == quality.Agreement(6, 8)
    assert warm.other_seed == quality.Agreement(20, 20)


def test_another_process_must_give_the_same() -> None:
    observations = everything(lambda n: True, lambda n, s: True)
    changed = [{**o, "ids": [5]} if o["item"] == "q3" else o for o in observations]
    one = case()
    records = (record(one, observations), record(one, changed, repetition=1))
    (group,) = quality.groups(run(*records))
    assert group.arms[0].summaries[0].trials == quality.Agreement(19, 20)


def test_errors_count_as_wrong_answers_and_an_unsupported_setting_has_no_number() -> None:
    observations = everything(lambda n: True, lambda n, s: True)
    failed = [
        {k: o[k] for k in ("item", "setting", "seed", "run")} | {"error": "unsupported: top_p"}
        if o["setting"] == 1 or o["item"] == "q0"
        else o
        for o in observations
    ]
    greedy, warm = one_arm(failed).summaries
    assert greedy.accuracy and greedy.accuracy.value == 0.95 and greedy.errors == 1
    assert warm.accuracy is None and warm.errors == 60 and warm.error == "unsupported: top_p"
    assert [claim.about for claim in one_arm(failed).claims] == []


def test_what_a_broken_off_trial_never_asked_is_wrong() -> None:
    asked = [o for o in everything(lambda n: True, lambda n, s: True) if o["item"] in ("q0", "q1")]
    for status, right in (("ok", 1.0), ("timeout", 0.1)):
        (group,) = quality.groups(run(record(case(), asked, status)))
        accuracy = group.arms[0].summaries[0].accuracy
        assert accuracy and accuracy.value == pytest.approx(right)


def test_an_arm_without_answers_says_why() -> None:
    broken = Record("t", case(), 0, 1, "failed", "2026", 1.0, reason="it broke")
    (group,) = quality.groups(run(broken, planned=(case("b"),)))
    assert [arm.trouble for arm in group.arms] == ["it broke", "this trial has not run"]
    assert quality.groups(run()) == ()


ODD = [
    {}, {"item": []}, {"item": "q0"}, seen(0, setting=9), seen(0, setting=-1), seen(0, run=2),
    seen(0, ids=["1"]), seen(0, ids=[True]), seen(0, text=None), seen(0, ids="123"),
    seen(0, seed=1.5), seen(0, seed=math.nan), seen(0, item="nobody's"), seen(0, item=None),
]  # fmt: skip


@pytest.mark.parametrize("data", ODD, ids=range(len(ODD)))
def test_a_worker_may_send_anything(data: dict[str, Any]) -> None:
    arm = one_arm([data])
    assert arm.summaries == () and arm.trouble == "the trial left no answers"


@pytest.mark.parametrize("items", [None, 7, [], ["x"], [{}], [{"name": "q0", "check": 1}],
                                   [{"name": "q0", "kind": "k", "messages": 3, "check": {}}]])  # fmt: skip
def test_items_may_be_anything(items: Any) -> None:
    (group,) = quality.groups(run(record(case(), [seen(0)]), items=items))
    assert all(s.accuracy is None or s.accuracy.value == 0 for s in group.arms[0].summaries)


def test_sizes_are_kept_only_if_they_fit() -> None:
    good, bad = seen(1, sizes=[1, 0, 0]), seen(1, sizes=[1, 1, 1])
    assert next(iter(one_arm([good]).answers.values())).sizes == (1, 0, 0)
    assert next(iter(one_arm([bad]).answers.values())).sizes == ()


def test_the_interval_of_a_share() -> None:
    exact = share([1.0] * 20)
    assert exact and exact.value == 1 and exact.low and 0.7 < exact.low < 1 and exact.high == 1
    half = share([0.0, 1.0] * 50)
    assert half and half.low == pytest.approx(0.4, abs=0.01)
    clustered = share([0.5] * 20)
    assert clustered and clustered.low and clustered.low > 0.25
    assert share([]) is None and share([1.0]).low is None  # type: ignore[union-attr]


def test_the_interval_of_a_share_covers_what_it_says() -> None:
    """Items with an ability of their own, three seeds each: 95 % of intervals hold the truth."""
    rng = random.Random(3)
    covered = 0
    for _ in range(1000):
        abilities = [rng.choice((0.05, 0.3, 0.9)) for _ in range(40)]
        found = share([sum(rng.random() < p for _ in range(3)) / 3 for p in abilities])
        assert found and found.low is not None and found.high is not None
        covered += found.low <= (0.05 + 0.3 + 0.9) / 3 <= found.high
    assert 930 <= covered <= 980


def test_two_equal_engines_are_seldom_called_different() -> None:
    rng = random.Random(4)
    apart = tested = 0
    for _ in range(1000):
        pairs = [(rng.random() < 0.5, rng.random() < 0.5) for _ in range(40)]
        p = mcnemar(sum(a > b for a, b in pairs), sum(a < b for a, b in pairs))
        found = difference([float(a) - float(b) for a, b in pairs])
        assert found and found.low is not None and found.high is not None
        tested += p < 0.05
        apart += not found.low <= 0 <= found.high
    assert tested <= 60 and apart <= 70


def test_mcnemar_and_holm() -> None:
    from scipy.stats import binomtest

    for b, c in ((0, 0), (5, 0), (3, 9), (7, 7)):
        expected = binomtest(b, b + c).pvalue if b + c else 1.0
        assert mcnemar(b, c) == pytest.approx(expected)
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_repetition() -> None:
    assert longest_repeat([]) == 0 and longest_repeat([1]) == 0 and longest_repeat([1, 1]) == 1
    assert longest_repeat([1, 2, 3, 9, 1, 2, 3]) == 3
    assert longest_repeat([1] * 10) == 9
    assert repeated_share([1, 2, 3]) == 0 and repeated_share(range(50)) == 0
    assert repeated_share([1, 2, 3, 4] * 2) == pytest.approx(1 / 5)
    rng = random.Random(1)
    for _ in range(50):
        ids = [rng.randrange(3) for _ in range(30)]
        spans = [tuple(ids[i:j]) for i in range(30) for j in range(i + 1, 31)]
        assert longest_repeat(ids) == max(len(s) for s in spans if spans.count(s) > 1)


def test_diversity() -> None:
    assert distinct([(1, 2), (1, 3)], 1) == 0.75 and distinct([(1,), (2,)], 2) is None
    pytest.importorskip("sacrebleu")
    assert self_bleu(["one"]) is None
    assert self_bleu(["the cat sat down", "the cat sat down"]) == 100
    apart = self_bleu(["the cat sat down", "seven green boats sail"])
    near = self_bleu(["the cat sat down there", "the cat sat down here"])
    assert apart is not None and near is not None and apart < 30 < near < 100
    assert self_bleu(["", ""]) == 100 and self_bleu(["", "a"]) == 0
