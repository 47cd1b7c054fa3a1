"""What can be said about answers to tasks: sentences with their numbers, and how these look."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from reports.names import sampling
from reports.numbers import MISSING
from reports.untrusted import one_line
from results.quality import Agreement, Arm, Group, Summary
from results.quality_statistics import Mean

#: A difference between engines is told where its adjusted p is below this.
SIGNIFICANT = 0.05

LEGEND = (
    "Intervals are 95 %, by item: several seeds of one item are not several items. Repeated: the "
    "share of an answer's 4-grams of tokens that it has already had. Longest: tokens of the longest "
    "span that is there twice. Distinct-n: different n-grams over all n-grams of the seeds of an "
    "item. Self-BLEU: how alike the seeds' answers are, 100 for equal ones."
)


def percent(found: Mean | None) -> str:
    """`52 % [38, 66]`."""
    if found is None:
        return MISSING
    text = f"{found.value * 100:.0f} %"
    if found.low is None or found.high is None:
        return text
    return f"{text} [{found.low * 100:.0f}, {found.high * 100:.0f}]"


def fine_percent(found: Mean | None) -> str:
    """`2.1 % [0.9, 4.4]`."""
    if found is None:
        return MISSING
    text = f"{found.value * 100:.1f} %"
    if found.low is None or found.high is None:
        return text
    return f"{text} [{found.low * 100:.1f}, {found.high * 100:.1f}]"


def points(found: Mean) -> str:
    """A difference in percentage points: `−8.3 points [−14.0, −2.6]`."""
    text = f"{_signed(found.value)} points"
    if found.low is None or found.high is None:
        return f"{text} (one item)"
    return f"{text} [{_signed(found.low)}, {_signed(found.high)}]"


def plain(found: Mean | None) -> str:
    """`12.4 [10.9, 13.9]`."""
    if found is None:
        return MISSING
    text = f"{found.value:.1f}"
    if found.low is None or found.high is None:
        return text
    return f"{text} [{max(found.low, 0):.1f}, {found.high:.1f}]"


def chance(p: float | None) -> str:
    if p is None:
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def agreement(found: Agreement) -> str:
    return f"{found.equal} of {found.of}" if found.of else MISSING


def _signed(value: float) -> str:
    shown = f"{abs(value) * 100:.1f}"
    return shown if float(shown) == 0 else f"{'+' if value > 0 else '−'}{shown}"


def setting_names(group: Group) -> tuple[str, ...]:
    return tuple(one_line(sampling(setting), 120) for setting in group.settings)


def sentences(found: Sequence[Group]) -> Iterator[tuple[str, str]]:
    """(where, what) for a report's short part."""
    several = len({group.model for group in found}) > 1
    for group in found:
        where = f"{one_line(group.model, 80)} " if several else ""
        names = setting_names(group)
        for arm in group.arms:
            if said := " ".join(_of_arm(arm, group, names)):
                yield where + one_line(arm.name, 80), said
        for pair in group.pairs:
            if pair.adjusted is not None and pair.adjusted < SIGNIFICANT:
                two = [one_line(name, 80) for name in (pair.first, pair.second)]
                if pair.difference.value < 0:
                    two.reverse()
                said = (
                    f"more right answers than {two[1]} ({names[pair.setting]}): "
                    f"{abs(pair.difference.value) * 100:.1f} points, "
                    f"McNemar p {chance(pair.adjusted)} after Holm."
                )
                yield where + two[0], said


def _of_arm(arm: Arm, group: Group, names: Sequence[str]) -> Iterator[str]:
    if not arm.summaries:
        yield f"No answers: {one_line(arm.trouble, 300)}."
        return
    right = [f"{percent(s.accuracy)} with {names[s.setting]}" for s in arm.summaries if s.accuracy]
    if right:
        yield f"Right answers: {'; '.join(right)}."
    for claim in arm.claims:
        name, said = names[claim.setting], points(claim.difference)
        if claim.about == "greedy repeats":
            yield f"“Greedy repeats” against {name}: {claim.verdict}, {said} of 4-grams repeated."
        else:
            yield f"“Temperature helps” with {name}: {claim.verdict}, {said} of right answers."
    for summary in arm.summaries:
        yield from faults(summary, names[summary.setting], greedy=group.greedy(summary.setting))


def faults(summary: Summary, name: str, *, greedy: bool) -> Iterator[str]:
    """What is not as it should be under one setting."""
    again, trials, other = summary.again, summary.trials, summary.other_seed
    if again.equal < again.of:
        what = "asked again" if greedy else "with the same seed"
        yield f"Not repeatable: {name}, {what}, gave {again.equal} of {again.of} answers again."
    if trials.equal < trials.of:
        said = f"{trials.equal} of {trials.of}"
        yield f"Not repeatable: {name}, in another process, gave {said} answers again."
    if not greedy and other.of >= 8 and other.equal == other.of:
        yield f"The seed does nothing: {name} gave all {other.of} answers again with another one."
    if summary.errors:
        said = f"{summary.errors} of {summary.answers} requests failed"
        yield f"{name}: {said}: {one_line(summary.error, 200)}."
