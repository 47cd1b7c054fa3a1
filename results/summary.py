"""A run, summarised: per case what happened, what it measured, and what it may be compared with.

Failures stay in the denominator: a case has as many trials as were planned, and one without a
value meets no budget.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from results import metrics
from results.records import ArtifactFacts, Budget, Case, Engine, Record, Status
from results.statistics import Estimate, estimate
from results.store import Run

Verdict = Literal["met", "missed", "unknown"]


@dataclass(frozen=True)
class Counts:
    """Trials of one case by how they ended; they add up to `planned`."""

    planned: int
    ok: int = 0
    failed: int = 0
    timeout: int = 0
    crashed: int = 0
    unsupported: int = 0
    missing: int = 0

    @property
    def bad(self) -> int:
        return self.failed + self.timeout + self.crashed + self.unsupported

    def by_status(self) -> tuple[tuple[str, int], ...]:
        names = ("ok", "failed", "timeout", "crashed", "unsupported", "missing")
        return tuple((name, getattr(self, name)) for name in names)


@dataclass(frozen=True)
class Failure:
    """The first failure of a case, in order of writing."""

    trial: str
    status: Status
    reason: str | None
    remedy: str | None
    signal: str | None
    exit_code: int | None
    log_tail: str


@dataclass(frozen=True)
class BudgetVerdict:
    """`unknown` where the case has no value: that is never a pass."""

    budget: Budget
    value: float | None
    verdict: Verdict


@dataclass(frozen=True)
class CaseSummary:
    """One case over all its trials. `values[metric][i]` belongs to the i-th ok trial, by
    repetition; `estimates` has the same keys."""

    case: Case
    facts: ArtifactFacts | None
    counts: Counts
    values: Mapping[str, tuple[float, ...]]
    estimates: Mapping[str, Estimate]
    budgets: tuple[BudgetVerdict, ...]
    failure: Failure | None
    engines: tuple[Engine, ...]

    @property
    def same_weights(self) -> tuple[str, str] | None:
        """What must be equal for a fair ratio: (weights, precision). None where not known."""
        return None if self.facts is None else (self.facts.weights, self.facts.precision)


@dataclass(frozen=True)
class Group:
    """Cases of one workload that hold the same numbers, stored alike.

    Ratios within a group are fair unless `caveats` says why not.
    """

    weights: str | None
    precision: str | None
    cases: tuple[CaseSummary, ...]
    caveats: tuple[str, ...] = ()

    @property
    def fair(self) -> bool:
        return self.weights is not None and len(self.cases) > 1 and not self.caveats


@dataclass(frozen=True)
class Workload:
    """One model, measure and parameters: the same task for all its cases, in groups of equal
    weights. `notes` says how the weights of the groups differ."""

    model: str
    measure: str
    parameters: Mapping[str, object]
    groups: tuple[Group, ...]
    notes: tuple[str, ...]


def summarise(run: Run) -> tuple[CaseSummary, ...]:
    """One summary per case, in the order in which run.json first plans a trial of it."""
    planned: dict[str, list[str]] = {}
    cases: dict[str, Case] = {}
    for trial in run.info.trials:
        key = trial.case.key
        cases.setdefault(key, trial.case)
        planned.setdefault(key, []).append(trial.id)
    by_trial = {record.trial: record for record in run.records}
    facts = {(f.model, f.artifact): f for f in run.info.artifacts}
    order = {record.trial: position for position, record in enumerate(run.records)}
    return tuple(
        _case(
            case,
            facts.get((case.model, case.artifact)),
            len(planned[key]),
            sorted(
                (by_trial[t] for t in planned[key] if t in by_trial), key=lambda r: order[r.trial]
            ),
            run.info.budgets,
        )
        for key, case in cases.items()
    )


def workloads(run: Run, summaries: Sequence[CaseSummary]) -> tuple[Workload, ...]:
    """The cases by task, and inside a task by equal weights: what may be compared with what."""
    tasks: dict[str, list[CaseSummary]] = {}
    for summary in summaries:
        case = summary.case
        task = json.dumps([case.model, case.measure, case.parameters], sort_keys=True)
        tasks.setdefault(task, []).append(summary)
    records: dict[str, list[Record]] = {}
    for record in run.records:
        if record.status == "ok":
            records.setdefault(record.case.key, []).append(record)
    return tuple(_workload(members, records) for members in tasks.values())


def _case(
    case: Case,
    facts: ArtifactFacts | None,
    planned: int,
    records: Sequence[Record],
    budgets: Iterable[Budget],
) -> CaseSummary:
    statuses = Counter(record.status for record in records)
    counts = Counts(
        planned=planned, missing=planned - len(records), **{str(s): n for s, n in statuses.items()}
    )
    collected: dict[str, list[float]] = {}
    for record in sorted(records, key=lambda r: r.repetition):
        for name, value in metrics.derive(record, facts).items():
            collected.setdefault(name, []).append(value)
    estimates = {name: estimate(values) for name, values in collected.items()}
    bad = next((record for record in records if record.status != "ok"), None)
    engines = {json.dumps([e.version, dict(e.build)]): e for r in records if (e := r.engine)}
    return CaseSummary(
        case=case,
        facts=facts,
        counts=counts,
        values={name: tuple(values) for name, values in collected.items()},
        estimates=estimates,
        budgets=tuple(_judge(b, estimates) for b in budgets if _concerns(b, case)),
        failure=None if bad is None else _failure(bad),
        engines=tuple(engines.values()),
    )


def _concerns(budget: Budget, case: Case) -> bool:
    """A metric that nobody knows concerns every case: it is then unknown, and seen to be."""
    names = {metric.name for metric in metrics.applicable(case)}
    return budget.metric in names or budget.metric not in metrics.METRICS


def _judge(budget: Budget, estimates: Mapping[str, Estimate]) -> BudgetVerdict:
    found = estimates.get(budget.metric)
    if found is None:
        return BudgetVerdict(budget, None, "unknown")
    above = budget.max is not None and found.value > budget.max
    below = budget.min is not None and found.value < budget.min
    return BudgetVerdict(budget, found.value, "missed" if above or below else "met")


def _failure(record: Record) -> Failure:
    return Failure(
        trial=record.trial,
        status=record.status,
        reason=record.reason,
        remedy=record.remedy,
        signal=record.signal,
        exit_code=record.exit_code,
        log_tail=record.log_tail,
    )


def _workload(members: Sequence[CaseSummary], records: Mapping[str, list[Record]]) -> Workload:
    by_weights: dict[tuple[str | None, str | None, str], list[CaseSummary]] = {}
    for member in members:
        if member.facts is None:
            # Unknown weights are equal to nothing, not even to other unknown ones.
            by_weights[None, None, member.case.key] = [member]
        else:
            key = (member.facts.weights, member.facts.precision, "")
            by_weights.setdefault(key, []).append(member)
    groups = tuple(
        Group(weights, precision, tuple(cases), _caveats(cases, records))
        for (weights, precision, _), cases in by_weights.items()
    )
    case = members[0].case
    return Workload(case.model, case.measure, case.parameters, groups, _weight_notes(groups))


def _weight_notes(groups: Sequence[Group]) -> tuple[str, ...]:
    """How the weights of a workload's groups differ; empty where there is one group."""
    notes = []
    by_weights: dict[str, list[Group]] = {}
    for group in sorted(groups, key=_names):
        if group.weights is None:
            notes.append(f"{_names(group)}: it is not known which weights these are.")
        else:
            by_weights.setdefault(group.weights, []).append(group)
    for alike in by_weights.values():
        if len(alike) > 1:
            names = "; ".join(f"{_names(g)} ({g.precision})" for g in alike)
            notes.append(f"Same numbers, stored differently: {names}.")
    if len(by_weights) > 1:
        sets = [
            " and ".join(f"{_names(g)} ({g.precision})" for g in alike)
            for alike in by_weights.values()
        ]
        notes.append(f"Weights differ between: {' / '.join(sorted(sets))}.")
    return tuple(notes)


def _names(group: Group) -> str:
    return ", ".join(sorted({f"{s.case.backend} {s.case.artifact}" for s in group.cases}))


def _caveats(cases: Sequence[CaseSummary], records: Mapping[str, list[Record]]) -> tuple[str, ...]:
    """Where equal weights are not enough: other prompts, or other amounts of output."""
    found = []
    prompts = {c.case.key: _prompts(records.get(c.case.key, ())) for c in cases}
    for one, other in combinations(cases, 2):
        names = (
            f"{one.case.backend} {one.case.artifact} and {other.case.backend} {other.case.artifact}"
        )
        mine, theirs = prompts[one.case.key], prompts[other.case.key]
        if any(mine[at] != theirs[at] for at in mine.keys() & theirs.keys()):
            found.append(f"{names} were given different prompts")
        lengths = (one.values.get("output_tokens"), other.values.get("output_tokens"))
        if lengths[0] and lengths[1] and set(lengths[0]) != set(lengths[1]):
            found.append(f"{names} wrote outputs of different length")
    return tuple(found)


def _prompts(records: Iterable[Record]) -> dict[tuple[int, int], tuple[str, int]]:
    """What each request was made of, by (repetition, index)."""
    return {
        (record.repetition, sample.index): (sample.prompt, sample.prompt_tokens)
        for record in records
        for sample in metrics.counted(record)
    }
