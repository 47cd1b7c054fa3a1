"""An outcome as all formats show it: numbers formatted, untrusted text visible and bounded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from reports import numbers
from reports.untrusted import one_line
from results.gate.decision import LEVEL
from results.gate.judged import Judged
from results.gate.judged import Verdict as Judgement
from results.gate.outcome import Arm, Colour, Exact, Finding, Kind, Outcome, Row
from results.gate.rules import Margin
from results.statistics import Ratio

#: `incomparable`: the certificate refuses a ratio, whatever the timings say.
Verdict = Judgement | Literal["incomparable"]

#: Never a colour alone, and "inconclusive" never looks like a pass.
SHOWN: dict[Verdict | None, str] = {
    "regressed": "✗ regressed",
    "pass": "✓ pass",
    "inconclusive": "? inconclusive",
    "incomparable": "≠ incomparable",
    None: "not judged",
}
SAME: dict[bool | None, str] = {True: "✓ same", False: "✗ differs", None: "not checked"}

_SLOW_MODE = "some processes are slower, most are not: it shows in the mean of all of them"
_SENTENCE = 600
_DETAIL = 400


@dataclass(frozen=True)
class FindingView:
    """`title` says of what kind it is unless the colour does, and where unless the sentence does."""

    kind: Kind
    colour: Colour
    word: str
    title: str
    task: str
    sentence: str
    remedy: str


@dataclass(frozen=True)
class Span:
    """What a drawing needs: numbers, all finite and above zero. `worse` as in `Paired`."""

    ratio: float
    low: float | None
    high: float | None
    worse: Literal[1, -1]
    margin: Margin | None


@dataclass(frozen=True)
class RowView:
    """`base` and `candidate` are means of the fastest 60 % of processes, `ratio` is candidate / base."""

    task: str
    metric: str
    base: str
    candidate: str
    ratio: str
    interval: str
    verdict: Verdict | None
    shown: str
    note: str
    span: Span | None


@dataclass(frozen=True)
class ExactView:
    name: str
    task: str
    same: bool | None
    shown: str
    detail: str


@dataclass(frozen=True)
class ArmView:
    role: str
    overlay: str
    engines: tuple[str, ...]


@dataclass(frozen=True)
class View:
    """`headline` starts with the colour's word. `consequence` says what the gate does, and why."""

    colour: Colour
    word: str
    headline: str
    consequence: str
    passed: bool
    findings: tuple[FindingView, ...]
    rows: tuple[RowView, ...]
    exact: tuple[ExactView, ...]
    arms: tuple[ArmView, ...]
    effort: str
    fingerprint: str

    @property
    def tasks(self) -> dict[str, list[RowView]]:
        """The rows of each task, in the order in which the tasks come."""
        found: dict[str, list[RowView]] = {}
        for row in self.rows:
            found.setdefault(row.task, []).append(row)
        return found


def build(outcome: Outcome) -> View:
    word = outcome.colour.upper()
    sentence = one_line(outcome.sentence, _SENTENCE)
    return View(
        colour=outcome.colour,
        word=word,
        headline=sentence if sentence.upper().startswith(word) else f"{word}: {sentence}",
        consequence=_consequence(outcome),
        passed=outcome.passed,
        findings=tuple(map(_finding, outcome.findings)),
        rows=tuple(map(_row, outcome.rows)),
        exact=tuple(map(_exact, outcome.exact)),
        arms=tuple(map(_arm, outcome.arms)),
        effort=_effort(outcome),
        fingerprint=one_line(outcome.fingerprint, 80),
    )


def _consequence(outcome: Outcome) -> str:
    does = "The gate passes" if outcome.passed else "The gate fails"
    if outcome.colour == "yellow":
        how = "does not block on" if outcome.passed else "blocks on"
        return f"{does}: something could not be decided, and the policy {how} that."
    if outcome.colour == "incomparable" and not outcome.passed:
        return f"{does}: what can't be compared can't pass."
    return f"{does}."


def _effort(outcome: Outcome) -> str:
    blocks = f"{outcome.blocks} {'block' if outcome.blocks == 1 else 'blocks'} judged"
    aside = f", {outcome.set_aside} set aside (disturbed machine)" if outcome.set_aside else ""
    long = outcome.minutes >= 1
    took = _quantity(outcome.minutes * (1 if long else 60), "min" if long else "s")
    return f"{blocks}{aside}, {took}"


def _finding(one: Finding) -> FindingView:
    task = one_line(one.task)
    kind = "" if one.kind == one.colour else one.kind
    where = "" if one.task in one.sentence else task
    return FindingView(
        one.kind,
        one.colour,
        one.colour.upper(),
        ", ".join(filter(None, (kind, where))),
        task,
        one_line(one.sentence, _SENTENCE),
        one_line(one.remedy or "", _DETAIL),
    )


def _row(one: Row) -> RowView:
    unit, judged = one.metric.unit, None if one.refused else one.judged
    span = _span(one, judged) if judged else None
    verdict: Verdict | None = judged.verdict if judged else None
    if one.refused:
        verdict = "incomparable"
    note = _SLOW_MODE if judged and judged.slow_mode else one_line(one.why, _DETAIL)
    ratio = Ratio(span.ratio, span.low, span.high, LEVEL) if span else None
    return RowView(
        task=one_line(one.task),
        metric=one.metric.title,
        base=_quantity(one.base.value if one.base else None, unit),
        candidate=_quantity(one.candidate.value if one.candidate else None, unit),
        ratio=numbers.quantity(ratio.value if ratio else None, "ratio"),
        interval=numbers.interval(ratio, "ratio"),
        verdict=verdict,
        shown=SHOWN[verdict],
        note=note,
        span=span,
    )


def _span(row: Row, judged: Judged) -> Span | None:
    if not _positive(judged.ratio):
        return None
    low, high = (x if x is not None and _positive(x) else None for x in (judged.low, judged.high))
    if low is None or high is None:
        low = high = None
    worse: Literal[1, -1] = -1 if row.metric.better == "higher" else 1
    return Span(judged.ratio, low, high, worse, row.margin)


def _exact(one: Exact) -> ExactView:
    detail = one_line(one.detail, _DETAIL)
    return ExactView(one_line(one.name, 80), one_line(one.task), one.same, SAME[one.same], detail)


def _arm(one: Arm) -> ArmView:
    engines = (f"{one_line(k, 80)} {one_line(v, 120)}".strip() for k, v in one.engines.items())
    return ArmView(one.role, one_line(one.overlay, _DETAIL), tuple(engines))


def _quantity(value: float | None, unit: str) -> str:
    """As in `numbers`; a value that is no number becomes a dash, never an exception."""
    return numbers.quantity(value if value is not None and math.isfinite(value) else None, unit)


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0
