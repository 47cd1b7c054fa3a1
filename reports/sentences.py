"""One ranking in words: who is ahead, by how much, and what speaks against it; "can't tell" where
nothing can be said.

The verdicts are those of the comparisons (`results.ranking`), so no sentence says more than they do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reports import numbers
from reports.names import case_name
from reports.objections import Objections
from reports.untrusted import one_line
from results.comparison import Comparison
from results.ranking import Ranking
from results.summary import CaseSummary

#: Tasks named, objections told and cases left out, in one sentence at most.
_NAMED, _TOLD, _OUT = 3, 4, 6

CAN_T_TELL = "Can't tell"
_ALONE = "there is nothing to compare with"


@dataclass(frozen=True)
class Statement:
    """One sentence: `lead` is the name that it is about, or that it can't be told, `text` goes on
    from there. `task` says which tasks, `scope` which weights. `against` is what speaks against the
    named."""

    task: str
    scope: str
    lead: str
    text: str
    told: bool
    against: tuple[str, ...] = ()

    @property
    def full(self) -> str:
        but = f" But: {'; '.join(self.against)}." if self.against else ""
        return f"{self.lead} {self.text}{but}"


@dataclass(frozen=True)
class Found:
    """What one task says about one question. `scope` is what the ranked cases have in common, and
    `weights` the letter of their weights, if they have the same."""

    task: str
    scope: str
    weights: str
    ranking: Ranking
    names: dict[str, str]
    words: str

    @property
    def only(self) -> bool:
        """One case, with a value: nothing to compare with."""
        return self.ranking.outcome == "alone" and len(self.names) == 1


def several(group: Sequence[Found], tasks: int, objections: Objections) -> Statement:
    """The same winner, or nobody, in several tasks."""
    where = (_which(group, tasks), group[0].scope)
    ranking = group[0].ranking
    out = _not_ranked([said for one in group for said in _out(one.ranking, one.names)])
    if all(one.only for one in group):
        (name,) = group[0].names.values()
        against = [
            said
            for one in group
            for said in objections.against(one.ranking.ranked[0], one.ranking.metric.name)
        ]
        text = f"is the only case: {_ALONE}."
        return Statement(*where, name, text, True, _bounded(against))
    if ranking.outcome == "level":
        against = [said for one in group for said in _against_level(one, objections)]
        text = f"share {group[0].words}, no difference of 1 %.{out}"
        return Statement(*where, _level(group[0]), text, True, _bounded(against))
    if ranking.outcome != "ahead":
        why = _all_undecided(group)
        return Statement(*where, CAN_T_TELL, f"which has {group[0].words}: {why}.{out}", False)
    leads = [one.ranking.leads[0] for one in group]
    ratios = sorted((lead.ratio.value, _times(lead)) for lead in leads if lead.ratio)
    ends = dict.fromkeys((ratios[0][1], ratios[-1][1]))
    against = [
        said
        for one, lead in zip(group, leads, strict=True)
        for said in _against(one.ranking.ranked[0], lead, objections, one_of_many=True)
    ]
    metric = ranking.metric  # the same in all of the group
    values = sorted(one.ranking.ranked[0].estimates[metric.name].value for one in group)
    span = dict.fromkeys(numbers.quantity(value, metric.unit) for value in (values[0], values[-1]))
    return Statement(
        *where,
        group[0].names[ranking.ranked[0].case.key],
        f"has {group[0].words}, {' to '.join(span)}: {' to '.join(ends)} that of the next.{out}",
        True,
        _bounded(against),
    )


def _which(group: Sequence[Found], tasks: int) -> str:
    if len(group) == tasks:
        return "both tasks" if tasks == 2 else f"all {tasks} tasks"
    named = f": {'; '.join(one.task for one in group)}" if len(group) <= _NAMED else ""
    return f"{len(group)} of {tasks} tasks{named}"


def statement(found: Found, objections: Objections) -> Statement:
    ranking, names = found.ranking, found.names
    where = (found.task, found.scope)
    notes = _notes(found)
    if found.only:
        (only,) = ranking.ranked
        text = f"is the only case, with {_value(only, ranking)}: {_ALONE}.{notes}"
        return Statement(
            *where, names[only.case.key], text, True, objections.against(only, ranking.metric.name)
        )
    if ranking.outcome == "level":
        text = (
            f"share {found.words}, no difference of 1 %: {_value(ranking.ranked[0], ranking)}, "
            f"{_rivals(ranking, names)}.{notes}"
        )
        against = _bounded(list(_against_level(found, objections)))
        return Statement(*where, _level(found), text, True, against)
    if ranking.outcome != "ahead":
        why = _undecided(ranking, names)
        return Statement(*where, CAN_T_TELL, f"which has {found.words}: {why}.{notes}", False)
    first, lead = ranking.ranked[0], ranking.leads[0]
    return Statement(
        *where,
        names[first.case.key],
        f"has {found.words}: {_value(first, ranking)}, {_times(lead)} that of the next, "
        f"{names[lead.base.case.key]} with {_value(lead.base, ranking)}.{notes}",
        True,
        _bounded(_against(first, lead, objections)),
    )


def _level(found: Found) -> str:
    return _and([found.names[case.case.key] for case in found.ranking.best])


def _against_level(found: Found, objections: Objections) -> Iterator[str]:
    for case in found.ranking.best:
        for said in objections.against(case, found.ranking.metric.name):
            yield f"{found.names[case.case.key]}: {said}"


def _undecided(ranking: Ranking, names: dict[str, str]) -> str:
    """Why nothing can be said about who is ahead."""
    outcome = ranking.outcome
    if outcome == "nobody":
        return "no case gave a value that counts"
    if outcome == "alone":
        (only,) = ranking.ranked
        return f"only {names[only.case.key]} gave a value that counts, {_value(only, ranking)}"
    if outcome == "incomparable":
        refused = [lead for lead in ranking.leads if lead.verdict == "incomparable"]
        if not refused:
            whose = _and([names[case.case.key] for case, _ in ranking.apart])
            why = "; ".join(ranking.apart[0][1].reasons)
            return f"{whose} are not comparable, {one_line(why, 400)}"
        pair = _and([names[ranking.ranked[0].case.key], names[refused[0].base.case.key]])
        return f"{pair} are not comparable, {one_line(refused[0].why, 400)}"
    if any(lead.ratio is None or lead.ratio.low is None for lead in ranking.rivals):
        return "a single trial gives no interval, it takes at least two of each"
    if gated := [lead.why for lead in ranking.rivals if lead.summary.case.arm]:
        return one_line(gated[0], 200)
    first = ranking.ranked[0]
    return f"{names[first.case.key]}, {_value(first, ranking)}, is {_rivals(ranking, names)}"


def _all_undecided(group: Sequence[Found]) -> str:
    """The same for several tasks: one reason if they share it, else who is in each other's way."""
    reasons = list(dict.fromkeys(_undecided(one.ranking, one.names) for one in group))
    if len(reasons) == 1:
        return reasons[0]
    close = dict.fromkeys(
        one.names[case.case.key]
        for one in group
        for case in (*one.ranking.ranked[:1], *(lead.base for lead in one.ranking.rivals))
    )
    return f"too close or not comparable: {_and(list(close)[:_OUT])}" if close else reasons[0]


def _rivals(ranking: Ranking, names: dict[str, str]) -> str:
    """The nearest ones, and how many more there are where they are many."""
    told = [
        f"{_times(lead)} that of {names[lead.base.case.key]}, {_value(lead.base, ranking)}"
        for lead in ranking.rivals
    ]
    if len(told) > _NAMED + 1:
        told[_NAMED:] = [f"so on for {len(told) - _NAMED} more"]
    return _and(told)


def _against(
    first: CaseSummary, lead: Comparison, objections: Objections, *, one_of_many: bool = False
) -> tuple[str, ...]:
    """What weakens the lead, where both did the same work under other conditions, and what speaks
    against the winner itself."""
    certificate = lead.certificate
    caveats = certificate.deciding if certificate.grade == "with caveats" else ()
    weights = {item.name for item in caveats} & {"weights", "precision"}
    rest = (one_line(item.detail, 300) for item in caveats if item.name not in weights)
    stored = _stored(first, lead.base, "weights" in weights, one_of_many) if weights else ()
    return (*stored, *rest, *objections.against(first, lead.metric.name))


def _stored(
    first: CaseSummary, second: CaseSummary, other_numbers: bool, one_of_many: bool
) -> Iterator[str]:
    """That the weights are others, or the same ones stored otherwise, in few words."""
    if first.facts and second.facts:
        mine, theirs = (one_line(facts.precision, 40) for facts in (first.facts, second.facts))
        if one_of_many:
            yield f"{mine} weights, not stored as the next one's"
        elif other_numbers:
            yield f"other weights, {mine} against {theirs}"
        else:
            yield f"the same weights stored otherwise, {mine} against {theirs}"


def _bounded(against: Sequence[str]) -> tuple[str, ...]:
    told = tuple(dict.fromkeys(against))
    if len(told) <= _TOLD:
        return told
    return (*told[:_TOLD], f"and {len(told) - _TOLD} more")


def _notes(found: Found) -> str:
    """Trials that gave no value, and cases that are not ranked, each with the reason. What the best
    lost speaks against it, and is said there."""
    ranking, names = found.ranking, found.names
    best = {case.case.key for case in (ranking.ranked if found.only else ranking.best)}
    lost = [
        f"{case.counts.planned - case.counts.ok} of {case.counts.planned} trials of "
        f"{names[case.case.key]}"
        for case in ranking.ranked
        if case.counts.ok < case.counts.planned and case.case.key not in best
    ]
    said = f" {_and(lost)} gave no value." if lost else ""
    return said + _not_ranked(_out(ranking, names))


def _out(ranking: Ranking, names: dict[str, str]) -> list[str]:
    found = [f"{names[c.case.key]} ({_why_out(c)})" for c in ranking.left_out]
    if ranking.leads:
        found += [
            f"{names[case.case.key]} (not comparable: {one_line('; '.join(one.reasons), 200)})"
            for case, one in ranking.apart
        ]
    return found


def _not_ranked(said: Sequence[str]) -> str:
    found = list(dict.fromkeys(said))
    more = [f"{len(found) - _OUT} more"] if len(found) > _OUT else []
    return f" Not ranked: {_and([*found[:_OUT], *more])}." if found else ""


def _why_out(case: CaseSummary) -> str:
    if failed := [one_line(check.name, 60) for check in case.evidence.failed_checks]:
        more = f" and {len(failed) - 2} more" if len(failed) > 2 else ""
        return f"failed its audit: {', '.join(failed[:2])}{more}"
    if case.counts.ok == 0 and case.failure:
        return str(case.failure.status)
    if case.evidence.broken:
        return case.evidence.broken[0][0]
    return case.failure.status if case.failure else "no value"


def short_names(cases: Sequence[CaseSummary]) -> dict[str, str]:
    """The backend's name, with the artifact where the backend alone would be ambiguous."""
    often = Counter(case.case.backend for case in cases)
    return {
        c.case.key: one_line(
            c.case.backend if often[c.case.backend] == 1 else case_name(c.case), 120
        )
        for c in cases
    }


def _value(case: CaseSummary, ranking: Ranking) -> str:
    return numbers.with_interval(case.estimates[ranking.metric.name], ranking.metric.unit)


def _times(lead: Comparison) -> str:
    """`1.24× [1.05, 1.46]`: the best over the other."""
    if lead.ratio is None:
        return numbers.MISSING
    return f"{numbers.quantity(lead.ratio.value, 'ratio')} {numbers.interval(lead.ratio, 'ratio')}"


def _and(names: Sequence[str]) -> str:
    return "".join(names) if len(names) < 2 else f"{', '.join(names[:-1])} and {names[-1]}"
