import itertools

import numpy as np
import pytest
from scipy import stats

from results.gate import swaps

STATISTICS = [swaps.of_all, swaps.of_fastest, swaps.of_typical]


def arms(blocks, metrics=1, change=0.0, seed=0, noise=0.03):
    draw = np.random.default_rng(seed)
    shared = draw.normal(0, 0.2, blocks)
    base, candidate = (shared + draw.normal(0, noise, (metrics, blocks)) for _ in range(2))
    return base, candidate + change


def by_hand(base, candidate, statistic):
    """The statistic under every swap there is, one by one."""
    found = []
    for coin in itertools.product([False, True], repeat=len(base)):
        a, b = np.where(coin, candidate, base), np.where(coin, base, candidate)
        found.append(statistic(a, b))
    return np.array(found)


def mean_of_fastest(values):
    return np.mean(np.sort(values)[: round(0.6 * len(values))])


def fastest(a, b):
    tie = swaps.TIE_BREAK
    return (1 - tie) * (mean_of_fastest(b) - mean_of_fastest(a)) + tie * np.mean(b - a)


def plain(a, b):
    return np.mean(b) - np.mean(a)


def test_few_blocks_are_swapped_in_every_way_and_many_in_drawn_ways():
    few = swaps.coins(6, seed=1)
    every = {tuple(row) for row in np.concatenate([few, ~few])}
    assert len(few) == 32 and len(every) == 64
    many = swaps.coins(20, seed=1)
    assert many.shape == (2048, 20)
    assert not few[0].any() and not many[0].any()
    assert (many == swaps.coins(20, seed=1)).all() and (many != swaps.coins(20, seed=2)).any()


@pytest.mark.parametrize("blocks", [1, 2, 5, 6, 10])
@pytest.mark.parametrize(("ours", "hand"), [(swaps.of_all, plain), (swaps.of_fastest, fastest)])
def test_all_at_once_is_the_same_as_swap_by_swap(blocks, ours, hand):
    base, candidate = arms(blocks, change=0.02)
    found = ours(base, candidate, swaps.coins(blocks, 0))[0]
    expected = by_hand(base[0], candidate[0], hand)
    assert found[0] == pytest.approx(hand(base[0], candidate[0]))
    np.testing.assert_allclose(np.sort([*found, *-found]), np.sort(expected), atol=1e-12)


@pytest.mark.parametrize(("ours", "hand"), [(swaps.of_all, plain), (swaps.of_fastest, fastest)])
def test_the_p_value_is_that_of_scipys_permutation_test(ours, hand):
    base, candidate = arms(8, change=0.03)
    there = stats.permutation_test(
        (base[0], candidate[0]), hand, permutation_type="samples", alternative="greater"
    )
    # scipy's alternative is for hand(base, candidate), which grows with the candidate.
    here = swaps.p_values(ours(base, candidate, swaps.coins(8, 0)))[0]
    assert here == pytest.approx(there.pvalue)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_swapping_all_blocks_negates_and_a_common_factor_shifts_nothing(statistic):
    base, candidate = arms(9, metrics=3, change=0.02)
    coins = swaps.coins(9, 0)
    found = statistic(base, candidate, coins)
    np.testing.assert_allclose(statistic(candidate, base, coins), -found, atol=1e-15)
    np.testing.assert_allclose(statistic(base + 5, candidate + 5, coins), found, atol=1e-12)


def test_the_fastest_are_not_moved_by_slow_processes_but_the_mean_is():
    base, candidate = arms(10, change=0.0)
    slower = candidate.copy()
    slower[0, np.argsort(candidate[0])[6:]] += 0.4
    coins = swaps.coins(10, 0)[:1]
    moved = {
        s.__name__: float((s(base, slower, coins) - s(base, candidate, coins))[0, 0])
        for s in (swaps.of_fastest, swaps.of_all)
    }
    assert moved["of_fastest"] == pytest.approx(0, abs=1e-6)
    assert moved["of_all"] == pytest.approx(0.16)


def test_a_block_that_a_neighbour_upset_does_not_hide_what_the_others_say():
    base, candidate = np.zeros((1, 10)), np.full((1, 10), 0.03) + np.linspace(0, 0.005, 10)
    candidate[0, 4] = -0.5
    coins = swaps.coins(10, 0)
    assert swaps.p_values(swaps.of_all(base, candidate, coins))[0] > 0.4
    assert swaps.p_values(swaps.of_typical(base, candidate, coins))[0] == pytest.approx(2 / 1024)


def test_a_slow_block_of_both_arms_does_not_cost_the_smallest_p_value():
    base, candidate = np.zeros((1, 6)), np.full((1, 6), -0.05)
    base[0, 2] = candidate[0, 2] = 0.3
    candidate[0, 2] -= 0.05
    assert swaps.p_values(swaps.of_fastest(candidate, base, swaps.coins(6, 0)))[0] == 1 / 64


@pytest.mark.parametrize("statistic", STATISTICS)
def test_equal_arms_give_one_and_a_drawn_p_is_never_zero(statistic):
    same = np.full((1, 8), 3.0)
    assert swaps.p_values(statistic(same, same, swaps.coins(8, 0)))[0] == 1
    base, candidate = arms(20, change=2.0)
    assert swaps.p_values(statistic(base, candidate, swaps.coins(20, 0)))[0] == 1 / 4096


def family(base, candidate, blocks):
    return swaps.standardise(swaps.of_all(base, candidate, swaps.coins(blocks, 0)))


def test_a_family_of_one_is_the_test_itself_and_repeating_it_costs_nothing():
    base, candidate = arms(10, change=0.02)
    found = family(base, candidate, 10)
    alone = swaps.p_values(found)[0]
    assert swaps.family_wise(found)[0] == alone
    assert swaps.family_wise(np.repeat(found, 5, axis=0)) == pytest.approx([alone] * 5)


def test_the_family_is_stepped_down_from_the_clearest():
    base, candidate = arms(10, metrics=4)
    candidate[0] += 0.05
    candidate[2] += 0.5
    found = family(base, candidate, 10)
    both = np.concatenate([found, -found], axis=1)
    order = [2, 0, *sorted((1, 3), key=lambda i: -found[i, 0])]
    expected = {}
    for step, member in enumerate(order):
        rest = both[order[step:]].max(axis=0)
        p = np.mean(rest >= found[member, 0] - 1e-9)
        expected[member] = max([p, *expected.values()])
    assert swaps.family_wise(found) == pytest.approx([expected[i] for i in range(4)])
    assert (swaps.family_wise(found) >= swaps.p_values(found) - 1e-12).all()


def test_identical_families_are_rarely_rejected():
    hits = sum(
        swaps.family_wise(family(*arms(8, metrics=12, seed=seed), 8)).min() <= 0.05
        for seed in range(400)
    )
    assert hits / 400 <= 0.075


def test_an_interval_ends_where_the_test_begins_to_reject():
    base, candidate = arms(10, metrics=5, change=0.04)
    coins = swaps.coins(10, 0)
    lows, highs = swaps.intervals(base, candidate, coins, 0.90)
    estimate = swaps.of_fastest(base, candidate, coins[:1])[:, 0]
    assert (lows < estimate).all() and (estimate < highs).all()

    def p(shift, worse):
        found = swaps.of_fastest(base, candidate - shift[:, None], coins)
        return swaps.p_values(found if worse else -found)

    step = 2e-4
    assert (p(lows + 1e-9, True) > 0.05).all() and (p(lows - step, True) <= 0.05).all()
    assert (p(highs - 1e-9, False) > 0.05).all() and (p(highs + step, False) <= 0.05).all()


@pytest.mark.parametrize("blocks", [5, 6, 20])
def test_a_constant_difference_has_an_interval_of_no_width(blocks):
    base = np.linspace(0, 1, blocks)[None]
    lows, highs = swaps.intervals(base, base + 0.25, swaps.coins(blocks, 0), 0.90)
    assert lows[0] == pytest.approx(0.25, abs=1e-3) and highs[0] == pytest.approx(0.25, abs=1e-3)


@pytest.mark.parametrize("blocks", [6, 20])
def test_intervals_cover_the_truth_as_often_as_they_say(blocks):
    base, candidate = arms(blocks, metrics=600, change=0.1, seed=3)
    lows, highs = swaps.intervals(base, candidate, swaps.coins(blocks, 0), 0.90)
    assert 0.86 <= np.mean((lows <= 0.1) & (highs >= 0.1)) <= 0.97
