"""How numbers went over many runs: per machine, case and metric one value per run, in order of time.

Runs on machines with another fingerprint are never in one series. Where a run holds a base and a
candidate of one task (a gate), their ratio is a series of its own: both saw the same machine in the
same minutes, so most of its drift cancels. Where their certificate refuses it, it is left out and said.

A change point is a place from which on values lie on another level, found by PELT with l1 costs on
logarithms, in units of how much they differ from run to run. What a further run is expected to give
is a Student-t prediction interval. Both are advice, never a verdict.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import median

from results import arms, metrics, statistics, store
from results.certificate import certify
from results.comparison import HEADLINES
from results.gate import family
from results.metrics import Metric
from results.records import Case
from results.store import Run, StoreError
from results.summary import NO_TASK, CaseSummary, summarise

#: A level holds at least so many runs.
MIN_SIZE = 4

#: Changes are looked for in the latest runs only: the search takes time with the square of them.
LOOK_BACK = 200

#: How many earlier runs on the current level an expectation takes.
MIN_EARLIER = 10

#: Differences from run to run below this share are not told from none.
_FLOOR = 0.001


@dataclass(frozen=True)
class Point:
    """What one run gave: the mean over its trials as in its report, or a ratio of two such.

    `at` is when the run was made. `failed_checks` are what an audit caught the arm doing, and a fault
    in fidelity (`Evidence.broken`).
    """

    run: str
    at: datetime
    value: float
    trials: int
    version: str
    failed_checks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Change:
    """Points from index `at` on lie on another level; levels are medians."""

    at: int
    before: float
    after: float


@dataclass(frozen=True)
class Expected:
    """Where the latest point was to be expected after `earlier` runs on its level."""

    low: float
    high: float
    level: float
    earlier: int


@dataclass(frozen=True)
class Series:
    """One metric of one case on one machine. With `base`, values are `case` / `base`."""

    fingerprint: str
    case: Case
    base: Case | None
    metric: Metric
    points: tuple[Point, ...]
    changes: tuple[Change, ...]
    expected: Expected | None

    @property
    def surprising(self) -> bool:
        """Whether the latest point lies outside of what was expected."""
        last = self.points[-1].value
        return self.expected is not None and not self.expected.low <= last <= self.expected.high


@dataclass(frozen=True)
class History:
    """`runs` were read; `caveats` say what was left out, and why."""

    runs: int
    series: tuple[Series, ...]
    caveats: tuple[str, ...]


def collect(places: Sequence[Path], wanted: Sequence[str] = ()) -> History:
    """The history of all runs in these folders, each a run or a folder of runs.

    `wanted` names metrics; none means those that comparisons are about. A run that can't be read is
    left out with a caveat. Raises StoreError where there is no run at all.
    """
    caveats: list[str] = []
    found: dict[tuple[str, str, str, str], tuple[Case, Case | None, list[Point]]] = {}
    seen: dict[str, Path] = {}
    refused: Refused = {}
    for folder in _runs(places):
        try:
            run = store.read(folder)
            at = _moment(run.info.created_at)
        except (StoreError, ValueError) as error:
            caveats.append(f"{folder} was left out: {error}")
            continue
        if run.info.id in seen:
            caveats.append(f"{folder} was left out: it is the run that {seen[run.info.id]} is")
            continue
        seen[run.info.id] = folder
        for case, base, metric, point in _observed(run, at, wanted, refused):
            key = (run.info.fingerprint, case.key, base.key if base else "", metric)
            found.setdefault(key, (case, base, []))[2].append(point)
    if not seen:
        raise StoreError("; ".join(caveats) or f"no run in {', '.join(map(str, places))}")
    series = (
        _series(fingerprint, case, base, metrics.METRICS[metric], points)
        for (fingerprint, _, _, metric), (case, base, points) in found.items()
    )
    caveats += (_left_out(pair, why, runs) for (pair, why), runs in refused.items())
    return History(len(seen), tuple(sorted(series, key=_order)), tuple(caveats))


def _runs(places: Sequence[Path]) -> Iterator[Path]:
    for place in places:
        if (place / "run.json").is_file():
            yield place
        elif place.is_dir():
            yield from sorted(p for p in place.iterdir() if (p / "run.json").is_file())
        else:
            raise StoreError(f"{place} is neither a run nor a folder of runs")


def _moment(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"its run.json does not say when it was made: {error}") from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


Observed = tuple[Case, Case | None, str, Point]

#: By pair and reason, the runs whose certificate refuses its ratio.
Refused = dict[tuple[str, str], list[str]]


def _observed(
    run: Run, at: datetime, wanted: Sequence[str], refused: Refused
) -> Iterator[Observed]:
    summaries = [s for s in summarise(run) if s.case.measure not in NO_TASK]
    for summary in summaries:
        for name in _metrics(summary, wanted):
            estimate = summary.estimates[name]
            point = Point(
                run.info.id, at, estimate.value, estimate.n, _version(summary), _caught(summary)
            )
            yield summary.case, None, name, point
    for candidate, base in _pairs(summaries):
        certificate = certify(candidate, base)
        if certificate.grade == "refused":
            pair = f"{family.task(candidate.case)}: candidate / base"
            refused.setdefault((pair, "; ".join(certificate.reasons)), []).append(run.info.id)
            continue
        for name in _metrics(candidate, wanted):
            ratio = statistics.ratio(candidate.values[name], base.values.get(name, ()))
            if ratio is not None:
                version = f"{_version(candidate)} / {_version(base)}"
                caught = (*_caught(candidate), *_caught(base))
                trials = min(len(candidate.values[name]), len(base.values[name]))
                point = Point(run.info.id, at, ratio.value, trials, version, caught)
                yield candidate.case, base.case, name, point


def _left_out(pair: str, why: str, runs: Sequence[str]) -> str:
    which = runs[0] if len(runs) == 1 else f"{len(runs)} runs, {runs[-1]} for one"
    return f"the ratio {pair} was left out of {which}, not comparable: {why}"


def _metrics(summary: CaseSummary, wanted: Sequence[str]) -> Iterator[str]:
    names = wanted or HEADLINES.get(summary.case.measure, ())
    return (name for name in names if name in summary.estimates)


def _pairs(summaries: Sequence[CaseSummary]) -> Iterator[tuple[CaseSummary, CaseSummary]]:
    """Candidate and base of each task that a gate ran: those that are the only ones of their task."""
    tasks: dict[str, dict[str, list[CaseSummary]]] = {}
    for summary in summaries:
        if summary.case.arm:
            by_arm = tasks.setdefault(_task(summary.case), {})
            by_arm.setdefault(summary.case.arm, []).append(summary)
    for by_arm in tasks.values():
        candidates, bases = by_arm.get("candidate", []), by_arm.get("base", [])
        if len(candidates) == len(bases) == 1:
            yield candidates[0], bases[0]


def _task(case: Case) -> str:
    """The same for all cases that were given the same to do."""
    return json.dumps([case.model, case.measure, case.parameters], sort_keys=True)


def _version(summary: CaseSummary) -> str:
    return " / ".join(dict.fromkeys(e.version or "unknown" for e in summary.engines))


def _caught(summary: CaseSummary) -> tuple[str, ...]:
    return tuple(name for name, _ in summary.evidence.broken)


def _order(series: Series) -> tuple[object, ...]:
    case = series.case
    listed = list(metrics.METRICS)
    return (
        series.fingerprint, case.model, case.measure, _task(case),
        listed.index(series.metric.name), series.base is None, arms.arm(case), case.key,
    )  # fmt: skip


def _series(
    fingerprint: str, case: Case, base: Case | None, metric: Metric, points: Iterable[Point]
) -> Series:
    ordered = tuple(sorted(points, key=lambda point: (point.at, point.run)))
    values = [point.value for point in ordered]
    changes = find_changes(values)
    level = values[changes[-1].at if changes else 0 :]
    return Series(fingerprint, case, base, metric, ordered, changes, expect(level[:-1]))


def find_changes(values: Sequence[float]) -> tuple[Change, ...]:
    """Where the level of the values changes, among the latest `LOOK_BACK`."""
    skipped = max(0, len(values) - LOOK_BACK)
    latest = values[skipped:]
    n = len(latest)
    if n < 2 * MIN_SIZE:
        return ()
    positive = min(latest) > 0
    signal = [math.log(v) for v in latest] if positive else list(latest)
    floor = _FLOOR if positive else _FLOOR * max(map(abs, latest))
    # The deviation of steps, not of values: a change of level must not widen its own yardstick.
    steps = [after - before for before, after in pairwise(signal)]
    middle = median(steps)
    spread = 1.4826 * median(abs(step - middle) for step in steps) / math.sqrt(2)
    if max(spread, floor) == 0:
        return ()
    import numpy as np
    import ruptures  # type: ignore[import-untyped]

    scaled = np.array(signal) / max(spread, floor)
    found = ruptures.Pelt(model="l1", min_size=MIN_SIZE, jump=1).fit(scaled)
    ends = [skipped + end for end in found.predict(pen=3 * math.log(n))]
    starts = [0, *ends[:-1]]
    levels = [median(values[a:b]) for a, b in zip(starts, ends, strict=True)]
    return tuple(
        Change(at, before, after)
        for at, (before, after) in zip(starts[1:], pairwise(levels), strict=True)
    )


def expect(earlier: Sequence[float], level: float = statistics.LEVEL) -> Expected | None:
    """Where one more value is to be expected; None after fewer than `MIN_EARLIER`."""
    n = len(earlier)
    if n < MIN_EARLIER:
        return None
    from scipy.special import stdtrit

    positive = min(earlier) > 0
    data = [math.log(v) for v in earlier] if positive else list(earlier)
    mean = math.fsum(data) / n
    variance = math.fsum((v - mean) ** 2 for v in data) / (n - 1)
    half = float(stdtrit(n - 1, (1 + level) / 2)) * math.sqrt(variance * (1 + 1 / n))
    half = max(half, _FLOOR if positive else _FLOOR * max(map(abs, data)))
    low, high = mean - half, mean + half
    return Expected(*((math.exp(low), math.exp(high)) if positive else (low, high)), level, n)
