"""Sampling for engines that end at the logits: the filters and the draw, on numpy.

In the order of the other engines: repetition penalty (over the whole sequence, prompt included),
temperature, top-k, top-p, min-p.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from backends.api import Sampling, Unsupported

SEED_LIMIT = 2**63
Picker = Callable[[Sequence[int], Any], int]
"""From the ids so far and the last position's logits, float32 (vocabulary,), to the next id."""


def picker(numpy: Any, sampling: Sampling) -> Picker:
    """For one request: its draws come from one generator, seeded once."""
    if sampling.greedy:
        return lambda ids, logits: int(penalised(numpy, sampling, ids, logits).argmax())
    source = generator(numpy, sampling.seed)
    return lambda ids, logits: draw(probabilities(numpy, sampling, ids, logits), source)


def generator(numpy: Any, seed: int) -> Any:
    """Raises Unsupported for a seed that numpy would not take."""
    if not 0 <= seed < SEED_LIMIT:
        raise Unsupported(f"seed {seed}: numpy is given 0 to {SEED_LIMIT - 1}")
    return numpy.random.default_rng(seed)


def draw(shares: Any, source: Any) -> int:
    return int(source.choice(len(shares), p=shares))


def penalised(numpy: Any, sampling: Sampling, ids: Sequence[int], logits: Any) -> Any:
    """Logits above 0 divided by the penalty, those below multiplied, for every id seen."""
    if sampling.repetition_penalty == 1.0:
        return logits
    seen, changed = sorted(set(ids)), logits.copy()
    scores, penalty = logits[seen], sampling.repetition_penalty
    changed[seen] = numpy.where(scores < 0, scores * penalty, scores / penalty)
    return changed


def probabilities(numpy: Any, sampling: Sampling, ids: Sequence[int], logits: Any) -> Any:
    """The filtered distribution, float64 (vocabulary,)."""
    scores = penalised(numpy, sampling, ids, logits).astype(numpy.float64) / sampling.temperature
    if 0 < sampling.top_k < len(scores):
        least = numpy.partition(scores, -sampling.top_k)[-sampling.top_k]
        scores = numpy.where(scores < least, -numpy.inf, scores)
    shares = numpy.exp(scores - scores.max())
    shares /= shares.sum()
    if sampling.top_p < 1.0:
        order = numpy.argsort(-shares, kind="stable")
        ranked = shares[order]
        # A token stays as long as those before it do not reach top_p: the likeliest always does.
        shares[order[numpy.cumsum(ranked) - ranked >= sampling.top_p]] = 0.0
    if sampling.min_p > 0.0:
        shares[shares < sampling.min_p * shares.max()] = 0.0
    return shares / shares.sum()
