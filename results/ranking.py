"""Who is ahead in one metric of a task, and by how much; or what forbids to say so.

The best case is ahead only if its comparison with each of the others says `better`. So a table of
comparisons and a sentence about the winner can never disagree, and more rivals make a wrong winner
no likelier: one that is level with the best is enough to forbid it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from results.certificate import Certificate, certify
from results.comparison import Comparison, against
from results.metrics import Metric
from results.summary import CaseSummary

Outcome = Literal["ahead", "level", "undecided", "incomparable", "alone", "nobody"]


@dataclass(frozen=True)
class Ranking:
    """`ranked` are the cases that count, best first, and `leads[i]` is the best against
    `ranked[i + 1]`. `apart` can't be compared with most of the others, each with a certificate that
    says why. `left_out` have no value, or are broken (`Evidence.broken`)."""

    metric: Metric
    ranked: tuple[CaseSummary, ...]
    leads: tuple[Comparison, ...]
    apart: tuple[tuple[CaseSummary, Certificate], ...]
    left_out: tuple[CaseSummary, ...]

    @property
    def outcome(self) -> Outcome:
        """`level`: nobody is better than the best, but some are the same within a hair."""
        if not self.leads:
            if self.apart:
                return "incomparable"
            return "alone" if self.ranked else "nobody"
        verdicts = {lead.verdict for lead in self.leads}
        if "incomparable" in verdicts:
            return "incomparable"
        if verdicts <= {"better", "same"}:
            return "level" if "same" in verdicts else "ahead"
        return "undecided"

    @property
    def best(self) -> tuple[CaseSummary, ...]:
        """The one that is ahead, or those that share it; none where it can't be told."""
        if self.outcome == "level":
            return (self.ranked[0], *(lead.base for lead in self.rivals))
        return self.ranked[:1] if self.outcome == "ahead" else ()

    @property
    def rivals(self) -> tuple[Comparison, ...]:
        """The comparisons in which the best is not better."""
        return tuple(lead for lead in self.leads if lead.verdict != "better")


class Certificates:
    """Certificates of pairs, each made once: it takes all their requests, and no metric."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str], Certificate] = {}

    def __call__(self, one: CaseSummary, other: CaseSummary) -> Certificate:
        pair = (one.case.key, other.case.key)
        if pair not in self._made:
            self._made[pair] = certify(one, other)
        return self._made[pair]


def rank(
    cases: Sequence[CaseSummary],
    metric: Metric,
    certificates: Certificates | None = None,
) -> Ranking:
    """The cases of one task by one metric. `certificates` are shared by several rankings of the same
    task."""
    certified = certificates or Certificates()
    measured = [
        case for case in cases if metric.name in case.estimates and not case.evidence.broken
    ]
    measured.sort(key=lambda case: case.case.key)
    measured.sort(
        key=lambda case: case.estimates[metric.name].value, reverse=metric.better == "higher"
    )
    kept = {case.case.key for case in measured}
    ranked: list[CaseSummary] = measured
    apart: list[tuple[CaseSummary, Certificate]] = []
    leads = _leads(ranked, metric, certified)
    if any(lead.certificate.grade == "refused" for lead in leads):
        ranked, apart = _comparable(measured, certified)
        leads = _leads(ranked, metric, certified)
    return Ranking(
        metric,
        tuple(ranked),
        leads,
        tuple(apart),
        tuple(case for case in cases if case.case.key not in kept),
    )


def _leads(
    ranked: Sequence[CaseSummary], metric: Metric, certified: Certificates
) -> tuple[Comparison, ...]:
    return tuple(
        against(ranked[0], other, metric, certified(ranked[0], other)) for other in ranked[1:]
    )


def _comparable(
    ranked: Sequence[CaseSummary], certified: Certificates
) -> tuple[list[CaseSummary], list[tuple[CaseSummary, Certificate]]]:
    """Those that can be compared with at least half of the others, and the rest."""
    kept, apart = [], []
    for case in ranked:
        found = [certified(case, other) for other in ranked if other is not case]
        refused = [certificate for certificate in found if certificate.grade == "refused"]
        if 2 * len(refused) > len(found):
            apart.append((case, refused[0]))
        else:
            kept.append(case)
    return kept, apart
