"""Token timelines: when each token of a request came, so that stalls show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from reports import numbers, svg
from reports.panels import Axis, Panels
from reports.plots import Plot
from reports.tables import Row, Table
from results import samples
from results.records import Record
from results.samples import Floats, Ints

#: Requests drawn per case. The one with the longest gap is always among them.
_LINES = 6

#: A gap is a stall where it is this many times the case's median one.
STALL = 3.0


@dataclass(frozen=True)
class Timeline:
    """One request: milliseconds from its submission to each of its tokens."""

    at_ms: Floats

    @property
    def gaps(self) -> Floats:
        return np.diff(self.at_ms)


@dataclass(frozen=True)
class Case:
    """One case's requests, the longest gap between two tokens, and what that is over the median."""

    row: Row
    shown: tuple[Timeline, ...]
    longest: Timeline
    gap_ms: float
    times: float

    @property
    def said(self) -> str:
        return f"longest gap {numbers.quantity(self.gap_ms, 'ms')}, {self.times:.1f}× usual"


def plot(table: Table, colors: Mapping[str, int]) -> Plot | None:
    """A panel per case of a task; None where no request gave two tokens."""
    found = [case for row in table.rows if (case := _case(row)) is not None]
    if not found:
        return None
    last = max(float(line.at_ms[-1]) for case in found for line in case.shown)
    most = max(len(line.at_ms) for case in found for line in case.shown)
    factor, unit = numbers.scale(last, "ms")
    drawn = Panels(
        [(case.row.name, case.said) for case in found],
        x=Axis(most + 0.5, "token"),
        y=Axis(last * factor * 1.04, f"{unit} since the request was made"),
    )
    for panel, case in enumerate(found):
        color = svg.series(colors[case.row.backend])
        for line in case.shown:
            drawn.line(panel, _points(line, factor), color, 0.9, 0.7)
        if case.times >= STALL:
            at = int(case.longest.gaps.argmax())
            drawn.line(panel, _points(case.longest, factor)[at : at + 2], svg.INK, 2.2)
    worst = max(found, key=lambda case: case.times)
    title = f"token timelines: {table.title}"
    return Plot(
        f"Token timelines: {worst.said} ({worst.row.name})",
        f"A line per request, at most {_LINES} per case, the slowest, the fastest and the one with "
        f"the longest gap included. A heavy stroke marks a gap of at least {STALL:g} times the "
        "usual one, the median of the case.",
        drawn.inline(
            f"{table.anchor}-tokens",
            title,
            "; ".join(f"{c.row.name}: {c.said}" for c in found),
        ),
    )


def _points(line: Timeline, factor: float) -> list[tuple[float, float]]:
    return [(number, at * factor) for number, at in enumerate(line.at_ms.tolist(), start=1)]


def _case(row: Row) -> Case | None:
    requests = [one for record in row.summary.evidence.ok if len((one := _Requests(record)).which)]
    if not requests:
        return None
    usual = float(np.median(np.concatenate([one.gaps for one in requests]))) / 1e6
    gaps = np.concatenate([one.longest for one in requests]) / 1e6
    if usual <= 0:
        return None
    ends = np.cumsum([len(one.which) for one in requests])

    def line(number: int) -> Timeline:
        of = int(np.searchsorted(ends, number, side="right"))
        return requests[of].line(number - int(ends[of]) + len(requests[of].which))

    worst = int(gaps.argmax())
    chosen = _some(np.concatenate([one.lasted for one in requests]), worst)
    return Case(
        row, tuple(map(line, chosen)), line(worst), float(gaps[worst]), float(gaps[worst]) / usual
    )


class _Requests:
    """The requests of a trial that count and gave two tokens: which they are, how long each lasted,
    its longest gap, and all gaps, in ns."""

    def __init__(self, record: Record) -> None:
        self._found = samples.of(record)
        self.which = np.flatnonzero(self._found.counted & (self._found.tokens > 1))
        self.lasted = (self._found.last_ns - self._found.submitted_ns)[self.which]
        self.gaps = self._found.gaps_ns()
        owned = np.concatenate(([0], np.cumsum(self._found.tokens[self.which] - 1)[:-1]))
        self.longest = np.maximum.reduceat(self.gaps, owned) if len(self.which) else self.lasted

    def line(self, number: int) -> Timeline:
        request = self.which[number]
        end = self._found.ends[request]
        stamps = self._found.token_ns[end - self._found.tokens[request] : end]
        return Timeline((stamps - self._found.submitted_ns[request]) / 1e6)


def _some(lasted: Ints, longest: int) -> list[int]:
    """All requests, or evenly spaced ones among those sorted by duration, and that with the longest
    gap."""
    if len(lasted) <= _LINES:
        return list(range(len(lasted)))
    ordered = np.argsort(lasted, kind="stable")
    evenly = np.linspace(0, len(ordered) - 1, _LINES - 1).round().astype(int)
    chosen = [int(number) for number in ordered[evenly]]
    return chosen if longest in chosen else [*chosen, longest]
