"""A run, summarised: per case what happened, what it measured, and what speaks for its numbers.

Failures stay in the denominator: a case has as many trials as were planned, and one without a
value meets no budget.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from results import arms, fidelity, metrics
from results.fidelity import ArmFidelity
from results.records import ArtifactFacts, Budget, Case, Check, Engine, Record, Status
from results.statistics import Estimate, estimate
from results.store import Run

if TYPE_CHECKING:
    from results.samples import Floats, Ints, Objects

Verdict = Literal["met", "missed", "unknown"]

#: The measure that tries out an arm's claims; it is evidence about other cases, not a task.
AUDIT = "audit"

#: The measures that compare chat templates: `templates` reports its own matrix, with what its
#: differences do to a model beside it. They are no task either.
TEMPLATES = "templates"
HARM = "harm"

#: The backend that renders a model's own template. It is no engine.
REFERENCE = "reference"

#: Measures that are no task: a report shows them in a place of their own.
NO_TASK = frozenset({AUDIT, TEMPLATES, HARM, "reference", "fidelity", "quality", "sampling"})


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


@dataclass(frozen=True, eq=False)
class Requests:
    """One value per request, by place (repetition and index as one number): the digest of its
    prompt, the tokens of that, and how many came back."""

    place: Ints
    prompt: Objects
    sent: Ints
    received: Ints


@dataclass(frozen=True)
class Evidence:
    """What a case's numbers rest on: its records, the audits of its arm, where it ran, and how true
    its arm is to the weights; None where the run did not look.

    An arm is model × backend × artifact × settings; what is found of it holds for all its cases.
    """

    records: tuple[Record, ...] = ()
    audits: tuple[Record, ...] = ()
    fingerprint: str = ""
    truth: ArmFidelity | None = None

    @cached_property
    def ok(self) -> tuple[Record, ...]:
        return tuple(record for record in self.records if record.status == "ok")

    @property
    def checks(self) -> tuple[Check, ...]:
        """One per name over all audits: a failed one counts before an untold one before a passed
        one, whatever became of the audit itself."""
        found: dict[str, Check] = {}
        worth = {False: 0, None: 1, True: 2}
        for check in (check for audit in self.audits for check in audit.checks):
            kept = found.setdefault(check.name, check)
            if worth[check.passed] < worth[kept.passed]:
                found[check.name] = check
        return tuple(found.values())

    @cached_property
    def requests(self) -> Requests:
        """What each request that counts was asked and gave, over all trials."""
        import numpy as np

        from results import samples

        nothing = np.empty(0, np.int64)
        places, sent, received = [nothing], [nothing], [nothing]
        prompts: list[str] = []
        for record in self.ok:
            columns, counted = samples.of(record), samples.of(record).counted
            places.append((np.int64(record.repetition) << 32) + columns.indices[counted])
            sent.append(columns.prompt_tokens[counted])
            received.append(columns.tokens[counted])
            prompts += [p for p, counts in zip(columns.prompt, counted, strict=True) if counts]
        place = np.concatenate(places)
        order = np.argsort(place)
        return Requests(
            place[order],
            np.array(prompts, dtype=object)[order],
            np.concatenate(sent)[order],
            np.concatenate(received)[order],
        )

    @cached_property
    def prefills(self) -> tuple[Floats, Floats]:
        """Of each request that counts and says so: prompt tokens evaluated, and how many it had."""
        import numpy as np

        from results import samples

        said, sent = [np.empty(0)], [np.empty(0)]
        for columns in map(samples.of, self.ok):
            claimed = columns.claimed("prefill_tokens")
            told = columns.counted & (claimed == claimed)
            said.append(claimed[told])
            sent.append(columns.prompt_tokens[told].astype(float))
        return np.concatenate(said), np.concatenate(sent)

    @property
    def failed_checks(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.passed is False)

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with the arm's answers, as far as the run looked."""
        return self.truth.faults if self.truth else ()

    @property
    def broken(self) -> tuple[tuple[str, str], ...]:
        """What makes the arm's numbers worth nothing, as (name, what was seen): each check that it
        failed in an audit, and a fault in fidelity."""
        fault = [("fault in fidelity", "; ".join(self.faults))] if self.faults else []
        return (*((check.name, check.detail) for check in self.failed_checks), *fault)


@dataclass(frozen=True)
class CaseSummary:
    """One case over all its trials. `values[metric]` are those of the ok trials that have one, by
    repetition; `estimates` has the same keys."""

    case: Case
    facts: ArtifactFacts | None
    counts: Counts
    values: Mapping[str, tuple[float, ...]]
    estimates: Mapping[str, Estimate]
    budgets: tuple[BudgetVerdict, ...]
    failure: Failure | None
    engines: tuple[Engine, ...]
    evidence: Evidence = field(default_factory=Evidence)


@dataclass(frozen=True)
class Group:
    """Cases of one workload that hold the same numbers, stored alike; None where not known.

    Whether a ratio of two of them is fair is for a `certificate` to say.
    """

    weights: str | None
    precision: str | None
    cases: tuple[CaseSummary, ...]


@dataclass(frozen=True)
class Workload:
    """One model, measure and parameters: the same task for all its cases, in groups of equal
    weights."""

    model: str
    measure: str
    parameters: Mapping[str, object]
    groups: tuple[Group, ...]

    @property
    def cases(self) -> tuple[CaseSummary, ...]:
        return tuple(case for group in self.groups for case in group.cases)


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
    audits: dict[str, list[Record]] = {}
    for record in run.records:
        if record.case.measure == AUDIT:
            audits.setdefault(arms.key(record.case), []).append(record)
    truths = {arms.key(arm.case): arm for model in fidelity.of(run) for arm in model.arms}
    return tuple(
        _case(
            case,
            facts.get((case.model, case.artifact)),
            len(planned[key]),
            Evidence(
                tuple(
                    sorted(
                        (by_trial[t] for t in planned[key] if t in by_trial),
                        key=lambda r: order[r.trial],
                    )
                ),
                tuple(audits.get(arms.key(case), ())),
                run.info.fingerprint,
                truths.get(arms.key(case)),
            ),
            run.info.budgets,
        )
        for key, case in cases.items()
    )


def workloads(summaries: Sequence[CaseSummary]) -> tuple[Workload, ...]:
    """The cases by task, and inside a task by equal weights. What `NO_TASK` lists is no task."""
    tasks: dict[str, list[CaseSummary]] = {}
    for summary in summaries:
        case = summary.case
        if case.measure not in NO_TASK:
            task = json.dumps([case.model, case.measure, case.parameters], sort_keys=True)
            tasks.setdefault(task, []).append(summary)
    return tuple(_workload(members) for members in tasks.values())


def _case(
    case: Case,
    facts: ArtifactFacts | None,
    planned: int,
    evidence: Evidence,
    budgets: Iterable[Budget],
) -> CaseSummary:
    records = evidence.records
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
        evidence=evidence,
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


def _workload(members: Sequence[CaseSummary]) -> Workload:
    by_weights: dict[tuple[str | None, str | None, str], list[CaseSummary]] = {}
    for member in members:
        if member.facts is None:
            # Unknown weights are equal to nothing, not even to other unknown ones.
            by_weights[None, None, member.case.key] = [member]
        else:
            key = (member.facts.weights, member.facts.precision, "")
            by_weights.setdefault(key, []).append(member)
    groups = tuple(
        Group(weights, precision, tuple(cases))
        for (weights, precision, _), cases in by_weights.items()
    )
    case = members[0].case
    return Workload(case.model, case.measure, case.parameters, groups)
