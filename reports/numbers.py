"""How numbers look, in one place: so that no two reports show one number in two ways.

Three significant digits, units a person reads (MB, not bytes; decimal prefixes), an interval on
the same scale and with the same decimals as its value, and a dash where there is no value.
"""

from __future__ import annotations

import math

from results.statistics import Estimate, Ratio

MISSING = "\N{EN DASH}"
_TIMES = "\N{MULTIPLICATION SIGN}"

#: Few trials give intervals over any number of magnitudes: no more of them is told.
_FAR = 100

#: Per unit: (smallest value shown this way, factor, shown unit), largest first.
_SCALES: dict[str, tuple[tuple[float, float, str], ...]] = {
    "s": ((1.0, 1.0, "s"), (0.0, 1e3, "ms")),
    "ms": ((1000.0, 1e-3, "s"), (0.1, 1.0, "ms"), (0.0, 1e3, "µs")),
    "bytes": ((1e9, 1e-9, "GB"), (1e6, 1e-6, "MB"), (1e3, 1e-3, "kB"), (0.0, 1.0, "B")),
    "ratio": ((0.0, 1.0, _TIMES),),
}


def scale(value: float, unit: str) -> tuple[float, str]:
    """The factor that brings `value` in `unit` to a readable size, and the unit it then has.

    Chosen after rounding to three digits: 999.7 ms is 1.00 s.
    """
    size = abs(float(f"{value:.3g}"))
    for smallest, factor, shown in _SCALES.get(unit, ((0.0, 1.0, unit),)):
        if size >= smallest:
            return factor, shown
    raise ValueError(f"not a number: {value!r}")


def quantity(value: float | None, unit: str) -> str:
    """`31.2 tok/s`, `612 MB`, `1.21 s`, or a dash."""
    if value is None:
        return MISSING
    factor, shown = scale(value, unit)
    return _with_unit(_digits(value * factor, _decimals(value * factor)), shown)


def interval(found: Estimate | Ratio | None, unit: str) -> str:
    """`[29.8, 32.7]` on the scale of the value; empty where there is no interval.

    A bound more than a factor of _FAR away says no more than that: `[<0.03, >316]`. Not where the
    interval holds zero: factors say nothing there.
    """
    if found is None or found.low is None or found.high is None:
        return ""
    factor, _ = scale(found.value, unit)
    value, low, high = (x * factor for x in (found.value, found.low, found.high))
    if low > 0:
        return f"[{_bound(low, value)}, {_bound(high, value)}]"
    decimals = _decimals(value)
    return f"[{_digits(low, decimals)}, {_digits(high, decimals)}]"


def with_interval(found: Estimate | None, unit: str) -> str:
    """`31.2 tok/s [29.8, 32.7]`; a single trial says that it is one."""
    if found is None:
        return MISSING
    return f"{quantity(found.value, unit)} {interval(found, unit) or '(one trial)'}"


def compact(found: Estimate | None, unit: str, *, show_unit: bool = True) -> str:
    """`31.2 tok/s ±5%`, for narrow tables; `±?` where one trial gives no interval."""
    if found is None:
        return MISSING
    text = quantity(found.value, unit)
    return f"{text if show_unit else text.split(' ')[0]} {spread(found)}"


def spread(found: Estimate) -> str:
    """The longer arm of the interval, as a share of the value."""
    if found.low is None or found.high is None or found.value == 0:
        return "±?"
    share = max(found.high - found.value, found.value - found.low) / abs(found.value) * 100
    if share >= 99.5:
        return "±>99%"
    return f"±{share:.1f}%" if 0.05 <= share < 0.95 else f"±{share:.0f}%"


def limit(budget_max: float | None, budget_min: float | None, unit: str) -> str:
    """A budget's limit: `at most 500 ms`."""
    parts = []
    if budget_min is not None:
        parts.append(f"at least {quantity(budget_min, unit)}")
    if budget_max is not None:
        parts.append(f"at most {quantity(budget_max, unit)}")
    return " and ".join(parts) or MISSING


def plain(value: float | None) -> str:
    """For CSV: the shortest text that reads back as the same number; empty for none."""
    if value is None:
        return ""
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(float(value))


def _decimals(value: float) -> int:
    """Decimals that give three significant digits, after rounding (9.999 is 10.0)."""
    if value == 0 or abs(value) > 1e300:  # rounding may carry it to infinity
        return 0
    exponent = math.floor(math.log10(abs(float(f"{value:.3g}"))))
    return min(max(0, 2 - exponent), 9)


def _bound(bound: float, value: float) -> str:
    """A positive bound of a positive value."""
    ends = value / _FAR, value * _FAR
    least, most = (_digits(x, min(_decimals(x), _decimals(value))) for x in ends)
    if bound < float(least):
        return f"<{least}"
    return f">{most}" if bound > float(most) else _digits(bound, _decimals(value))


def _digits(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _with_unit(digits: str, unit: str) -> str:
    return f"{digits}{unit}" if unit == _TIMES else f"{digits} {unit}"
