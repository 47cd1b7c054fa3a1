"""The headline: what the numbers say in plain words, and "can't tell" where they don't.

One case is said to be ahead only within a group of equal weights, only when its interval overlaps
that of no other case, and only when its certificate with each of them allows a ratio. A case that
failed a check of its audit is not ranked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reports import numbers
from reports.names import arm
from reports.untrusted import one_line
from results import metrics
from results.certificate import certify
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
    honest = [case for case in measured if not case.evidence.failed_checks]
    ranked = sorted(
        honest,
        key=lambda case: case.estimates[metric.name].value,
        reverse=metric.better == "higher",
    )
    notes = _lost(ranked, short) + _left_out(group.cases, ranked, short)
    if (why := _undecided(ranked, metric, short)) is not None:
        return Statement(f"Can't tell which has the {words}: {why}.{notes}", False)
    first, second = ranked[:2]
    return Statement(
        f"{short[first.case.key]} has the {words}: {_value(first, metric)}; "
        f"next is {short[second.case.key]} with {_value(second, metric)}."
        f"{_caveats(first, second)}{notes}",
        True,
    )


def _undecided(
    ranked: list[CaseSummary], metric: metrics.Metric, short: dict[str, str]
) -> str | None:
    """Why nothing can be said about who is ahead; None where `ranked[0]` is."""
    if not ranked:
        return "no case gave a value that counts"
    first, rest = ranked[0], ranked[1:]
    if not rest:
        return f"only {short[first.case.key]} gave a value that counts ({_value(first, metric)})"
    for case in rest:
        certificate = certify(first, case)
        if certificate.grade == "refused":
            pair = f"{short[first.case.key]} and {short[case.case.key]}"
            return f"{pair} are not comparable, {one_line('; '.join(certificate.reasons), 400)}"
    best = first.estimates[metric.name]
    overlaps = [best.overlaps(case.estimates[metric.name]) for case in rest]
    if None in overlaps:
        return "a single trial gives no interval, it takes at least two of each"
    rivals = [case for case, overlap in zip(rest, overlaps, strict=True) if overlap]
    if not rivals:
        return None
    values = [f"{short[c.case.key]} {_value(c, metric)}" for c in (first, *rivals)]
    return f"the intervals of {_and(values)} overlap"


def _caveats(first: CaseSummary, second: CaseSummary) -> str:
    """What weakens the lead, where both did the same work under other conditions."""
    certificate = certify(first, second)
    if certificate.grade != "with caveats":
        return ""
    return f" Caveat: {one_line('; '.join(certificate.reasons), 400)}."


def _lost(ranked: list[CaseSummary], short: dict[str, str]) -> str:
    lost = [
        f"{case.counts.planned - case.counts.ok} of {case.counts.planned} trials of "
        f"{short[case.case.key]}"
        for case in ranked
        if case.counts.ok < case.counts.planned
    ]
    return f" {_and(lost)} gave no value." if lost else ""


def _left_out(
    cases: Sequence[CaseSummary], ranked: list[CaseSummary], short: dict[str, str]
) -> str:
    whys = []
    for case in cases:
        if case in ranked:
            continue
        if failed := [one_line(check.name, 60) for check in case.evidence.failed_checks]:
            more = f" and {len(failed) - 2} more" if len(failed) > 2 else ""
            why = f"failed its audit: {', '.join(failed[:2])}{more}"
        else:
            why = case.failure.status if case.failure else "no value"
        whys.append(f"{short[case.case.key]} ({why})")
    return f" Not ranked: {_and(whys)}." if whys else ""


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
