"""What a gate found: one colour, one sentence, and everything behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from results.gate.judged import Judged
from results.gate.rules import Margin
from results.metrics import Metric

Colour = Literal["green", "yellow", "red", "incomparable"]

Kind = Literal[
    "missing", "crashed", "audit", "incomparable", "template", "tokens", "greedy", "fidelity",
    "quality", "size", "budget", "regressed", "inconclusive",
]  # fmt: skip
"""In order of importance: the first finding gives the gate's sentence."""


@dataclass(frozen=True)
class Finding:
    """Something that speaks against the candidate, or for which the gate can't speak.

    `task` is what was run ("generate 64→32 tokens"), `sentence` is whole and plain, `remedy` says what
    to do, where there is something.
    """

    kind: Kind
    colour: Colour
    task: str
    sentence: str
    remedy: str | None = None


@dataclass(frozen=True)
class Typical:
    """The mean of an arm's fastest 60 % of processes, which are `n`; of memory, of the leanest."""

    value: float
    n: int


@dataclass(frozen=True)
class Row:
    """One metric of one task. `base` and `candidate` are what the ratio compares. `everyone` is the
    ratio over all processes. Without `judged` there is no verdict, as `why` says; where `refused`
    their certificate forbids a ratio, and neither it nor a verdict may be shown, as `why` says."""

    task: str
    metric: Metric
    base: Typical | None
    candidate: Typical | None
    judged: Judged | None
    why: str = ""
    margin: Margin | None = None
    everyone: float | None = None
    refused: bool = False


@dataclass(frozen=True)
class Exact:
    """A deterministic check. `same` is None where it does not apply, as `detail` says."""

    name: str
    task: str
    same: bool | None
    detail: str


@dataclass(frozen=True)
class Arm:
    """`overlay` is what the arm says over the scenario, "as the scenario says" where nothing."""

    role: Literal["base", "candidate"]
    overlay: str
    engines: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """`sentence` is the first line that a person reads. `findings` are worst first; `blocks` were
    judged, `set_aside` were disturbed and run again. `passed` is False where the gate fails, which
    the policy may ask for with yellow too."""

    colour: Colour
    passed: bool
    sentence: str
    findings: tuple[Finding, ...]
    rows: tuple[Row, ...]
    exact: tuple[Exact, ...]
    arms: tuple[Arm, ...]
    blocks: int
    set_aside: int
    minutes: float
    fingerprint: str
