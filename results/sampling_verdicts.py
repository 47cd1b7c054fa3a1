"""From tested settings to a verdict on each parameter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

from results.sampling_observations import Hypothesis, Line, Seeds
from results.sampling_settings import FILTERS, WORDS

Verdict = Literal["honoured", "ignored", "differs", "refused", "untold"]

COMPATIBLE = 0.001
"""A p-value that an explanation of a failed setting must reach."""

FAMILIAR = 5.0
"""What an explanation of simpler settings may lack in log-likelihood."""

SURE = 1e-6
"""A chance so small that it is not taken for one."""

UNKNOWN = "its draws fit no known way to apply it"
GREEDY = "greedy"


@dataclass(frozen=True)
class Parameter:
    """What an engine does with one parameter. `detail` says how or why; empty if `honoured`.

    `settings` counts the tested settings it is in.
    """

    name: str
    verdict: Verdict
    detail: str
    settings: int


@dataclass(frozen=True)
class _Vote:
    """What one failed setting says about a parameter."""

    line: Line
    ignored: bool
    how: str


def explained(lines: Sequence[Line]) -> tuple[Line, ...]:
    """One arm's lines, failed ones with an explanation. Those with few filters come first: what
    explains them is preferred for the others, where it is about as likely as the best."""
    found = list(lines)
    known: set[tuple[str, str]] = set()
    failed = [n for n, line in enumerate(lines) if line.tested and not line.as_told]
    for number in sorted(failed, key=lambda n: len(lines[n].active)):
        line = lines[number]
        explanation = _explain(line, known)
        if explanation is not None:
            known.add((explanation.kind, explanation.of))
            found[number] = replace(line, explanation=explanation)
    return tuple(found)


def _explain(line: Line, known: set[tuple[str, str]]) -> Hypothesis | None:
    """Of the hypotheses that the draws are compatible with, the one they are likeliest under."""

    def weight(h: Hypothesis) -> float:
        return _likelihood(line.counts, h) + (FAMILIAR if (h.kind, h.of) in known else 0.0)

    fitting = [
        h
        for h in line.hypotheses
        if h.kind not in ("told", "edge") and h.p_value >= COMPATIBLE and not h.outside
    ]
    return max(fitting, key=weight, default=None)


def _likelihood(counts: Sequence[int], hypothesis: Hypothesis) -> float:
    pairs = zip(counts, hypothesis.probabilities, strict=True)
    return sum(c * math.log(max(p, 1e-300)) for c, p in pairs if c)


def judge(lines: Sequence[Line], seeds: Sequence[Seeds]) -> tuple[Parameter, ...]:
    """A verdict per parameter, seed last."""
    tested = [line for line in lines if line.tested]
    seed = _seed(seeds)
    if _always_greedy(tested):
        seed = Parameter("seed", "untold", "it always gives the likeliest token", seed.settings)
        return (*_greedy(lines), seed)
    if seed.verdict == "ignored" and any(_shared(one) for one in seeds):
        why = "every seed gives the same token"
        found = (_without(name, lines) or _untold(name, why, tested) for name in FILTERS)
        return (*found, seed)
    votes = _votes(tested)
    return (*(_filter(name, lines, votes) for name in FILTERS), seed)


def _filter(name: str, lines: Sequence[Line], votes: dict[str, list[_Vote]]) -> Parameter:
    if (none := _without(name, lines)) is not None:
        return none
    tested = [line for line in lines if line.tested and name in line.active]
    telling = [line for line in tested if _tells(name, line)]
    said = votes.get(name, [])
    if said:
        ignored = [vote for vote in said if vote.ignored]
        if len(ignored) == len(said) >= len(telling):
            return Parameter(name, "ignored", "as if it had not been set", len(tested))
        plainest = min(said, key=lambda vote: len(vote.line.active))
        return Parameter(name, "differs", _how(name, plainest), len(tested))
    if any(line.as_told for line in telling):
        return Parameter(name, "honoured", "", len(tested))
    failed = any(not line.as_told for line in tested)
    why = "other parameters are not as told" if failed else "it would not show in these settings"
    return _untold(name, why, tested)


def _how(name: str, vote: _Vote) -> str:
    if not vote.ignored:
        return vote.how
    others = [WORDS[other] for other in vote.line.active if other != name]
    return f"ignored together with {', '.join(others)}" if others else "ignored alone"


def _tells(name: str, line: Line) -> bool:
    """Would it show here if the parameter were ignored? Only if the draws then fit badly."""
    return (
        any(
            h.kind == "without" and h.of == name and h.p_value < COMPATIBLE for h in line.hypotheses
        )
        or not line.as_told
    )


def _without(name: str, lines: Sequence[Line]) -> Parameter | None:
    """The verdict where nothing was drawn under a parameter."""
    asked = [line for line in lines if name in line.active]
    if any(line.tested for line in asked):
        return None
    alone = sorted((line for line in asked if line.refused), key=lambda line: len(line.active))
    if alone:
        return Parameter(name, "refused", alone[0].refused or "", 0)
    why = next((line.error for line in asked if line.error), None)
    if any(line.hypotheses for line in asked):
        why = "its cheap draws are not those of its requests"
    return Parameter(name, "untold", why or "no setting tried it", 0)


def _untold(name: str, why: str, tested: Sequence[Line]) -> Parameter:
    return Parameter(name, "untold", why, sum(name in line.active for line in tested))


def _votes(tested: Sequence[Line]) -> dict[str, list[_Vote]]:
    votes: dict[str, list[_Vote]] = {}
    unexplained = []
    for line in (line for line in tested if not line.as_told):
        if line.explanation is None:
            unexplained.append(line)
            continue
        name, ignored, how = _blame(line.explanation, line.active)
        votes.setdefault(name, []).append(_Vote(line, ignored, how))
    # A filter that is alone in its setting can be blamed without knowing how; but where the
    # temperature itself is not as told, everything fails with it.
    for line in sorted(
        unexplained, key=lambda line: ("temperature" not in line.active, len(line.active))
    ):
        if not any(name in votes for name in (*line.active, "temperature")):
            for name in line.active:
                with_ = f", together with {len(line.active) - 1} more" if line.active[1:] else ""
                votes.setdefault(name, []).append(_Vote(line, False, UNKNOWN + with_))
    return votes


def _blame(found: Hypothesis, told: tuple[str, ...]) -> tuple[str, bool, str]:
    """(parameter, ignored?, how) of an explanation."""
    if found.kind == "without":
        return found.of, True, ""
    if found.kind == "variant":
        return found.of, False, found.how
    for name in ("temperature", "repetition_penalty"):
        if name in told:
            later = told[told.index(name) + 1 :]
            before = [o for o in found.order[: found.order.index(name)] if o in later]
            if before:
                return name, False, f"is applied after {' and '.join(WORDS[o] for o in before)}"
    for at, name in enumerate(told):
        for other in told[at + 1 :]:
            if found.order.index(other) < found.order.index(name):
                return other, False, f"is applied before {WORDS[name]}"
    return told[0], False, "is applied in another order"


def _always_greedy(tested: Sequence[Line]) -> bool:
    failed = [line for line in tested if not line.as_told]
    return len(failed) > 1 and all(
        any(_is_greedy(h) and not h.outside for h in line.hypotheses) for line in failed
    )


def _is_greedy(found: Hypothesis) -> bool:
    return found.kind == "variant" and found.how.startswith(GREEDY)


def _greedy(lines: Sequence[Line]) -> tuple[Parameter, ...]:
    tested = [line for line in lines if line.tested]
    how = "it always gives the likeliest token"
    return tuple(
        Parameter(name, "ignored", how, len(tested))
        if name == "temperature"
        else _without(name, lines) or _untold(name, how, tested)
        for name in FILTERS
    )


def _seed(seeds: Sequence[Seeds]) -> Parameter:
    told = [one for one in seeds if one.asked > 1]
    if not told:
        refused = next((one.refused for one in seeds if one.refused), None)
        why = next((one.error for one in seeds if one.error), "nothing was asked")
        return Parameter("seed", "refused" if refused else "untold", refused or why, 0)
    if any(_shared(one) for one in told):
        return Parameter("seed", "ignored", "every seed gives the same token", len(told))
    asked, repeated = sum(one.asked for one in told), sum(one.repeated for one in told)
    if repeated == asked:
        if all(one.distinct == 1 for one in told):
            return Parameter("seed", "untold", "one token is nearly certain", len(told))
        return Parameter("seed", "honoured", "", len(told))
    from scipy import stats

    chance = max(one.collision for one in told)
    if stats.binom.sf(repeated - 1, asked, chance) >= COMPATIBLE:
        return Parameter("seed", "ignored", "the same seed gives other tokens", len(told))
    how = f"{asked - repeated} of {asked} requests made again gave another token"
    return Parameter("seed", "differs", how, len(told))


def _shared(one: Seeds) -> bool:
    """All seeds gave one token, which independent draws would not."""
    return one.asked > 1 and one.distinct == 1 and one.collision ** (one.asked / 2) < SURE


def applied_order(lines: Sequence[Line], parameters: Sequence[Parameter]) -> str:
    """The filters, first to last, as far as draws tell; empty where no setting shows an order."""
    honest = {p.name for p in parameters if p.verdict in ("honoured", "differs")}
    shown: set[str] = set()
    moved: set[tuple[str, str]] = set()
    for line in (line for line in lines if line.tested):
        found = line.explanation
        if found is not None and found.kind == "order":
            shown |= set(line.active)
            for first, then in combinations(line.active, 2):
                if found.order.index(then) < found.order.index(first):
                    moved.add((first, then))
        others = [h for h in line.hypotheses if h.kind == "order"]
        if line.as_told and any(h.p_value < COMPATIBLE for h in others):
            shown |= set(line.active)

    # The told order, except that a filter waits for those that were seen to come before it.
    waiting = [name for name in FILTERS if name in shown & honest]
    applied: list[str] = []
    while waiting:
        free = (n for n in waiting if not any((n, other) in moved for other in waiting))
        applied.append(next(free, waiting[0]))
        waiting.remove(applied[-1])
    return ", ".join(WORDS[name] for name in applied)
