"""What speaks against an engine besides its own numbers: other measures of the same arm.

Fidelity and quality are measured once per arm and hold for all its tasks: an engine that is ahead
because its answers got worse must not look like a winner without that. One whose answers broke is
not ranked at all (`Evidence.broken`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from reports import quality_words
from reports.untrusted import one_line
from results import arms
from results.fidelity import ArmFidelity, ModelFidelity
from results.nats import nats
from results.quality import Group
from results.summary import CaseSummary

#: How a trial ended, as what became of it.
_ENDED = {"timeout": "timed out", "unsupported": "were refused", "missing": "have not run"}


@dataclass(frozen=True)
class Objections:
    """By arm (`arms.key`) what its answers lose; one that is not there has nothing against it, or was
    not looked at."""

    lost: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def against(self, summary: CaseSummary, metric: str) -> tuple[str, ...]:
        """What speaks against a case that is ahead in a metric: lost trials, a missed budget of that
        metric, lost answers."""
        counts = summary.counts
        found = [
            f"{n} of {counts.planned} trials {_ENDED.get(status, status)}"
            for status, n in counts.by_status()
            if n and status != "ok"
        ]
        found += [
            "misses its budget"
            for verdict in summary.budgets
            if verdict.verdict == "missed" and verdict.budget.metric == metric
        ]
        return (*found, *self.lost.get(arms.key(summary.case), ()))


def build(fidelity: Sequence[ModelFidelity], quality: Sequence[Group]) -> Objections:
    """What the run's measures of fidelity and quality say about its arms."""
    lost: dict[str, list[str]] = {}
    for arm in (arm for model in fidelity for arm in model.arms):
        if said := _loss(arm):
            lost.setdefault(arms.key(arm.case), []).append(said)
    for group in quality:
        names = quality_words.setting_names(group)
        keys = {arm.name: arms.key(arm.case) for arm in group.arms}
        for pair in group.pairs:
            if pair.adjusted is not None and pair.adjusted < quality_words.SIGNIFICANT:
                worse, better = (pair.first, pair.second)[:: 1 if pair.difference.value < 0 else -1]
                said = (
                    f"{abs(pair.difference.value) * 100:.1f} points fewer right answers than "
                    f"{one_line(better, 80)} ({names[pair.setting]})"
                )
                lost.setdefault(keys[worse], []).append(said)
    return Objections({key: tuple(said) for key, said in lost.items()})


def _loss(arm: ArmFidelity) -> str:
    """Empty where the arm is as true as the reference, at fault, or was not judged."""
    if arm.verdict != "as its bits allow" or arm.kl is None:
        return ""
    bound = "at least " if arm.method == "top-k" else ""
    return f"KL of {bound}{nats(arm.kl.mean)} nats to the reference"
