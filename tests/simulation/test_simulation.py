"""The gate's error rates on a few simulated gates; `make simulate` measures them on many.

All is seeded: a figure moves only when the code does.
"""

import numpy as np
import pytest
from machine import BASE, CANDIDATE, Change, Machine, kind, session
from trials import SCENARIOS, coverage, gates

from results.gate.rules import Rules

BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
COUNT = 12


@pytest.fixture(scope="module")
def counts():
    wanted = ("identical", "+10 %", "+5 %")
    return {name: gates(BY_NAME[name], COUNT, seed=5) for name in wanted}


def test_identical_arms_are_not_called_regressed(counts):
    assert counts["identical"]["red"] == 0
    assert counts["identical"]["metric passed"] >= 0.8 * 30 * COUNT


def test_a_loss_of_ten_percent_is_found_and_mostly_one_of_five(counts):
    assert counts["+10 %"]["found"] >= 0.9 * COUNT
    assert counts["+5 %"]["found"] >= 0.4 * COUNT
    assert counts["+10 %"]["wrong metric"] == counts["+5 %"]["wrong metric"] == 0
    assert counts["+10 %"]["passed wrongly"] == 0


def test_the_rules_of_other_tools_call_identical_arms_worse(counts):
    seen = counts["identical"]
    assert seen["pytest-benchmark mean:5%: red"] > 0.5 * COUNT
    assert seen["Mann-Whitney, both arms at once: red"] > 0.3 * COUNT
    assert seen["github-action-benchmark 200 %: red"] == 0
    assert counts["+10 %"]["github-action-benchmark 200 %: found"] == 0


def test_intervals_hold_the_true_ratio_as_often_as_they_say():
    for look, found in coverage(4, seed=5).items():
        assert 0.8 <= np.mean([share for share, _ in found]) <= 0.99, look


def test_memory_of_three_percent_more_is_always_found():
    assert gates(BY_NAME["+3 % memory"], 3, seed=5)["found"] == 3


def test_the_machine_is_as_noisy_as_it_says():
    draw = np.random.default_rng(1)
    still = Machine((0, 0), (0, 0), memory=0, drift=0)
    costs = [session(draw, still, 20).cost("0 ttft_ms", BASE) for _ in range(200)]
    disturbed = np.array(costs) > 1
    assert 0.08 <= disturbed.mean() <= 0.12
    assert np.array(costs)[disturbed].min() >= 1.2 and np.max(costs) <= 1.5
    whole = disturbed.any(axis=2)
    assert (whole[:, 1:] & whole[:, :-1]).mean() > 1.5 * whole.mean() ** 2, "neighbours stay"


def test_a_change_makes_one_metric_of_the_candidate_worse():
    still = Machine((0, 0), (0, 0), memory=0, episode=(0, 0), drift=0)
    change = Change("2 decode_tok_s", 1.1)
    found = session(np.random.default_rng(1), still, 6, change)
    for name in found.costs:
        ratio = found.cost(name, CANDIDATE) / found.cost(name, BASE)
        assert ratio == pytest.approx(1.1 if name == change.metric else 1.0)
    paired = {one.name: one for one in found.paired(Rules())}
    assert len(paired) == 30 and sum(one.timing for one in paired.values()) == 24
    rate = paired[change.metric]
    assert rate.worse == -1 and rate.candidate[0] / rate.base[0] == pytest.approx(1 / 1.1)
    assert kind(change.metric) == "decode_tok_s"
