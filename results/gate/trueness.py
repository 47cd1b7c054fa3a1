"""Whether a candidate's answers are still as good: distributions against the base's, tasks by pairs.

What the base could do and the candidate could not is a finding too: an answer that is missing is no
better than a wrong one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from results import fidelity
from results.fidelity_observations import read
from results.gate.description import Description
from results.gate.family import task
from results.gate.outcome import Finding
from results.nats import nats
from results.quality_answers import Answer, Key, accuracy, answers, by_item, items
from results.quality_statistics import holm, mcnemar
from results.records import Case, Record
from results.store import Run
from results.summary import NO_TASK

_FLIPS = 9_999


@dataclass(frozen=True)
class Trueness:
    """What is worse than the base's, and how many comparisons there were."""

    findings: tuple[Finding, ...]
    compared: int


def judge(run: Run, gate: Description) -> Trueness:
    """Trials that left nothing are found elsewhere."""
    records = {
        r.case.key: r for r in reversed(run.records) if r.case.measure in NO_TASK and r.case.arm
    }
    pairs = [(b, c) for b, c in gate.pairs if c is not None]
    found: list[Finding] = []
    compared = 0
    for base, candidate in pairs:
        mine, theirs = records.get(candidate.key), records.get(base.key)
        if mine is None or theirs is None or (mine.status, theirs.status) != ("ok", "ok"):
            continue
        if candidate.measure == fidelity.FIDELITY:
            compared += 1
            found += _fidelity(run, gate, mine, theirs)
    drops, lost = _quality(run, pairs, records)
    found += [*lost, *_worse(drops, gate.rules.quality_alpha)]
    return Trueness(tuple(found), compared + len(drops) + len(lost))


def _fidelity(run: Run, gate: Description, mine: Record, theirs: Record) -> Iterator[Finding]:
    base, candidate = theirs.case, mine.case
    facts = {(f.model, f.artifact): f for f in run.info.artifacts}
    found = fidelity.judged(
        candidate,
        mine,
        read(theirs),
        facts.get((candidate.model, candidate.artifact)),
        facts.get((base.model, base.artifact)),
        {},
    )
    faults = list(found.faults)
    limit = gate.rules.kl_nats
    if limit is not None and found.kl is not None and found.kl.mean > limit:
        faults.append(
            f"its distributions are {nats(found.kl.mean)} nats from the base's, allowed are {limit:g}"
        )
    held = {name for name, one in read(theirs).items() if one.trouble is None}
    lost = [(name, why) for name, why in found.troubles if name in held]
    if lost:
        faults.append(f"it fails on {len(lost)} of {len(held)} texts: {lost[0][0]}: {lost[0][1]}")
    if faults:
        said = "; ".join(faults).replace("the reference", "the base")
        yield Finding(
            "fidelity",
            "red",
            task(candidate),
            f"the candidate is not true to the base: {said}",
            "look at the artifact's conversion and metadata (rope, tied weights, tokenizer); "
            "bakeoff run fidelity shows position by position",
        )
    elif not found.positions:
        yield Finding(
            "incomparable",
            "incomparable",
            task(candidate),
            "no position of the fidelity texts could be compared: the base has none, or other texts",
            "run both arms on the same texts, with a base that shows its distributions",
        )


@dataclass(frozen=True)
class _Drop:
    what: str
    base: float
    candidate: float
    items: int
    p: float


def _quality(
    run: Run, pairs: Sequence[tuple[Case, Case]], records: Mapping[str, Record]
) -> tuple[list[_Drop], list[Finding]]:
    """The comparisons by setting, and the settings that only the base has answers for."""
    known = items(run.info.items.get("quality"))
    drops: list[_Drop] = []
    lost: list[Finding] = []
    for base, candidate in pairs:
        mine, theirs = records.get(candidate.key), records.get(base.key)
        if candidate.measure != "quality" or mine is None or theirs is None:
            continue
        settings = candidate.parameters.get("settings") or ()
        ours, others = (answers(r, known, len(settings)) for r in (mine, theirs))
        for number, setting in enumerate(settings):
            cold = setting.get("temperature") == 0
            what = "greedy" if cold else f"temperature {setting.get('temperature'):g}"
            name = f"{task(candidate)}, {what}"
            drop = _drop(name, others, ours, number, cold)
            if drop is not None:
                drops.append(drop)
            elif accuracy(others, number):
                errors = (a.error for some in by_item(ours, number).values() for a in some)
                why = next(filter(None, errors), "it left no answer")
                sentence = f"the candidate answers none of the tasks, {what}: {why}"
                lost.append(Finding("quality", "red", name, sentence))
    return drops, lost


def _worse(drops: Sequence[_Drop], alpha: float) -> Iterator[Finding]:
    adjusted = holm([drop.p for drop in drops])
    for drop, p in zip(drops, adjusted, strict=True):
        if p < alpha and drop.candidate < drop.base:
            yield Finding(
                "quality",
                "red",
                drop.what,
                f"the candidate answers worse: {drop.base:.0%} right became {drop.candidate:.0%} "
                f"of {drop.items} tasks (p {p:.2g})",
                "look at the answers side by side: bakeoff report RUN",
            )


def _drop(
    what: str,
    base: Mapping[Key, Answer],
    candidate: Mapping[Key, Answer],
    setting: int,
    single: bool,
) -> _Drop | None:
    was, now = accuracy(base, setting), accuracy(candidate, setting)
    common = [item for item in was if item in now]
    if not common:
        return None
    apart = [now[item] - was[item] for item in common]
    if single:
        p = mcnemar(sum(d > 0 for d in apart), sum(d < 0 for d in apart))
    else:
        p = _sign_flips(apart)
    old, new = (sum(side[item] for item in common) / len(common) for side in (was, now))
    return _Drop(what, old, new, len(common), p)


def _sign_flips(differences: Sequence[float]) -> float:
    """Two-sided p of the mean difference, under flips of each item's sign."""
    if not any(differences):
        return 1.0
    import numpy as np
    from scipy.stats import permutation_test

    found = permutation_test(
        (np.asarray(differences),),
        lambda d, axis: np.mean(d, axis=axis),
        permutation_type="samples",
        n_resamples=_FLIPS,
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)
