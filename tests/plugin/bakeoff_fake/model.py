"""A toy language model: logits are a digest of the weights and the last ids. Standard library only."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence

from backends.api import Sampling

VOCABULARY = 256
LETTERS = range(97, 123)


def logits(weights: bytes, ids: Sequence[int]) -> dict[int, float]:
    """Logit by token id, letters only; deterministic, spread over about 6 nats."""
    key = weights + bytes(i % 256 for i in ids[-24:]) + len(ids).to_bytes(4, "little")
    digest = hashlib.sha256(key).digest()
    return {token: digest[token - LETTERS[0]] / 42.0 + token * 1e-6 for token in LETTERS}


def pick(scores: dict[int, float], seen: set[int], sampling: Sampling, rng: random.Random) -> int:
    """Repetition penalty, temperature, top-k, top-p, min-p, then the draw."""
    penalty = sampling.repetition_penalty
    scores = {t: s / penalty if t in seen and penalty != 1.0 else s for t, s in scores.items()}
    ranked = sorted(scores, key=lambda t: -scores[t])
    if sampling.greedy:
        return ranked[0]
    top = scores[ranked[0]]
    weights = [math.exp((scores[t] - top) / sampling.temperature) for t in ranked]
    if sampling.top_k:
        weights = weights[: sampling.top_k]
    total, kept, mass = sum(weights), 0, 0.0
    while kept < len(weights) and mass < sampling.top_p:
        mass += weights[kept] / total
        kept += 1
    weights = [w for w in weights[:kept] if w >= sampling.min_p * weights[0]]
    return rng.choices(ranked[: len(weights)], weights)[0]
