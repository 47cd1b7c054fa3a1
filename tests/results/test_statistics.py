import math

import pytest

from results.statistics import ARITHMETIC, GEOMETRIC, estimate


def test_positive_values_give_the_geometric_mean_with_a_t_interval_on_logs():
    found = estimate([10.0, 20.0, 40.0])
    half = 4.302652729911275 * math.log(2) / math.sqrt(3)
    assert found.value == pytest.approx(20)
    assert found.low == pytest.approx(20 * math.exp(-half))
    assert found.high == pytest.approx(20 * math.exp(half))
    assert (found.n, found.level, found.method) == (3, 0.95, GEOMETRIC)


@pytest.mark.parametrize("values", [[0.0, 1.0, 2.0], [-1.0, 1.0, 3.0]])
def test_a_value_of_zero_or_less_makes_the_mean_arithmetic(values):
    found = estimate(values)
    assert found.method == ARITHMETIC
    assert found.value == pytest.approx(sum(values) / 3)
    assert found.high - found.value == pytest.approx(found.value - found.low)


@pytest.mark.parametrize("value", [3.5, 0.0])
def test_one_trial_has_no_interval(value):
    found = estimate([value])
    assert (found.value, found.low, found.high, found.n) == (value, None, None, 1)


def test_equal_values_give_an_interval_of_no_width():
    found = estimate([100.0, 100.0, 100.0])
    assert found.value == 100.0
    assert found.low == pytest.approx(100) and found.high == pytest.approx(100)


def test_two_wildly_different_trials_do_not_overflow():
    found = estimate([1e-300, 1e300])
    assert math.isfinite(found.high)


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_nothing_and_non_finite_values_are_refused(values):
    with pytest.raises(ValueError):
        estimate(values)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    import random

    draw = random.Random(4)
    hits = 0
    for _ in range(2000):
        found = estimate([math.exp(draw.gauss(1.0, 0.1)) for _ in range(5)])
        hits += found.low <= math.e <= found.high
    assert 0.935 <= hits / 2000 <= 0.965
