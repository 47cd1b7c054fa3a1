"""Settings against each other and engines against each other, item by item."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

from results.quality_answers import Answer, Key, accuracy, by_item, per_item
from results.quality_statistics import Mean, difference, holm, mcnemar
from results.quality_text import repeated_share

#: Differences smaller than these are called none: in accuracy, and in the share of 4-grams that
#: an answer has already had.
NO_HELP = 0.02
NO_REPEATS = 0.01

Verdict = Literal["confirmed", "refuted", "can't tell"]


@dataclass(frozen=True)
class Claim:
    """A saying about sampling against greedy, and what the paired difference makes of it."""

    about: Literal["greedy repeats", "temperature helps"]
    setting: int
    verdict: Verdict
    difference: Mean


@dataclass(frozen=True)
class Pair:
    """Two arms under one setting, on the items that both answered or failed.

    `difference` is the first's accuracy minus the second's. With one seed, `only_first` and
    `only_second` count the items that only one got right and `p` is McNemar's exact one, `adjusted`
    by Holm for all pairs of the group; None otherwise.
    """

    setting: int
    first: str
    second: str
    difference: Mean
    only_first: int | None = None
    only_second: int | None = None
    p: float | None = None
    adjusted: float | None = None


def claims(found: Mapping[Key, Answer], settings: Sequence[Mapping[str, Any]]) -> Iterator[Claim]:
    """Each sampled setting against the plainest greedy one."""
    plain = [n for n, s in enumerate(settings) if s.get("temperature") == 0]
    plain.sort(key=lambda n: settings[n].get("repetition_penalty", 1) != 1)
    if not plain:
        return
    base = plain[0]
    for setting, sampling in enumerate(settings):
        if sampling.get("temperature") == 0:
            continue
        repeats = _paired(_repetition(found, base), _repetition(found, setting))
        if repeats is not None:
            yield Claim("greedy repeats", setting, _verdict(repeats, NO_REPEATS), repeats)
        helps = _paired(accuracy(found, setting), accuracy(found, base))
        if helps is not None:
            yield Claim("temperature helps", setting, _verdict(helps, NO_HELP), helps)


def _repetition(found: Mapping[Key, Answer], setting: int) -> dict[str, float]:
    return per_item(by_item(found, setting), lambda a: repeated_share(a.ids))


def _verdict(found: Mean, least: float) -> Verdict:
    """Of "the difference is above zero"; refuted also where it can't be as large as `least`."""
    if found.low is None or found.high is None:
        return "can't tell"
    if found.low > 0:
        return "confirmed"
    return "refuted" if found.high < least else "can't tell"


def _paired(first: Mapping[str, float], second: Mapping[str, float]) -> Mean | None:
    return difference([first[item] - second[item] for item in first if item in second])


def pairs(found: Sequence[tuple[str, Mapping[Key, Answer]]], settings: int) -> Iterator[Pair]:
    """Every two of the named arms under every setting."""
    several = []
    for setting in range(settings):
        for one, other in combinations(found, 2):
            mine, theirs = (accuracy(arm[1], setting) for arm in (one, other))
            apart = _paired(mine, theirs)
            if apart is None:
                continue
            common = [item for item in mine if item in theirs]
            # A share between 0 and 1 is of several seeds: McNemar's test is of single answers.
            single = all(
                sum(key[0] == setting and key[3] == 0 for key in arm[1]) == len(side)
                for arm, side in ((one, mine), (other, theirs))
            )
            pair = Pair(setting, one[0], other[0], apart)
            if single:
                first = sum(mine[item] > theirs[item] for item in common)
                second = sum(mine[item] < theirs[item] for item in common)
                p = mcnemar(first, second)
                pair = Pair(setting, one[0], other[0], apart, first, second, p)
            several.append(pair)
    tested = [pair for pair in several if pair.p is not None]
    adjusted = dict(zip(map(id, tested), holm([p.p or 0.0 for p in tested]), strict=True))
    for pair in several:
        yield Pair(
            pair.setting, pair.first, pair.second, pair.difference,
            pair.only_first, pair.only_second, pair.p, adjusted.get(id(pair)),
        )  # fmt: skip
