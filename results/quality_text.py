"""Repetition in an answer, and diversity between answers. All in tokens, but for self-BLEU."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

#: Tokens and characters of an answer that are looked at.
TOKENS = 2048
CHARACTERS = 2000
#: Answers to one item that are compared for self-BLEU.
ANSWERS = 8


def longest_repeat(ids: Sequence[int]) -> int:
    """Length of the longest span of tokens that is there twice; the two may overlap."""
    kept = tuple(ids[:TOKENS])
    suffixes = sorted(kept[start:] for start in range(len(kept)))
    return max((_shared(a, b) for a, b in pairwise(suffixes)), default=0)


def _shared(a: Sequence[int], b: Sequence[int]) -> int:
    length = 0
    for one, other in zip(a, b, strict=False):
        if one != other:
            break
        length += 1
    return length


def repeated_share(ids: Sequence[int], n: int = 4) -> float:
    """seq-rep-n: the share of an answer's n-grams that it has already had; 0 if it has none."""
    grams = _grams(ids, n)
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def distinct(answers: Sequence[Sequence[int]], n: int) -> float | None:
    """distinct-n: different n-grams over all n-grams of the answers together; None without any."""
    grams = [gram for ids in answers for gram in _grams(ids, n)]
    return len(set(grams)) / len(grams) if grams else None


def _grams(ids: Sequence[int], n: int) -> list[tuple[int, ...]]:
    kept = ids[:TOKENS]
    return [tuple(kept[i : i + n]) for i in range(len(kept) - n + 1)]


def self_bleu(texts: Sequence[str]) -> float | None:
    """Mean BLEU (0 to 100, by sacrebleu) of each answer against the others to the same item.

    100 where all are equal. None for a single answer. Raises ModuleNotFoundError where sacrebleu
    is not installed.
    """
    kept = tuple(text[:CHARACTERS] for text in texts[:ANSWERS])
    return _self_bleu(kept) if len(kept) > 1 else None


# Every format of a report asks for the same again.
@lru_cache(maxsize=2048)
def _self_bleu(kept: tuple[str, ...]) -> float:
    from sacrebleu.metrics.bleu import BLEU

    bleu = BLEU(effective_order=True)
    scores = []
    for number, text in enumerate(kept):
        others = kept[:number] + kept[number + 1 :]
        # No words at all: BLEU has nothing to count.
        equal = text in others
        scores.append(100.0 if equal else float(bleu.sentence_score(text, list(others)).score))
    return sum(scores) / len(scores)
