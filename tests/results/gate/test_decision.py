import math
import random

import pytest

from results.gate.decision import Alpha, finished, judge, spent
from results.gate.judged import Judged, Paired
from results.gate.rules import Looks, Margin

LOOKS = Looks()
TIMING = Margin(0.01, 0.05)
MEMORY = Margin(0.01, 0.02)


def noisy(name, blocks, ratio=1.0, noise=0.01, worse=1, seed=0):
    """A timing (or a rate) on a machine whose level wanders by tens of percent."""
    draw = random.Random(f"{name} {seed}")
    base, candidate = [], []
    for _ in range(blocks):
        level = 100 * math.exp(draw.gauss(0, 0.2))
        base.append(level * math.exp(draw.gauss(0, noise)))
        candidate.append(level * ratio * math.exp(draw.gauss(0, noise)))
    return Paired(name, tuple(base), tuple(candidate), worse, True, TIMING)


def constant(name, blocks, ratio=1.0, timing=False, margin=MEMORY):
    base = (1.5e9,) * blocks
    return Paired(name, base, tuple(ratio * v for v in base), 1, timing, margin)


def family(blocks, *others):
    return [*others, *(noisy(f"other {i}", blocks) for i in range(30 - len(others)))]


def only(metric, **options):
    return judge([metric], LOOKS, **options)[0]


@pytest.mark.parametrize("blocks", [10, 20])
@pytest.mark.parametrize(("ratio", "worse"), [(1.1, 1), (1 / 1.1, -1)])
def test_a_clear_loss_is_named_among_thirty_metrics(blocks, ratio, worse):
    judged = judge(family(blocks, noisy("hit", blocks, ratio, worse=worse)), LOOKS)
    assert [j.name for j in judged if j.verdict == "regressed"] == ["hit"]
    hit = judged[0]
    assert hit.p_regressed <= 0.025 and hit.p_pass > 0.5 and not hit.slow_mode
    assert hit.low < hit.ratio < hit.high
    assert hit.ratio == pytest.approx(ratio, rel=0.02) and hit.low < ratio < hit.high


@pytest.mark.parametrize(("ratio", "worse"), [(1.1, -1), (1 / 1.1, 1)])
def test_a_gain_passes(ratio, worse):
    assert only(noisy("won", 10, ratio, worse=worse)).verdict == "pass"


def test_memory_that_is_always_three_percent_more_is_found_and_equal_memory_passes():
    judged = judge(family(10, constant("more", 10, 1.03), constant("same", 10)), LOOKS)
    assert [j.verdict for j in judged[:2]] == ["regressed", "pass"]
    assert judged[0].ratio == pytest.approx(1.03)
    assert judged[0].low == pytest.approx(1.03) and judged[0].high == pytest.approx(1.03)
    assert sum(j.verdict == "regressed" for j in judged) == 1


@pytest.mark.parametrize("timing", [True, False])
def test_equal_values_pass_at_the_first_look(timing):
    same = only(constant("same", 6, timing=timing))
    assert (same.verdict, same.p_pass, same.p_regressed) == ("pass", 1 / 64, 1.0)
    assert same.ratio == pytest.approx(1) and same.low == same.high == pytest.approx(1)


def test_nearly_equal_memory_passes_at_the_first_look():
    draw = random.Random(1)
    values = [tuple(1e9 * math.exp(draw.gauss(0, 0.001)) for _ in range(6)) for _ in range(2)]
    assert only(Paired("peak", *values, 1, False, MEMORY)).verdict == "pass"


@pytest.mark.parametrize("ratio", [1.01, 1 / 1.01])
def test_exactly_what_may_be_ignored_is_no_regression(ratio):
    for one in judge([constant("a", 10, ratio), constant("b", 10, ratio, timing=True)], LOOKS):
        assert one.verdict == "pass" and math.isfinite(one.p_regressed)


def test_surely_slower_by_less_than_what_matters_passes():
    slower = only(constant("slower", 10, 1.03, timing=True, margin=TIMING))
    assert slower.p_regressed <= 0.025 and slower.verdict == "pass"


@pytest.mark.parametrize("blocks", [0, 1, 2, 3, 4])
def test_too_few_blocks_are_inconclusive_whatever_they_show(blocks):
    for ratio in (1.0, 2.0):
        found = only(constant("a", blocks, ratio))
        assert (found.verdict, found.low, found.high) == ("inconclusive", None, None)
        assert found.blocks == blocks
        assert math.isnan(found.ratio) if blocks == 0 else found.ratio == pytest.approx(ratio)


@pytest.mark.parametrize("blocks", [5, 6, 8, 9])
def test_below_ten_blocks_nothing_regresses(blocks):
    assert only(constant("a", blocks, 2.0)).verdict == "inconclusive"


def test_between_looks_there_is_an_interval_and_a_pass():
    found = judge([constant("same", 8), noisy("hit", 8, 1.5)], LOOKS)
    assert [j.verdict for j in found] == ["pass", "inconclusive"]
    assert found[1].low is not None and found[1].low > 1.3


def test_what_each_look_may_spend():
    assert spent(LOOKS, 4) == Alpha(0.0, 0.0)
    assert spent(LOOKS, 6) == spent(LOOKS, 8) == Alpha(0.0, 0.05 / 3)
    assert spent(LOOKS, 10) == spent(LOOKS, 15) == spent(LOOKS, 20) == Alpha(0.025, 0.05 / 3)
    assert spent(Looks(blocks=(6,)), 6) == Alpha(0.0, 0.05)


def test_some_slow_processes_are_a_slow_mode():
    draw = random.Random(2)
    base, calm = ([100 * math.exp(draw.gauss(0, 0.01)) for _ in range(20)] for _ in range(2))
    slow = tuple(v * (1.5 if i % 3 == 0 else 1) for i, v in enumerate(calm))
    found = only(Paired("modes", tuple(base), slow, 1, True, TIMING))
    assert (found.verdict, found.slow_mode) == ("regressed", True)
    assert found.ratio == pytest.approx(1, abs=0.02)
    memory = only(Paired("modes", tuple(base), slow, 1, False, TIMING))
    assert memory.verdict != "regressed", "only timings have slow modes"


def test_slow_processes_keep_a_timing_from_passing():
    base = (100.0, 101.0, 99.0, 100.5, 99.5, 100.2)
    slow = (*base[:5], 140.0)
    assert only(Paired("a", base, base, 1, True, TIMING)).verdict == "pass"
    assert only(Paired("a", base, slow, 1, True, TIMING)).verdict == "inconclusive"


def test_a_verdict_stays_and_estimates_move_on():
    passed = only(constant("a", 6))
    worse = constant("a", 10, 1.5)
    later = only(worse, earlier={"a": passed})
    assert (later.verdict, later.p_pass, later.blocks) == ("pass", passed.p_pass, 10)
    assert later.ratio == pytest.approx(1.5)
    open_ = only(constant("a", 4))
    assert only(worse, earlier={"a": open_}).verdict == "regressed"
    assert only(constant("a", 20), earlier={"a": only(worse)}).verdict == "regressed"


def test_different_numbers_of_blocks_are_families_that_share_alpha():
    full, short, shorter = noisy("a", 10, 1.03), noisy("b", 11, 1.03), noisy("c", 8, 2.0)
    alone, together = only(full), judge([full, short], LOOKS)
    assert together[0].p_regressed == pytest.approx(min(1, 2 * alone.p_regressed))
    assert [j.blocks for j in judge([short, shorter, full], LOOKS)] == [11, 8, 10]
    assert judge([full, shorter], LOOKS)[0].p_regressed == alone.p_regressed


def test_the_same_seed_judges_the_same():
    metrics = family(20, noisy("hit", 20, 1.04))
    assert judge(metrics, LOOKS, seed=3) == judge(metrics, LOOKS, seed=3)
    bare = judge(metrics, LOOKS, seed=3, intervals=False)
    assert {(j.low, j.high) for j in bare} == {(None, None)}
    assert [j.verdict for j in bare] == [j.verdict for j in judge(metrics, LOOKS, seed=3)]


def said(verdict):
    return Judged("a", verdict, 10, 1.0, 0.9, 1.1, 1.0, 1.0)


def test_a_gate_stops_when_one_regressed_or_all_pass_or_looks_end():
    mixed = [said("pass"), said("inconclusive")]
    assert not finished(mixed, LOOKS, 6)
    assert finished(mixed, LOOKS, 20) and finished(mixed, LOOKS, 21)
    assert finished([*mixed, said("regressed")], LOOKS, 10)
    assert finished([said("pass")] * 2, LOOKS, 6)
    assert not finished([], LOOKS, 6)


@pytest.mark.parametrize(
    ("base", "candidate", "why"),
    [
        ((1.0, 2.0), (1.0,), "different numbers"),
        ((1.0, 0.0), (1.0, 1.0), "above zero"),
        ((1.0, 1.0), (1.0, math.nan), "finite"),
    ],
)
def test_what_is_no_pair_of_arms_is_refused(base, candidate, why):
    with pytest.raises(ValueError, match=why):
        only(Paired("a", base, candidate, 1, True, TIMING))


def test_names_are_unique():
    with pytest.raises(ValueError, match="two metrics"):
        judge([constant("a", 6), constant("a", 6)], LOOKS)
    assert judge([], LOOKS) == ()
