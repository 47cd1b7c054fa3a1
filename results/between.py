"""Two runs side by side: described, never judged by their timings.

They are of two sessions: between them the machine may have changed by more than any regression. So a
ratio is shown where both were measured on one machine, and no verdict comes from it; what is
deterministic is compared exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from results import baseline, fixed
from results.certificate import Certificate, certify
from results.comparison import HEADLINES
from results.fixed import identity
from results.gate import exact
from results.gate.family import named
from results.gate.outcome import Exact
from results.gate.rules import EXACT
from results.metrics import METRICS, Metric
from results.records import Case
from results.statistics import Estimate, Ratio, ratio
from results.store import Run
from results.summary import NO_TASK, CaseSummary, summarise

SESSIONS = (
    "two sessions: the machine may have changed between them; "
    "for a verdict run both in one: bakeoff gate"
)


@dataclass(frozen=True)
class Line:
    """One metric of one case in both runs. `ratio` is second / first, None where it would mislead.

    `case` is the first run's.
    """

    case: Case
    metric: Metric
    first: Estimate | None
    second: Estimate | None
    ratio: Ratio | None
    certificate: Certificate
    why: str


@dataclass(frozen=True)
class Between:
    """`machines` says how the hosts differ; empty where it is one machine. `only_first` and
    `only_second` are cases that one run alone has. `cases` are those of both runs, and `tasks` says by
    `identity` what they are called."""

    first: str
    second: str
    machines: tuple[str, ...]
    lines: tuple[Line, ...]
    exact: tuple[Exact, ...]
    only_first: tuple[Case, ...]
    only_second: tuple[Case, ...]
    cases: tuple[Case, ...]
    tasks: Mapping[str, str]

    def task(self, case: Case) -> str:
        return self.tasks[identity(case)]


def compare(first: Run, second: Run) -> Between:
    """Cases are matched by model, backend, artifact, settings and task; the only case of a task in
    each run is matched too, whatever engine ran it."""
    machines: tuple[str, ...] = ()
    if first.info.fingerprint != second.info.fingerprint:
        said = baseline.differences(first.info.host, second.info.host)
        machines = tuple(said) or ("the fingerprints differ",)
    ours, theirs = _timed(first), _timed(second)
    pairs = [(ours[key], theirs[key]) for key in ours if key in theirs]
    left, right = (
        [s for k, s in a.items() if k not in b] for a, b in ((ours, theirs), (theirs, ours))
    )
    if len(left) == len(right) == 1 and not pairs:
        pairs, left, right = [(left[0], right[0])], [], []
    cases = tuple(s.case for s in (*ours.values(), *theirs.values()))
    lines = [line for one, other in pairs for line in _lines(one, other, machines)]
    return Between(
        first=str(first.path),
        second=str(second.path),
        machines=machines,
        lines=tuple(lines),
        exact=_exact(first, second),
        only_first=tuple(s.case for s in left),
        only_second=tuple(s.case for s in right),
        cases=cases,
        tasks=_titles(cases),
    )


def together(found: Sequence[Between]) -> list[Between]:
    """The same comparisons, with a task called the same in each."""
    tasks = _titles(case for one in found for case in one.cases)
    return [replace(one, tasks=tasks) for one in found]


def _titles(cases: Iterable[Case]) -> dict[str, str]:
    """Roles of a gate are no part of a title: its arms may be held against a run of none."""
    plain = {identity(case): replace(case, arm="") for case in cases}
    said = named(plain.values())
    return {key: said[case.key] for key, case in plain.items()}


def _timed(run: Run) -> dict[str, CaseSummary]:
    return {identity(s.case): s for s in summarise(run) if s.case.measure not in NO_TASK}


def _lines(one: CaseSummary, other: CaseSummary, machines: tuple[str, ...]) -> Iterator[Line]:
    certificate = certify(other, one)
    for name in HEADLINES.get(one.case.measure, ()):
        if name not in one.estimates and name not in other.estimates:
            continue
        old, new = one.values.get(name, ()), other.values.get(name, ())
        found: Ratio | None = None
        if machines:
            why = f"another machine: {machines[0]}"
        elif certificate.grade == "refused":
            why = "; ".join(certificate.reasons)
        elif not old or not new:
            why = "one of the runs has no value"
        else:
            why, found = SESSIONS, ratio(new, old)
        first, second = one.estimates.get(name), other.estimates.get(name)
        yield Line(one.case, METRICS[name], first, second, found, certificate, why)


def _exact(first: Run, second: Run) -> tuple[Exact, ...]:
    old = {identity(one.case): one for one in fixed.of(first).values()}
    new = {identity(one.case): one for one in fixed.of(second).values()}
    names = [n for n in EXACT if n != "greedy" or first.info.fingerprint == second.info.fingerprint]
    return exact.checks([(one, new[key]) for key, one in old.items() if key in new], names)
