import pytest

from reports import numbers
from results.statistics import GEOMETRIC, Estimate, estimate


def _estimate(value, low=None, high=None):
    return Estimate(value, low, high, 1 if low is None else 3, 0.95, GEOMETRIC)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (31.21, "tok/s", "31.2 tok/s"),
        (9.999, "tok/s", "10.0 tok/s"),
        (1234.5, "tok/s", "1234 tok/s"),
        (0, "tok/s", "0 tok/s"),
        (0.5, "s", "500 ms"),
        (1.2149, "s", "1.21 s"),
        (23.14, "ms", "23.1 ms"),
        (1500, "ms", "1.50 s"),
        (999.4, "ms", "999 ms"),
        (999.7, "ms", "1.00 s"),
        (0.9997, "s", "1.00 s"),
        (0.09996, "ms", "0.100 ms"),
        (999_960_000, "bytes", "1.00 GB"),
        (0.0123, "ms", "12.3 µs"),
        (612_400_000, "bytes", "612 MB"),
        (1_234_000_000, "bytes", "1.23 GB"),
        (12, "bytes", "12.0 B"),
        (1.5, "ratio", "1.50\N{MULTIPLICATION SIGN}"),
        (None, "ms", "\N{EN DASH}"),
    ],
)
def test_a_quantity_has_three_digits_and_a_unit_people_read(value, unit, text):
    assert numbers.quantity(value, unit) == text


def test_an_interval_has_the_scale_and_decimals_of_its_value():
    found = _estimate(31.24, 29.81, 32.66)
    assert numbers.with_interval(found, "tok/s") == "31.2 tok/s [29.8, 32.7]"
    assert numbers.with_interval(_estimate(0.99, 0.9, 1.2), "s") == "990 ms [900, 1200]"
    assert numbers.with_interval(_estimate(5e8, 4.9e8, 1.1e9), "bytes") == "500 MB [490, 1100]"


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (3.16, 1e-6, 7_130_210.77, "[<0.03, >316]"),
        (3.16, 0.0316, 316, "[0.03, 316.00]"),
        (999, 9.9, 1e300, "[<10, >99900]"),
        (1.7e308, 1.7e308, 1.7e308, f"[{1.7e308:.0f}, {1.7e308:.0f}]"),
        (3, -1000, 1006, "[-1000.00, 1006.00]"),
    ],
)
def test_a_bound_that_says_nothing_is_no_row_of_digits_and_no_zero(value, low, high, text):
    assert numbers.interval(_estimate(value, low, high), "tok/s") == text


def test_two_wildly_different_trials_have_a_short_interval():
    assert numbers.with_interval(estimate([1, 10]), "s") == "3.16 s [<0.03, >316]"


def test_one_trial_is_said_to_be_one():
    assert numbers.with_interval(_estimate(31.2), "tok/s") == "31.2 tok/s (one trial)"
    assert numbers.compact(_estimate(31.2), "tok/s") == "31.2 tok/s ±?"
    assert numbers.interval(_estimate(31.2), "tok/s") == ""


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (97, 103, "±3%"),
        (99.6, 100.4, "±0.4%"),
        (100, 100, "±0%"),
        (50, 200, "±>99%"),
        (90, 105, "±10%"),
    ],
)
def test_the_compact_spread_is_the_longer_arm(low, high, text):
    assert numbers.spread(_estimate(100, low, high)) == text


def test_a_rounded_zero_has_no_sign():
    assert numbers.interval(_estimate(100, -0.2, 200), "tok/s") == "[0, 200]"


def test_limits_and_plain_numbers():
    assert numbers.limit(500, None, "ms") == "at most 500 ms"
    assert numbers.limit(2, 1, "s") == "at least 1.00 s and at most 2.00 s"
    assert [numbers.plain(v) for v in (None, 3.0, 0.1)] == ["", "3", "0.1"]
