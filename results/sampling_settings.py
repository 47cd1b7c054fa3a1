"""What the measure `sampling` asks of a sampler: each filter alone, in pairs, all together.

Data, and the words for it. Small filters cut tokens that are likely, so that a cut at another
place shows within 2,000 draws; pairs are those whose order changes the distribution.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: By name of the field in `backends.api.Sampling`; the order is the one that adapters are told.
FILTERS = ("repetition_penalty", "temperature", "top_k", "top_p", "min_p")

PARAMETERS = (*FILTERS, "seed")

#: Values at which a filter does nothing.
OFF: Mapping[str, float] = {
    "repetition_penalty": 1.0, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0,
}  # fmt: skip

WORDS: Mapping[str, str] = {
    "repetition_penalty": "repetition penalty", "temperature": "temperature", "top_k": "top-k",
    "top_p": "top-p", "min_p": "min-p", "seed": "seed",
}  # fmt: skip


def _setting(**told: float) -> dict[str, Any]:
    return {**OFF, "seed": 0, **told}


DEFAULT: tuple[Mapping[str, Any], ...] = (
    _setting(temperature=0.7),
    _setting(temperature=1.3),
    _setting(top_k=5),
    _setting(top_p=0.6),
    _setting(min_p=0.1),
    _setting(repetition_penalty=1.3),
    _setting(temperature=0.7, top_k=10),
    _setting(temperature=1.6, top_p=0.6),
    _setting(temperature=1.6, min_p=0.15),
    _setting(top_k=8, top_p=0.6),
    _setting(top_p=0.8, min_p=0.1),
    _setting(temperature=1.3, top_k=12, top_p=0.8, repetition_penalty=1.2),
    _setting(temperature=1.3, top_k=12, top_p=0.8, min_p=0.08, repetition_penalty=1.2),
)

SETTINGS: Mapping[str, tuple[Mapping[str, Any], ...]] = {"default": DEFAULT}


def active(sampling: Mapping[str, Any]) -> tuple[str, ...]:
    """The filters that a setting switches on, in the order that adapters are told."""
    return tuple(name for name in FILTERS if sampling[name] != OFF[name])


def words(sampling: Mapping[str, Any]) -> str:
    """`temperature 0.7, top-k 10`."""
    return ", ".join(f"{WORDS[name]} {sampling[name]:g}" for name in active(sampling))
