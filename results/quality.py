"""A run's answers to tasks: right or wrong, repetitive, diverse, the same when asked again.

Accuracy is a mean over items, each the mean over its seeds; an error counts as a wrong answer.
Engines and settings are compared item by item.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from results import arms
from results.quality_answers import (
    Answer,
    Item,
    Key,
    accuracy,
    answers,
    by_item,
    items,
    per_item,
)
from results.quality_comparison import Claim, Pair, claims, pairs
from results.quality_statistics import Mean, mean, share
from results.quality_text import distinct, longest_repeat, repeated_share, self_bleu
from results.records import Case, Record
from results.store import Run

QUALITY = "quality"


@dataclass(frozen=True)
class Agreement:
    """How many of `of` pairs of answers were equal, id by id."""

    equal: int
    of: int


@dataclass(frozen=True)
class Summary:
    """One arm under one setting.

    `valid` is the share of format items whose answer has the form that was asked for. `repeated`
    is seq-rep-4, `longest` the longest repeated span in tokens, `ended` the share of answers that
    the model ended by itself. `distinct` (n-grams by n) and `self_bleu` compare the seeds of an
    item, and are empty and None with one seed. `again` is the same request a second time,
    `other_seed` the first seed against the second, `trials` the same request in another process.
    """

    setting: int
    accuracy: Mean | None
    by_kind: Mapping[str, Mean]
    valid: Mean | None
    answers: int
    errors: int
    error: str
    tokens: Mean | None
    ended: Mean | None
    repeated: Mean | None
    longest: Mean | None
    distinct: Mapping[int, float]
    self_bleu: float | None
    again: Agreement
    other_seed: Agreement
    trials: Agreement


@dataclass(frozen=True)
class Arm:
    """`trouble` says why there are no answers, if there are none. `claims` are in order of
    settings."""

    case: Case
    answers: Mapping[Key, Answer]
    summaries: tuple[Summary, ...]
    claims: tuple[Claim, ...]
    trouble: str

    @property
    def name(self) -> str:
        return arms.arm(self.case)


@dataclass(frozen=True)
class Group:
    """One model on one set of tasks. `bleu` is False where sacrebleu is not installed."""

    model: str
    parameters: Mapping[str, Any]
    settings: tuple[Mapping[str, Any], ...]
    items: tuple[Item, ...]
    arms: tuple[Arm, ...]
    pairs: tuple[Pair, ...]
    bleu: bool

    def greedy(self, setting: int) -> bool:
        return self.settings[setting].get("temperature") == 0


def groups(run: Run) -> tuple[Group, ...]:
    """By model and parameters; empty where the run asked no questions."""
    cases: dict[str, dict[str, Case]] = {}
    for trial in run.info.trials:
        case = trial.case
        if case.measure == QUALITY:
            same = {k: v for k, v in case.parameters.items() if k not in ("context", "threads")}
            key = json.dumps([case.model, same], sort_keys=True, default=str)
            cases.setdefault(key, {}).setdefault(case.key, case)
    records: dict[str, list[Record]] = {}
    for record in run.records:
        if record.case.measure == QUALITY:
            records.setdefault(record.case.key, []).append(record)
    known = items(run.info.items.get(QUALITY))
    return tuple(_group(list(cases[key].values()), records, known) for key in sorted(cases))


def _group(
    cases: Sequence[Case], records: Mapping[str, Sequence[Record]], known: Mapping[str, Item]
) -> Group:
    given = cases[0].parameters.get("settings")
    several = given if isinstance(given, list | tuple) else ()
    settings = tuple(one if isinstance(one, Mapping) else {} for one in several)
    # Measures of one run with other numbers of items share the run's list of them.
    count = cases[0].parameters.get("items")
    used = list(known.values())[: count if isinstance(count, int) and count > 0 else None]
    known = {item.name: item for item in used}
    bleu = _has_bleu()
    found = tuple(
        _arm(case, records.get(case.key, ()), known, settings, bleu)
        for case in sorted(cases, key=lambda c: (arms.arm(c), c.key))
    )
    return Group(
        model=cases[0].model,
        parameters=cases[0].parameters,
        settings=settings,
        items=tuple(used),
        arms=found,
        pairs=tuple(pairs([(arm.name, arm.answers) for arm in found], len(settings))),
        bleu=bleu,
    )


def _has_bleu() -> bool:
    from importlib.util import find_spec

    return find_spec("sacrebleu") is not None


def _arm(
    case: Case,
    records: Sequence[Record],
    known: Mapping[str, Item],
    settings: Sequence[Mapping[str, Any]],
    bleu: bool,
) -> Arm:
    """From the first trial that left answers, a good one if there is one; others must repeat it."""
    order = sorted(records, key=lambda r: (r.status != "ok", r.repetition))
    trials = [found for r in order if (found := answers(r, known, len(settings)))]
    if not trials:
        return Arm(case, {}, (), (), _trouble(order))
    kept = trials[0]
    if order[0].status != "ok":
        kept = {**kept, **_unasked(kept, known, settings)}
    summaries = tuple(
        _summary(index, kept, trials[1:], known, bleu) for index in range(len(settings))
    )
    trouble = "" if order[0].status == "ok" else _trouble(order)
    return Arm(case, kept, summaries, tuple(claims(kept, settings)), trouble)


def _unasked(
    found: Mapping[Key, Answer], known: Mapping[str, Item], settings: Sequence[Mapping[str, Any]]
) -> dict[Key, Answer]:
    """Wrong answers for what a trial that broke off never asked: an engine that dies is not right."""
    asked = {(setting, item) for setting, item, _, _ in found}
    why = "never asked: the trial ended before"
    return {
        (setting, item, 0, 0): Answer(item, setting, 0, 0, (), "", False, why, None)
        for setting in range(len(settings))
        for item in known
        if (setting, item) not in asked
    }


def _trouble(records: Sequence[Record]) -> str:
    if not records:
        return "this trial has not run"
    first = records[0]
    if first.status == "ok":
        return "the trial left no answers"
    return first.reason or f"the trial ended as {first.status}"


def _summary(
    setting: int,
    found: Mapping[Key, Answer],
    others: Sequence[Mapping[Key, Answer]],
    known: Mapping[str, Item],
    bleu: bool,
) -> Summary:
    several = by_item(found, setting)
    right = accuracy(found, setting)
    kinds: dict[str, list[float]] = {}
    for item, value in right.items():
        kinds.setdefault(known[item].kind, []).append(value)
    every = [answer for some in several.values() for answer in some]
    errors = [answer.error for answer in every if answer.error is not None]
    formal = {
        item: [a for a in some if a.outcome is not None and a.outcome.valid is not None]
        for item, some in several.items()
    }
    return Summary(
        setting=setting,
        accuracy=share(list(right.values())),
        by_kind={k: m for k in sorted(kinds) if (m := share(kinds[k])) is not None},
        valid=share(list(per_item(formal, _is_valid).values())),
        answers=len(every),
        errors=len(errors),
        error=errors[0] if errors else "",
        tokens=mean(list(per_item(several, lambda a: len(a.ids)).values())),
        ended=share(list(per_item(several, lambda a: float(a.ended)).values())),
        repeated=share(list(per_item(several, lambda a: repeated_share(a.ids)).values())),
        longest=mean(list(per_item(several, lambda a: longest_repeat(a.ids)).values())),
        distinct=_distinct(several),
        self_bleu=_self_bleu(several) if bleu else None,
        again=_agreement(
            (answer, found.get((setting, item, seed, 0)))
            for (index, item, seed, run), answer in found.items()
            if index == setting and run == 1
        ),
        other_seed=_agreement((some[0], some[1]) for some in several.values() if len(some) > 1),
        trials=_agreement(
            (answer, other.get(key))
            for other in others
            for key, answer in found.items()
            if key[0] == setting and key[3] == 0
        ),
    )


def _distinct(several: Mapping[str, Sequence[Answer]]) -> dict[int, float]:
    """Means over the items that have several answers."""
    result = {}
    for n in (1, 2, 3):
        values = []
        for some in several.values():
            given = [a.ids for a in some if a.error is None]
            value = distinct(given, n) if len(given) > 1 else None
            if value is not None:
                values.append(value)
        if values:
            result[n] = sum(values) / len(values)
    return result


def _self_bleu(several: Mapping[str, Sequence[Answer]]) -> float | None:
    found = (self_bleu([a.text for a in some if a.error is None]) for some in several.values())
    values = [value for value in found if value is not None]
    return sum(values) / len(values) if values else None


def _agreement(pairs: Iterator[tuple[Answer, Answer | None]]) -> Agreement:
    both = [(a, b) for a, b in pairs if b is not None and a.error is None and b.error is None]
    return Agreement(sum(a.ids == b.ids for a, b in both), len(both))


def _is_valid(answer: Answer) -> float:
    return float(answer.outcome is not None and answer.outcome.valid is True)
