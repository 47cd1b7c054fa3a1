"""The measure `sampling`: draw the next token many times, and say what was to be expected.

The engine's own logits, filtered here in float64, are compared with its own draws. What is sent is
a summary over bins of tokens: how often each was drawn, and its probability if the engine does as
told, applies its filters in another order, leaves one out, or takes one a little otherwise. The
verdict is not reached here (`results.sampling`).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from time import monotonic
from typing import Any

from backends.api import Backend, Draws, GenerationFailed, Request, Sampling, Scores, Unsupported
from harness.worker.channel import Channel

Job = Mapping[str, Any]
Cuts = Mapping[str, float]
"""A setting's filters by name, possibly with a `top_p_more`: tokens kept beyond the rule's."""

FILTERS = ("repetition_penalty", "temperature", "top_k", "top_p", "min_p")
OFF = {"repetition_penalty": 1.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
SEED_LIMIT = 2**31
SEEDS = 12
"""Requests that are made twice, to see whether a seed decides the token."""

COMPARED = 2
"""Draws of each setting that are made as whole requests, too: does `draw` do what `generate` does?"""

BINS = 40
EXPECTED = 12.0
"""Draws that a bin shall expect at least: fewer, and a chi-square test's far tail is wrong."""

SECONDS = 120.0
LEAST = 200
"""Where each draw is a whole request: a setting ends after SECONDS, yet never before LEAST draws."""

#: How far two evaluations of one prompt may be apart: a token this near to a cut may fall either way.
LOGIT_ERROR = 0.01


def sampling(backend: Backend, job: Job, channel: Channel) -> None:
    """One observation per prompt and setting, and one per prompt about seeds."""
    parameters = job["parameters"]
    told = [Sampling(**setting) for setting in parameters["settings"]]
    for item in job["items"]:
        ids = tuple(int(i) for i in item["ids"])
        found: dict[str, Any]
        try:
            logits = _logits(backend, ids)
        except (GenerationFailed, Unsupported) as error:
            channel.send("observation", data=_of("prompt", item, error=error.reason))
            continue
        found = _seeds(backend, ids, logits)
        channel.send("observation", data=_of("seeds", item, **found))
        for number, setting in enumerate(told):
            name = f"{item['name']} {number} {setting.seed}"
            limit = float(parameters.get("seconds", SECONDS))
            found = _draw(backend, ids, setting, _numbers(name, int(parameters["draws"])), limit)
            if "drawn" in found:
                drawn = found.pop("drawn")
                found.update(_expect(logits, ids, setting, drawn))
            shown = {name: getattr(setting, name) for name in (*FILTERS, "seed")}
            channel.send("observation", data=_of("setting", item, sampling=shown, **found))


def _of(kind: str, item: Mapping[str, Any], **found: Any) -> dict[str, Any]:
    return {"kind": kind, "prompt": item["name"], **found}


def _logits(backend: Backend, ids: tuple[int, ...]) -> Any:
    """The last position's, float64. Minus infinity is a token that can't come."""
    import numpy

    if not isinstance(backend, Scores):
        raise Unsupported("the engine shows no logits, so nothing says what to expect")
    row = numpy.asarray(backend.logits(ids)[-1], dtype=numpy.float64)
    if row.ndim != 1 or not numpy.isfinite(row.max(initial=-numpy.inf)):
        raise GenerationFailed("its logits hold NaN, infinity, or no finite number")
    return row


def _numbers(name: str, count: int) -> list[int]:
    """Seeds without a pattern: some generators start alike from seeds that are."""
    return random.Random(name).sample(range(SEED_LIMIT), count)


def _ask(backend: Backend, ids: tuple[int, ...], setting: Sampling, seed: int) -> int:
    request = Request(ids, 1, sampling=replace(setting, seed=seed))
    return next(int(token.id) for token in backend.generate(request))


def _draw(
    backend: Backend, ids: tuple[int, ...], setting: Sampling, seeds: list[int], seconds: float
) -> dict[str, Any]:
    """`drawn`, and in which `way`; or why there is none."""
    refusal = ""
    if isinstance(backend, Draws):
        try:
            drawn = [int(i) for i in backend.draw(ids, setting, seeds)]
            if len(drawn) != len(seeds):
                return {"error": f"asked for {len(seeds)} draws, the engine gave {len(drawn)}"}
            agreed = _agree(backend, ids, setting, seeds, drawn)
            return {"drawn": drawn, "way": "draw", **agreed}
        except Unsupported as error:
            refusal = error.reason
        except GenerationFailed as error:
            return {"error": error.reason}
    drawn = []
    end = monotonic() + seconds
    try:
        for seed in seeds:
            drawn.append(_ask(backend, ids, setting, seed))
            if monotonic() > end and len(drawn) >= LEAST:
                break
    except Unsupported as error:
        return {"refused": error.reason}
    except (GenerationFailed, StopIteration) as error:
        return {"error": str(error) or "the engine gave no token"}
    return {"drawn": drawn, "way": "generate", **({"why": refusal} if refusal else {})}


def _agree(
    backend: Backend, ids: tuple[int, ...], setting: Sampling, seeds: list[int], drawn: list[int]
) -> dict[str, int]:
    """How many whole requests give the token that `draw` gave for their seed."""
    some = list(zip(seeds, drawn, strict=True))[:COMPARED]
    same = sum(_ask(backend, ids, setting, seed) == token for seed, token in some)
    return {"compared": len(some), "agreed": same}


def _seeds(backend: Backend, ids: tuple[int, ...], logits: Any) -> dict[str, Any]:
    """The same requests in order and in reverse: a token depends on its own seed alone, or not."""
    setting = Sampling(temperature=1.3)
    seeds = _numbers(f"seeds {ids}", SEEDS)
    try:
        first = [_ask(backend, ids, setting, seed) for seed in seeds]
        again = [_ask(backend, ids, setting, seed) for seed in reversed(seeds)][::-1]
    except Unsupported as error:
        return {"refused": error.reason}
    except (GenerationFailed, StopIteration) as error:
        return {"error": str(error) or "the engine gave no token"}
    p = _filtered(logits, ids, FILTERS, {"temperature": 1.3})
    return {
        "asked": SEEDS,
        "repeated": sum(a == b for a, b in zip(first, again, strict=True)),
        "distinct": len(set(first)),
        "collision": float((p**2).sum()),
    }


def _filtered(logits: Any, ids: Sequence[int], order: Sequence[str], cuts: Cuts) -> Any:
    """Probabilities after the filters in `order`; those not in `cuts` are off."""
    import numpy

    scores = logits.copy()
    for name in order:
        value = cuts.get(name, OFF[name])
        if value == OFF[name]:
            continue
        if name == "repetition_penalty":
            seen = numpy.unique(numpy.asarray(ids))
            was = scores[seen]
            scores[seen] = numpy.where(was > 0, was / value, was * value)
        elif name == "temperature":
            scores = scores / value
        elif name == "top_k":
            scores[numpy.argsort(-scores, kind="stable")[int(value) :]] = -numpy.inf
        else:
            p = _softmax(scores)
            if name == "min_p":
                scores[p < value * p.max()] = -numpy.inf
            else:
                ranked = numpy.argsort(-p, kind="stable")
                before = numpy.cumsum(p[ranked]) - p[ranked]
                kept = int((before < value).sum()) + int(cuts.get("top_p_more", 0))
                scores[ranked[max(kept, 1) :]] = -numpy.inf
    return _softmax(scores)


def _softmax(scores: Any) -> Any:
    import numpy

    weights = numpy.exp(scores - scores.max())
    return weights / weights.sum()


def _hypotheses(logits: Any, ids: Sequence[int], setting: Sampling) -> list[dict[str, Any]]:
    """What an engine might have made of the setting, where that is not the same as told.

    `told` comes first; `edge` is the same with tokens that are as good as on a cut on its other
    side, and as good as `told`.
    """
    cuts = {name: getattr(setting, name) for name in FILTERS}
    on = tuple(name for name in FILTERS if cuts[name] != OFF[name])
    found: list[dict[str, Any]] = []

    def add(kind: str, order: Sequence[str], cuts: Cuts, of: str = "", how: str = "") -> None:
        p = _filtered(logits, ids, order, cuts)
        rivals = (
            o for o in found if o["kind"] in ("told", "edge") or (o["kind"], o["of"]) == (kind, of)
        )
        if not any(abs(p - other["p"]).max() < 1e-9 for other in rivals):
            found.append({"kind": kind, "of": of, "how": how, "order": list(order), "p": p})

    add("told", on, cuts)
    for nudged in _nudged(cuts, on):
        add("edge", on, nudged)
    if "top_k" in on and setting.top_k < len(logits):
        near = logits.copy()
        ranked = (-_filtered(logits, ids, FILTERS[:2], cuts)).argsort(kind="stable")
        last, next_ = ranked[setting.top_k - 1 : setting.top_k + 1]
        if abs(near[last] - near[next_]) < LOGIT_ERROR:
            near[[last, next_]] = near[[next_, last]]
            p = _filtered(near, ids, on, cuts)
            found.append({"kind": "edge", "of": "", "how": "", "order": list(on), "p": p})
    for order in permutations(on):
        add("order", order, cuts)
    for left_out in on:
        add("without", [n for n in on if n != left_out], cuts, left_out)
    for name, how, other in _variants(cuts, on):
        switched = [n for n in FILTERS if other.get(n, OFF[n]) != OFF[n]]
        add("variant", switched, other, name, how)
    return found


def _nudged(cuts: Cuts, on: Sequence[str]) -> Iterator[Cuts]:
    for sign in (-1, 1):
        if "top_p" in on:
            yield {**cuts, "top_p": cuts["top_p"] + sign * 0.2 * LOGIT_ERROR}
        if "min_p" in on:
            yield {**cuts, "min_p": cuts["min_p"] * (1 + sign * LOGIT_ERROR)}


def _variants(cuts: Cuts, on: Sequence[str]) -> Iterator[tuple[str, str, Cuts]]:
    yield "temperature", "greedy: the likeliest token, always", {**cuts, "top_k": 1}
    for factor in (0.8, 0.9, 0.95, 1.05, 1.1, 1.25):
        value = cuts["temperature"] * factor
        how = f"as if it were {value:.3g}, not {cuts['temperature']:g}"
        yield "temperature", how, {**cuts, "temperature": value}
    if "temperature" in on:
        how = "its reciprocal is applied"
        yield "temperature", how, {**cuts, "temperature": 1 / cuts["temperature"]}
    if "top_k" in on:
        for more in (-1, 1):
            if cuts["top_k"] + more > 0:
                value = cuts["top_k"] + more
                yield (
                    "top_k",
                    f"keeps {value:g} tokens, not {cuts['top_k']:g}",
                    {**cuts, "top_k": value},
                )
    if "top_p" in on:
        yield "top_p", "leaves out the token that reaches the sum", {**cuts, "top_p_more": -1}
        yield "top_p", "keeps one token more than the sum needs", {**cuts, "top_p_more": 1}


def _expect(logits: Any, ids: Sequence[int], setting: Sampling, drawn: list[int]) -> dict[str, Any]:
    """The draws over bins of tokens, with each hypothesis' probabilities of the bins.

    Bins are runs of tokens in the order of the told distribution; then one of the tokens that only
    an `edge` allows, and one of all others.
    """
    import numpy

    wrong = next((t for t in drawn if not 0 <= t < len(logits)), None)
    if wrong is not None:
        return {"error": f"it drew token {wrong}, the vocabulary has {len(logits)}"}
    hypotheses = _hypotheses(logits, ids, setting)
    told = hypotheses[0]["p"]
    edge = numpy.any([h["p"] > 0 for h in hypotheses if h["kind"] == "edge"] or [told > 0], axis=0)
    bins = numpy.full(len(told), -1)
    ranked = numpy.argsort(-told, kind="stable")[: int((told > 0).sum())]
    number, mass, tokens = 0, 0.0, [0]
    for rank, token in enumerate(ranked.tolist()):
        bins[token] = number
        tokens[number] += 1
        mass += float(told[token]) * len(drawn)
        left = 1.0 - float(told[ranked[: rank + 1]].sum()) if number < BINS - 1 else 0.0
        if number < BINS - 1 and mass >= EXPECTED and left * len(drawn) >= EXPECTED:
            number, mass = number + 1, 0.0
            tokens.append(0)
    tokens += [int(((bins < 0) & edge).sum()), int(((bins < 0) & ~edge).sum())]
    bins[(bins < 0) & edge] = number + 1
    bins[bins < 0] = number + 2
    many = Counter(int(bins[token]) for token in drawn)
    index = numpy.asarray(drawn)
    return {
        "draws": len(drawn),
        "tokens": tokens,
        "counts": [many.get(b, 0) for b in range(number + 3)],
        "likeliest": int(logits.argmax()),
        "hypotheses": [
            {
                **{key: h[key] for key in ("kind", "of", "how", "order")},
                "probabilities": [
                    float(v) for v in numpy.bincount(bins, h["p"], minlength=number + 3)
                ],
                "allowed": int((h["p"] > 0).sum()),
                "outside": int((h["p"][index] == 0).sum()),
            }
            for h in hypotheses
        ],
    }
