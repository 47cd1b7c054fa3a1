"""Every case of a workload against one base: ratio, interval, certificate and verdict.

The base is the case with the best headline metric (`load_s`, `decode_tok_s`) in the largest group
of equal weights; of equally large groups the one that holds the better case. A case that failed an
audit check, or whose answers are at fault, is the base only where there is no other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from results import metrics, statistics
from results.arms import arm
from results.certificate import Certificate, certify
from results.metrics import Metric
from results.statistics import Ratio
from results.summary import CaseSummary, Workload

Verdict = Literal["better", "worse", "same", "inconclusive", "incomparable"]

#: What is compared, by measure; the first one that a case can have chooses the base.
HEADLINES: dict[str, tuple[str, ...]] = {
    "load": ("load_s",),
    "generate": ("decode_tok_s", "ttft_ms", "ttft_reused_prefix_ms", "peak_pss_bytes"),
}

#: A ratio whose whole interval lies within this factor of 1 makes no difference.
EQUIVALENCE = 1.01

GATED = "arms of a gate: blocks and looks need its own statistics, see gate.html"


@dataclass(frozen=True)
class Comparison:
    """One case against the base in one metric. `ratio` is case / base; it is None where the
    certificate refuses or one of them has no value. `why` explains a verdict that is neither
    better nor worse."""

    summary: CaseSummary
    base: CaseSummary
    metric: Metric
    n: int
    base_n: int
    ratio: Ratio | None
    certificate: Certificate
    verdict: Verdict
    why: str


def headline_metrics(task: Workload) -> tuple[Metric, ...]:
    """What is compared in this workload."""
    known = {metric.name for case in task.cases for metric in metrics.applicable(case.case)}
    names = HEADLINES.get(task.measure, ())
    return tuple(metrics.METRICS[name] for name in names if name in known)


def choose_base(task: Workload) -> CaseSummary | None:
    """The case that the others are compared with; None where no case gave a value."""
    for metric in headline_metrics(task):
        groups = [[c for c in group.cases if metric.name in c.estimates] for group in task.groups]
        sized = [(case, len(cases)) for cases in groups for case in cases]
        if sized:
            base, _ = min(
                sized,
                key=lambda one: (
                    bool(one[0].evidence.broken),
                    -one[1],
                    *_rank(one[0], metric),
                ),
            )
            return base
    return None


def compare(task: Workload) -> tuple[Comparison, ...]:
    """Every other case against the base, case by case, in each headline metric."""
    base = choose_base(task)
    if base is None:
        return ()
    found = []
    for summary in task.cases:
        if summary is not base:
            certificate = certify(summary, base)
            found += [against(summary, base, m, certificate) for m in headline_metrics(task)]
    return tuple(found)


def _rank(case: CaseSummary, metric: Metric) -> tuple[float, str]:
    """Smaller is better; the key makes ties the same each time."""
    value = case.estimates[metric.name].value
    return (-value if metric.better == "higher" else value, case.case.key)


def against(
    summary: CaseSummary, base: CaseSummary, metric: Metric, certificate: Certificate
) -> Comparison:
    """One case against a base in one metric, with what their certificate allows."""
    mine, theirs = (s.values.get(metric.name, ()) for s in (summary, base))
    ratio = None
    if certificate.grade == "refused":
        verdict: Verdict = "incomparable"
        why = "; ".join(certificate.reasons)
    else:
        ratio = statistics.ratio(mine, theirs)
        verdict, why = _judge(ratio, metric)
        if summary.case.arm and ratio is not None:
            verdict, why = "inconclusive", GATED
        if empty := [s for s in (summary, base) if not s.values.get(metric.name)]:
            why = " and ".join(_without_value(s) for s in empty)
    return Comparison(
        summary, base, metric, len(mine), len(theirs), ratio, certificate, verdict, why
    )


def _without_value(summary: CaseSummary) -> str:
    status = f" ({summary.failure.status})" if summary.failure else ""
    return f"{arm(summary.case)} gave no value{status}"


def _judge(ratio: Ratio | None, metric: Metric) -> tuple[Verdict, str]:
    if ratio is None:
        return "incomparable", "a value is not above 0"
    if ratio.low is None or ratio.high is None:
        return "inconclusive", "a single trial gives no interval"
    margin = math.log(EQUIVALENCE)
    if -margin <= math.log(ratio.low) and math.log(ratio.high) <= margin:
        return "same", f"the whole interval is within {(EQUIVALENCE - 1) * 100:.0f} % of 1"
    if ratio.low <= 1 <= ratio.high:
        return "inconclusive", "the interval holds 1"
    higher = ratio.low > 1
    return ("better" if higher == (metric.better == "higher") else "worse"), ""
