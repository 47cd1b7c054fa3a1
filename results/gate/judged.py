"""What the statistics take and give: one metric of one pair of cases, block by block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from results.gate.rules import Margin

Verdict = Literal["regressed", "pass", "inconclusive"]


@dataclass(frozen=True)
class Paired:
    """`base[b]` and `candidate[b]` are the values of block b, all above zero.

    `name` is unique within a gate. `worse` is +1 where more is worse (a time), -1 where less is (a
    rate). `timing` adds the second member of the family, which sees slow modes.
    """

    name: str
    base: tuple[float, ...]
    candidate: tuple[float, ...]
    worse: Literal[1, -1]
    timing: bool
    margin: Margin


@dataclass(frozen=True)
class Judged:
    """`ratio` is candidate / base in the metric's own direction (NaN without blocks), `low` and `high`
    its 90 % interval (None with fewer than five blocks): both of the faster processes. `p_regressed` is
    family-wise, `p_pass` of this metric alone; of a verdict that an earlier look gave, they are that
    look's. `slow_mode` says that the regression shows in the mean of all processes only: the ratio
    doesn't show it then.
    """

    name: str
    verdict: Verdict
    blocks: int
    ratio: float
    low: float | None
    high: float | None
    p_regressed: float
    p_pass: float
    slow_mode: bool = False
