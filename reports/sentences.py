"""The headline: what the numbers say in plain words, and "can't tell" where they don't.

One case is said to be ahead only within a group of equal weights, and only when its interval
overlaps that of no other case.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from reports import numbers
from reports.names import arm
from reports.untrusted import one_line
from results import metrics
from results.summary import CaseSummary, Group

#: What a headline answers, by measure: (metric, words for being ahead).
_QUESTIONS: dict[str, tuple[tuple[str, str], ...]] = {
    "load": (("load_s", "shortest load time"),),
    "generate": (
        ("decode_tok_s", "highest decode speed"),
        ("ttft_ms", "lowest time to first token"),
        ("ttft_reused_prefix_ms", "lowest time to first token on a reused prefix"),
    ),
}


@dataclass(frozen=True)
class Statement:
    """`told` is False where the sentence says that it can't tell."""

    text: str
    told: bool


@dataclass(frozen=True)
class Headline:
    """What can be said about one task and one set of weights."""

    where: str
    statements: tuple[Statement, ...]


def headlines(title: str, group: Group) -> Iterator[Headline]:
    """What is said about one group; nothing where there is nothing to compare."""
    if len(group.cases) < 2 or group.weights is None:
        return
    where = f"{title}; same {one_line(group.precision, 40)} weights"
    if group.caveats:
        text = f"Not compared: {one_line('; '.join(group.caveats), 600)}."
        yield Headline(where, (Statement(text, False),))
        return
    case = group.cases[0].case
    expected = {metric.name for metric in metrics.applicable(case)}
    statements = tuple(
        _answer(group, metrics.METRICS[metric], words)
        for metric, words in _QUESTIONS.get(case.measure, ())
        if metric in expected
    )
    if statements:
        yield Headline(where, statements)


def _answer(group: Group, metric: metrics.Metric, words: str) -> Statement:
    short = _short_names(group)
    measured = [case for case in group.cases if metric.name in case.estimates]
    left_out = _left_out([case for case in group.cases if case not in measured], short)
    ranked = sorted(
        measured,
        key=lambda case: case.estimates[metric.name].value,
        reverse=metric.better == "higher",
    )
    if (why := _undecided(ranked, metric, short)) is not None:
        return Statement(f"Can't tell which has the {words}: {why}.{left_out}", False)
    first, second = ranked[:2]
    lost = first.counts.planned - first.counts.ok
    though = f" {lost} of its {first.counts.planned} trials gave no value." if lost else ""
    return Statement(
        f"{short[first.case.key]} has the {words}: {_value(first, metric)}; "
        f"next is {short[second.case.key]} with {_value(second, metric)}.{though}{left_out}",
        True,
    )


def _undecided(
    ranked: list[CaseSummary], metric: metrics.Metric, short: dict[str, str]
) -> str | None:
    """Why nothing can be said about who is ahead; None where `ranked[0]` is."""
    if not ranked:
        return "no case gave a value"
    first, rest = ranked[0], ranked[1:]
    if not rest:
        return f"only {short[first.case.key]} gave a value ({_value(first, metric)})"
    best = first.estimates[metric.name]
    overlaps = [best.overlaps(case.estimates[metric.name]) for case in rest]
    if None in overlaps:
        return "a single trial gives no interval, it takes at least two of each"
    rivals = [case for case, overlap in zip(rest, overlaps, strict=True) if overlap]
    if not rivals:
        return None
    values = [f"{short[c.case.key]} {_value(c, metric)}" for c in (first, *rivals)]
    return f"the intervals of {_and(values)} overlap"


def _left_out(absent: list[CaseSummary], short: dict[str, str]) -> str:
    if not absent:
        return ""
    whys = [
        f"{short[case.case.key]} ({case.failure.status if case.failure else 'no value'})"
        for case in absent
    ]
    return f" Not ranked: {_and(whys)}."


def _short_names(group: Group) -> dict[str, str]:
    """The backend's name, with the artifact where the backend alone would be ambiguous."""
    often = Counter(case.case.backend for case in group.cases)
    return {
        c.case.key: one_line(c.case.backend if often[c.case.backend] == 1 else arm(c.case), 120)
        for c in group.cases
    }


def _value(case: CaseSummary, metric: metrics.Metric) -> str:
    return numbers.with_interval(case.estimates[metric.name], metric.unit)


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
