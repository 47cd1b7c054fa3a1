"""The rules that today's tools gate by, each as small as it is, on the same simulated numbers.

A rule sees one metric of both arms as costs (more is worse), shaped processes x requests, and says
whether it calls the candidate worse. `stored` rules compare with a number that another session left
behind: here a session of the same machine, with its own neighbours and drift.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Costs = NDArray[np.float64]


@dataclass(frozen=True)
class Rival:
    name: str
    stored: bool
    worse: Callable[[str, Costs, Costs], bool]


def mean_5(kind: str, old: Costs, new: Costs) -> bool:
    """pytest-benchmark `--benchmark-compare-fail=mean:5%`: the rounds of one process each."""
    return bool(new[0].mean() > 1.05 * old[0].mean())


def min_5(kind: str, old: Costs, new: Costs) -> bool:
    """pytest-benchmark `--benchmark-compare-fail=min:5%`: the fastest round of one process each."""
    return bool(new[0].min() > 1.05 * old[0].min())


def alert_150(kind: str, old: Costs, new: Costs) -> bool:
    """github-action-benchmark with `alert-threshold: 150%`, of the last single value."""
    return bool(new[0].mean() > 1.5 * old[0].mean())


def alert_200(kind: str, old: Costs, new: Costs) -> bool:
    """github-action-benchmark as it comes: `alert-threshold: 200%`, of the last single value."""
    return bool(new[0].mean() > 2.0 * old[0].mean())


def pyperf(kind: str, old: Costs, new: Costs) -> bool:
    """pyperf `compare_to`: three values of each of 20 processes, pooled; Student's two-sample t-test,
    two-tailed, 95 %."""
    new, old = new[:, :3], old[:, :3]
    return bool(stats.ttest_ind(new, old, axis=None).pvalue < 0.05 and new.mean() > old.mean())


def mann_whitney(kind: str, old: Costs, new: Costs) -> bool:
    """Mann and Whitney's U at 5 %, two-sided, on all requests of all processes, pooled."""
    p = stats.mannwhitneyu(new, old, axis=None).pvalue
    return bool(p < 0.05 and np.median(new) > np.median(old))


LIMITS = {"decode_tok_s": 1 / 0.95, "prefill_tok_s": 1 / 0.85, "ttft_ms": 1.10}


def lemonade(kind: str, old: Costs, new: Costs) -> bool:
    """Fixed limits on the means of one run each, as they are used with Lemonade's bench: decode rate
    -5 %, prefill rate -15 %, time to first token +10 %, and none for the rest. (Which limit goes with
    which number is our reading; its own comparison prints percentages only.)"""
    return kind in LIMITS and bool(new[0].mean() > LIMITS[kind] * old[0].mean())


RIVALS = (
    Rival("pytest-benchmark mean:5%", True, mean_5),
    Rival("pytest-benchmark min:5%", True, min_5),
    Rival("github-action-benchmark 150 %", True, alert_150),
    Rival("github-action-benchmark 200 %", True, alert_200),
    Rival("Lemonade −5/−15/+10 %", True, lemonade),
    Rival("pyperf compare_to", True, pyperf),
    Rival("pyperf, both arms at once", False, pyperf),
    Rival("Mann-Whitney, both arms at once", False, mann_whitney),
)
