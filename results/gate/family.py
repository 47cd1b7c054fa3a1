"""The metrics of a gate: for every pair of cases the values of both arms, block by block."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from results import arms, metrics
from results.gate.blocks import by_block
from results.gate.description import Description
from results.gate.judged import Paired
from results.metrics import METRICS, Metric
from results.records import Case
from results.store import Run

_MEMORY = frozenset({"bytes", "ratio"})


@dataclass(frozen=True)
class Member:
    """One metric of one pair of cases. `paired` is None where no block has both values, and `only`
    then names the arm that has some, if one has."""

    base: Case
    candidate: Case
    metric: Metric
    paired: Paired | None
    task: str
    only: str = ""

    @property
    def known(self) -> bool:
        """False for what this machine can't measure, such as PSS on macOS."""
        return self.paired is not None or bool(self.only)


def members(run: Run, gate: Description, used: Sequence[int]) -> tuple[Member, ...]:
    """In the order of the pairs, and of the rules' metrics."""
    records = by_block(run.records)
    facts = {(f.model, f.artifact): f for f in run.info.artifacts}
    derived: dict[str, Mapping[str, float]] = {}

    def value(case: Case, block: int, metric: str) -> float | None:
        record = records.get((case.key, block))
        if record is None:
            return None
        if record.trial not in derived:
            size = facts.get((case.model, case.artifact))
            derived[record.trial] = metrics.derive(record, size)
        return derived[record.trial].get(metric)

    found = []
    tasks = named(base for base, _ in gate.pairs)
    for number, (base, candidate) in enumerate(gate.pairs):
        if candidate is None:
            continue
        for metric in _gated(base, gate):
            both = [(value(base, b, metric.name), value(candidate, b, metric.name)) for b in used]
            values = [(x, y) for x, y in both if x is not None and y is not None and min(x, y) > 0]
            paired = Paired(
                f"{number} {metric.name}",
                tuple(x for x, _ in values),
                tuple(y for _, y in values),
                -1 if metric.better == "higher" else 1,
                metric.unit not in _MEMORY,
                gate.rules.of(metric.name),
            )
            only = "base" if any(x is not None for x, _ in both) else ""
            only = "candidate" if any(y is not None for _, y in both) else only
            found.append(
                Member(base, candidate, metric, paired if values else None, tasks[base.key], only)
            )
    return tuple(found)


def named(cases: Iterable[Case]) -> Mapping[str, str]:
    """By the case's key, its task, with its model where they have several, and with its settings where
    two would have one name."""
    found = {case.key: case for case in cases}
    several = len({case.model for case in found.values()}) > 1
    said = {k: f"{c.model}: {task(c)}" if several else task(c) for k, c in found.items()}
    often = Counter(said.values())
    return {
        k: name if often[name] == 1 else f"{name} ({arms.variant(replace(found[k], arm=''))})"
        for k, name in said.items()
    }


def task(case: Case) -> str:
    """What a case does, in a few words."""
    p = case.parameters
    said = {
        "load": f"load {p.get('page_cache', '')}",
        "generate": f"generate {p.get('prompt_tokens')}→{p.get('output_tokens')}",
    }.get(case.measure, case.measure)
    sampling = p.get("sampling")
    warm = sampling.get("temperature") if isinstance(sampling, Mapping) else None
    drawn = f" at temperature {warm}" if warm else ""
    reused = " prefix reused" if metrics.reuses_prefix(case) else ""
    return f"{case.backend} {case.artifact}, {said.strip()}{drawn}{reused}"


def _gated(case: Case, gate: Description) -> Iterator[Metric]:
    known = {metric.name for metric in metrics.applicable(case)}
    for name in gate.rules.metrics:
        metric = METRICS.get(name)
        if metric is not None and name in known and metric.better is not None:
            yield metric
