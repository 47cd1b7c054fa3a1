"""The view model of a history: what the terminal, HTML and CSV show of it, decided once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from reports import numbers
from reports.names import case_name, workload_title
from reports.untrusted import one_line
from results.history import Change, History, Series

_BARS = "▁▂▃▄▅▆▇█"

#: What is drawn spans at least this share of the value: noise must not look like a trend.
_LEAST_SPAN = 0.1

ADVICE = "Advice only, never a verdict: for a verdict run bakeoff gate."


@dataclass(frozen=True)
class ChangeLine:
    """One change of level, in words. `versions` is empty where the engine stayed the same."""

    when: str
    text: str
    versions: str
    worse: bool


@dataclass(frozen=True)
class Row:
    """One series. `advice` is set where the latest run is not what the earlier ones let expect."""

    name: str
    latest: str
    runs: int
    sparkline: str
    changes: tuple[ChangeLine, ...]
    expected: str
    advice: str
    lies: tuple[str, ...]
    series: Series


@dataclass(frozen=True)
class Block:
    """One metric of one task on one machine."""

    anchor: str
    title: str
    better: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Machine:
    fingerprint: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Report:
    title: str
    machines: tuple[Machine, ...]
    caveats: tuple[str, ...]

    @property
    def rows(self) -> tuple[Row, ...]:
        return tuple(r for m in self.machines for block in m.blocks for r in block.rows)


def build(history: History) -> Report:
    """Everything that is shown of a history."""
    machines: dict[str, dict[tuple[str, str], list[Series]]] = {}
    several = len({series.case.model for series in history.series}) > 1
    for series in history.series:
        case = series.case
        task = workload_title(case.measure, case.parameters)
        title = f"{case.model}: {task}" if several else task
        blocks = machines.setdefault(series.fingerprint, {})
        blocks.setdefault((one_line(title, 200), series.metric.name), []).append(series)
    days = sorted(point.at for series in history.series for point in series.points)
    span = f", {_day(days[0])} to {_day(days[-1])}" if days else ""
    counted = "1 run" if history.runs == 1 else f"{history.runs} runs"
    return Report(
        title=f"{counted}{span}",
        machines=tuple(
            Machine(
                one_line(fingerprint, 80),
                tuple(
                    _block(f"trend-{m}-{n}", task, found)
                    for n, ((task, _), found) in enumerate(blocks.items(), start=1)
                ),
            )
            for m, (fingerprint, blocks) in enumerate(machines.items(), start=1)
        ),
        caveats=tuple(one_line(caveat, 300) for caveat in history.caveats),
    )


def _block(anchor: str, task: str, found: Sequence[Series]) -> Block:
    metric = found[0].metric
    better = f"{metric.better} is better" if metric.better else ""
    return Block(anchor, f"{task} · {metric.title}", better, tuple(map(_row, found)))


def name(series: Series) -> str:
    """What a series is called: its case, or candidate against base."""
    case, base = series.case, series.base
    if base is None:
        return case_name(case)
    plain, other = (case_name(replace(one, arm="")) for one in (case, base))
    if plain == other:
        return f"{plain}: candidate / base"
    return f"{plain} / {other}"


def unit(series: Series) -> str:
    return "ratio" if series.base else series.metric.unit


def _row(series: Series) -> Row:
    last, expected = series.points[-1], series.expected
    shown, advice = "", ""
    if expected:
        shown = f"{_value(series, expected.low)} to {_value(series, expected.high)}"
    if series.surprising and expected:
        advice = (
            f"the latest run gave {_value(series, last.value)}; after {expected.earlier} earlier "
            f"ones {shown} was to be expected"
        )
    return Row(
        name=name(series),
        latest=_value(series, last.value),
        runs=len(series.points),
        sparkline=sparkline([point.value for point in series.points]),
        changes=tuple(_change(series, change) for change in series.changes),
        expected=shown,
        advice=advice,
        lies=tuple(one_line(check, 60) for check in last.failed_checks),
        series=series,
    )


def _change(series: Series, change: Change) -> ChangeLine:
    first, previous = series.points[change.at], series.points[change.at - 1]
    share = percent(change)
    text = f"{_value(series, change.before)} → {_value(series, change.after)}"
    versions = ""
    if first.version != previous.version:
        versions = f"{one_line(previous.version, 80)} → {one_line(first.version, 80)}"
    better = series.metric.better
    worse = better is not None and (change.after > change.before) == (better == "lower")
    return ChangeLine(_day(first.at), f"{text} ({share})" if share else text, versions, worse)


def percent(change: Change) -> str:
    """By how much a level changed; empty where that has no meaning."""
    if change.before <= 0:
        return ""
    share = (change.after / change.before - 1) * 100
    return f"{share:+.0f}%" if abs(share) >= 9.5 else f"{share:+.1f}%"


def sparkline(values: Sequence[float], most: int = 20) -> str:
    """The latest values as bars."""
    shown = list(values[-most:])
    low, high = span(shown)
    step = (high - low) / len(_BARS)
    return "".join(_BARS[min(7, int((v - low) / step))] if step else _BARS[3] for v in shown)


def span(values: Sequence[float]) -> tuple[float, float]:
    """Lowest and highest, not so close that noise fills the space between."""
    low, high = min(values), max(values)
    least = _LEAST_SPAN * max(abs(low), abs(high))
    if high - low >= least:
        return low, high
    middle = (low + high) / 2
    return middle - least / 2, middle + least / 2


def _value(series: Series, value: float) -> str:
    return numbers.quantity(value, unit(series))


def _day(at: datetime) -> str:
    return f"{at:%Y-%m-%d}"
