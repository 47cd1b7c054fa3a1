"""From findings to the gate's outcome: one colour, and the sentence that a person reads first."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from results.gate.family import task
from results.gate.outcome import Arm, Colour, Exact, Finding, Kind, Outcome, Row
from results.metrics import METRICS, Metric
from results.store import Run
from results.summary import summarise

_KINDS: Mapping[str, Kind] = {
    "templates": "template", "token_counts": "tokens", "greedy": "greedy", "size": "size",
}  # fmt: skip
_SAID: Mapping[str, str] = {
    "templates": "the chat prompts", "token_counts": "the token counts", "greedy": "the greedy ids",
    "size": "the bytes",
}  # fmt: skip
_REMEDY: Mapping[str, str] = {
    "template": "bakeoff templates check shows each prompt beside the model's own template",
    "tokens": "let the candidate do the work that was asked for: compare its settings",
    "greedy": "expected where kernels or the order of sums changed: take `greedy` out of the policy's "
    "`exact`, and let fidelity judge",
}  # fmt: skip
_COLOURS: tuple[Colour, ...] = ("red", "incomparable", "yellow")


@dataclass(frozen=True)
class Held:
    """What was held against what: `yellow` is what the policy does with it. `ended` is False where
    trials are still to come, `time_limited` where the policy limits the gate's time. `answers` counts
    the comparisons of distributions and answers."""

    rows: tuple[Row, ...] = ()
    exact: tuple[Exact, ...] = ()
    answers: int = 0
    arms: tuple[Arm, ...] = ()
    blocks: int = 0
    set_aside: int = 0
    yellow: Literal["pass", "fail"] = "pass"
    ended: bool = True
    time_limited: bool = False


def conclude(run: Run, held: Held, findings: Sequence[Finding]) -> Outcome:
    """The worst finding gives the colour, and the most important one of it the sentence."""
    kinds = get_args(Kind)
    order = sorted(findings, key=lambda f: (_COLOURS.index(f.colour), kinds.index(f.kind)))
    colour: Colour = order[0].colour if order else "green"
    return Outcome(
        colour=colour,
        passed=colour == "green" or (colour == "yellow" and held.yellow == "pass"),
        sentence=_sentence(colour, order, held),
        findings=tuple(order),
        rows=held.rows,
        exact=held.exact,
        arms=held.arms,
        blocks=held.blocks,
        set_aside=held.set_aside,
        minutes=sum(record.wall_s for record in run.records) / 60,
        fingerprint=run.info.fingerprint,
    )


def differences(checks: Sequence[Exact]) -> Iterator[Finding]:
    """A finding for each deterministic check that did not come out the same."""
    for check in checks:
        if check.same is False:
            kind = _KINDS[check.name]
            what = _SAID[check.name]
            sentence = f"{what} of {check.task} differ from the base's: {check.detail}"
            yield Finding(kind, "red", check.task, sentence, _REMEDY.get(kind))


def budgets(run: Run, keys: Container[str]) -> Iterator[Finding]:
    """Absolute limits of `run.info` on these cases; that the base misses one too is no excuse."""
    for summary in summarise(run):
        if summary.case.key not in keys:
            continue
        for judged in summary.budgets:
            if judged.verdict != "missed" or judged.value is None:
                continue
            metric, budget = METRICS[judged.budget.metric], judged.budget
            above = budget.max is not None and judged.value > budget.max
            limit = budget.max if above else budget.min
            sentence = (
                f"{metric.title} of {task(summary.case)} is {_amount(judged.value, metric)}, "
                f"{'above' if above else 'below'} its budget of {_amount(limit, metric)}"
            )
            yield Finding("budget", "red", task(summary.case), sentence)


def _amount(value: float | None, metric: Metric) -> str:
    if value is None:
        return ""
    return f"{value / 1e6:.4g} MB" if metric.unit == "bytes" else f"{value:.4g} {metric.unit}"


#: A gate that held nothing against anything says nothing, and must not be green.
NOTHING = Finding(
    "incomparable",
    "incomparable",
    "",
    "nothing was compared: no metric, no exact check and no answers of both arms",
    "let the policy's `metrics` and `exact` name what the scenario measures",
)


def timings(held: Held) -> Iterator[Finding]:
    """What regressed, and what can't be told."""
    judged = [row for row in held.rows if row.judged is not None]
    for row in judged:
        if row.judged is not None and row.judged.verdict == "regressed":
            sentence = f"the candidate is worse: {_change(row)}"
            yield Finding("regressed", "red", row.task, sentence)
    open_ = [row for row in judged if row.judged and row.judged.verdict == "inconclusive"]
    if open_:
        which = f"{len(open_)} of {_count(judged)}" if len(judged) > 1 else "the metric"
        sentence = (
            f"can't tell after {held.blocks} blocks whether {which} "
            f"{'is' if len(open_) == 1 else 'are'} worse; {_largest(open_)}"
        )
        remedy = "more blocks (`looks` in the policy), more requests, or a quieter machine: bakeoff doctor"
        yield Finding("inconclusive", "yellow", "", sentence, remedy)
    lonely = [row for row in held.rows if row.judged is None and row.base is None]
    for row in lonely:
        sentence = f"{row.metric.title} of {row.task} can't be compared: {row.why}"
        yield Finding("inconclusive", "yellow", row.task, sentence)
    if len(judged) + len(lonely) < len(held.rows):
        yield untimed(held)


def untimed(held: Held) -> Finding:
    """Where blocks are missing. A gate that ended without them did so by its time limit, or by
    failures that are findings of their own."""
    sentence = f"not timed to an end: {held.blocks} blocks are complete"
    remedy = "go on: bakeoff gate --resume RUN"
    if held.ended:
        limited = "raise `time_limit_s` in the policy, or " if held.time_limited else ""
        remedy = f"{limited}make the trials shorter, and run the gate again"
    return Finding("inconclusive", "yellow", "", sentence, remedy)


def _count(rows: Sequence[Row]) -> str:
    return f"{len(rows)} metric{'s' if len(rows) > 1 else ''}"


def _largest(rows: Sequence[Row]) -> str:
    """The worst of those that have a ratio, if any has."""
    row = max(rows, key=lambda row: (not row.refused, _worseness(row)))
    if not row.refused and _worseness(row) <= 0:
        return f"none looks worse; the least good: {_change(row)}"
    return f"the largest change for the worse: {_change(row)}"


def _change(row: Row) -> str:
    """ "decode speed of … fell by 9.6 % [8.1, 11.0]", the direction in the metric's own terms."""
    assert row.judged is not None
    one = row.judged
    if row.refused:
        return f"{row.metric.title} of {row.task} (no ratio: the arms can't be compared)"
    if one.slow_mode and row.everyone is not None:
        said = f"{row.metric.title} of {row.task} {_percent(row.everyone)} in the mean of all processes"
        return f"{said}, the faster ones {_percent(one.ratio)}"
    said = f"{row.metric.title} of {row.task} {_percent(one.ratio)}"
    if one.low is not None and one.high is not None:
        said += f" (90 % interval {_signed(one.low)} to {_signed(one.high)})"
    return said


def _percent(ratio: float) -> str:
    change = (ratio - 1) * 100
    if abs(change) < 0.05:
        return "did not change"
    return f"{'rose' if change > 0 else 'fell'} by {abs(change):.1f} %"


def _signed(ratio: float) -> str:
    return f"{(ratio - 1) * 100:+.1f} %".replace("-", "−")


def _sentence(colour: Colour, findings: Sequence[Finding], held: Held) -> str:
    if findings:
        more = sum(f.colour == colour for f in findings) - 1
        tail = f" (and {more} more)" if more > 0 else ""
        return findings[0].sentence + tail
    said = []
    judged = [row for row in held.rows if row.judged is not None]
    if judged:
        said.append(
            f"{_count(judged)} within {'their' if len(judged) > 1 else 'its'} limits after "
            f"{held.blocks} blocks; {_largest(judged)}"
        )
    same = sum(check.same is True for check in held.exact)
    if same:
        said.append(f"{same} exact checks the same")
    if held.answers:
        one = held.answers == 1
        said.append(
            "1 comparison of answers, not worse"
            if one
            else f"{held.answers} comparisons of answers, none worse"
        )
    return "no regression: " + "; ".join(said)


def _worseness(row: Row) -> float:
    assert row.judged is not None
    sign = -1 if row.metric.better == "higher" else 1
    return sign * math.log(row.judged.ratio)
