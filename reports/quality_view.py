"""The view model of answers to tasks. Answers are a model's text: made visible and bounded here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reports import quality_words as words
from reports.names import variant
from reports.numbers import MISSING
from reports.untrusted import one_line
from results import quality
from results.quality_answers import Answer, Item, by_item
from results.quality_check import reference
from results.quality_comparison import Pair
from results.quality_statistics import Mean

#: Pairs of engines and items with answers that a page shows; the CSV files have all of them.
_PAIRS = 60
_SAMPLES = 16
_TEXT = 600


@dataclass(frozen=True)
class Row:
    """One arm under one setting. `number` is the setting's, from 1; `first` starts an arm; `right` is
    the share of right answers, which `accuracy` shows."""

    backend: str
    artifact: str
    number: int
    first: bool
    right: Mean | None
    accuracy: str
    by_kind: tuple[str, ...]
    valid: str
    repeated: str
    longest: str
    distinct: tuple[str, str, str]
    self_bleu: str
    tokens: str
    ended: str
    again: str
    other_seed: str
    trials: str
    errors: str
    faults: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.backend} {self.artifact}"


@dataclass(frozen=True)
class ClaimRow:
    name: str
    setting: str
    about: str
    verdict: str
    difference: str


@dataclass(frozen=True)
class PairRow:
    setting: str
    first: str
    second: str
    difference: str
    only: tuple[str, str]
    p: str
    adjusted: str


@dataclass(frozen=True)
class Line:
    """One answer: `same` is what it shares with the sample's first one, token by token, `rest` what
    comes from the first differing token on. `mark` says right or wrong."""

    name: str
    setting: str
    mark: str
    tokens: str
    same: str
    rest: str


@dataclass(frozen=True)
class Sample:
    name: str
    kind: str
    question: str
    wanted: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class GroupView:
    anchor: str
    title: str
    about: str
    settings: tuple[str, ...]
    kinds: tuple[str, ...]
    rows: tuple[Row, ...]
    troubles: tuple[tuple[str, str], ...]
    claims: tuple[ClaimRow, ...]
    pairs: tuple[PairRow, ...]
    more_pairs: int
    samples: tuple[Sample, ...]
    more_samples: int
    has_trials: bool
    note: str


@dataclass(frozen=True)
class Quality:
    sentences: tuple[tuple[str, str], ...]
    groups: tuple[GroupView, ...]


def build(found: Sequence[quality.Group]) -> Quality | None:
    """None where the run asked no questions."""
    if not found:
        return None
    return Quality(
        sentences=tuple(words.sentences(found)),
        groups=tuple(_group(number, group) for number, group in enumerate(found, 1)),
    )


def _group(number: int, group: quality.Group) -> GroupView:
    names = words.setting_names(group)
    kinds = tuple(sorted({item.kind for item in group.items}))
    given = group.parameters
    tasks = f"tasks {one_line(given.get('tasks', '?'), 60)}, " if "tasks" in given else ""
    samples = list(_samples(group, names))
    rows = tuple(row for arm in group.arms for row in _rows(arm, group, kinds, names))
    return GroupView(
        anchor=f"quality-{number}",
        title=one_line(group.model, 80),
        about=(
            f"{tasks}{len(group.items)} items, at most "
            f"{one_line(given.get('output_tokens', '?'), 20)} tokens, "
            f"{one_line(given.get('seeds', '?'), 20)} seeds"
        ),
        settings=names,
        kinds=tuple(one_line(kind, 30) for kind in kinds),
        rows=rows,
        troubles=tuple(
            (one_line(arm.name, 80), one_line(arm.trouble, 300))
            for arm in group.arms
            if arm.trouble
        ),
        claims=tuple(
            ClaimRow(
                one_line(arm.name, 80),
                names[claim.setting],
                claim.about,
                claim.verdict,
                words.points(claim.difference),
            )
            for arm in group.arms
            for claim in arm.claims
        ),
        pairs=tuple(_pair(pair, names) for pair in group.pairs[:_PAIRS]),
        more_pairs=max(0, len(group.pairs) - _PAIRS),
        samples=tuple(samples[:_SAMPLES]),
        more_samples=max(0, len(samples) - _SAMPLES),
        has_trials=any(row.trials != MISSING for row in rows),
        note="" if group.bleu else "No self-BLEU: sacrebleu is not installed.",
    )


def _rows(
    arm: quality.Arm, group: quality.Group, kinds: Sequence[str], names: Sequence[str]
) -> Iterator[Row]:
    for summary in arm.summaries:
        greedy = group.greedy(summary.setting)
        distinct = [
            f"{summary.distinct[n]:.2f}" if n in summary.distinct else MISSING for n in (1, 2, 3)
        ]
        bleu = summary.self_bleu
        other = quality.Agreement(
            summary.other_seed.of - summary.other_seed.equal, summary.other_seed.of
        )
        yield Row(
            backend=one_line(arm.case.backend, 60),
            artifact=variant(arm.case),
            number=summary.setting + 1,
            first=summary is arm.summaries[0],
            right=summary.accuracy,
            accuracy=words.percent(summary.accuracy),
            by_kind=tuple(
                f"{summary.by_kind[k].value * 100:.0f} %" if k in summary.by_kind else MISSING
                for k in kinds
            ),
            valid=words.percent(summary.valid),
            repeated=words.fine_percent(summary.repeated),
            longest=words.plain(summary.longest),
            distinct=(distinct[0], distinct[1], distinct[2]),
            self_bleu=MISSING if bleu is None else f"{bleu:.0f}",
            tokens=words.plain(summary.tokens),
            ended=words.percent(summary.ended),
            again=words.agreement(summary.again),
            other_seed=MISSING if greedy else words.agreement(other),
            trials=words.agreement(summary.trials),
            errors=f"{summary.errors} of {summary.answers}" if summary.errors else "",
            faults=tuple(words.faults(summary, names[summary.setting], greedy=greedy)),
        )


def _pair(pair: Pair, names: Sequence[str]) -> PairRow:
    only = tuple(
        MISSING if count is None else str(count) for count in (pair.only_first, pair.only_second)
    )
    return PairRow(
        setting=names[pair.setting],
        first=one_line(pair.first, 80),
        second=one_line(pair.second, 80),
        difference=words.points(pair.difference),
        only=(only[0], only[1]),
        p=words.chance(pair.p),
        adjusted=words.chance(pair.adjusted),
    )


def _samples(group: quality.Group, names: Sequence[str]) -> Iterator[Sample]:
    """Items whose answers are not all the same: those that some got right and some wrong first."""
    found: list[tuple[int, int, Sample]] = []
    by_arm = [
        [by_item(arm.answers, setting) for setting in range(len(names))] for arm in group.arms
    ]
    for order, item in enumerate(group.items):
        told = [
            (one_line(arm.name, 80), names[setting], answers[item.name][0])
            for arm, settings in zip(group.arms, by_arm, strict=True)
            for setting, answers in enumerate(settings)
            if item.name in answers
        ]
        if len({answer.ids for _, _, answer in told}) > 1:
            mixed = len({answer.right for _, _, answer in told}) > 1
            found.append((0 if mixed else 1, order, _sample(item, told)))
    found.sort(key=lambda one: one[:2])
    yield from (sample for _, _, sample in found)


def _sample(item: Item, told: Sequence[tuple[str, str, Answer]]) -> Sample:
    base = next((answer for _, _, answer in told if answer.error is None), told[0][2])
    return Sample(
        name=one_line(item.name, 60),
        kind=one_line(item.kind, 30),
        question=one_line(item.prompt, _TEXT),
        wanted=one_line(reference(item.check), 200),
        lines=tuple(_line(name, setting, answer, base) for name, setting, answer in told),
    )


def _line(name: str, setting: str, answer: Answer, base: Answer) -> Line:
    if answer.error is not None:
        return Line(name, setting, "✗", MISSING, "", one_line(answer.error, 200))
    shared = 0
    for one, other in zip(answer.ids, base.ids, strict=False):
        if one != other:
            break
        shared += 1
    # Without the sizes of the pieces nobody knows which characters the shared tokens are.
    cut = sum(answer.sizes[:shared])
    return Line(
        name=name,
        setting=setting,
        mark="✓" if answer.right else "✗",
        tokens=f"{shared} of {len(answer.ids)}",
        same=one_line(answer.text[:cut], _TEXT),
        rest=one_line(answer.text[cut:], _TEXT),
    )
