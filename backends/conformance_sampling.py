"""Checks of sampling: each parameter does what it says, or is refused."""

from __future__ import annotations

from backends.conformance_subject import Subject
from backends.promises import Finding


def _promise(subject: Subject, name: str) -> Finding:
    found = subject.sampling
    return found.get(name) or found.get("") or (False, "never asked")


def seed_repeats(subject: Subject) -> Finding:
    """The same seed gives the same tokens."""
    return _promise(subject, "seed_repeats")


def seed_matters(subject: Subject) -> Finding:
    """Other seeds give other tokens."""
    return _promise(subject, "seed_matters")


def temperature_honoured(subject: Subject) -> Finding:
    """A high temperature leaves the greedy path, one near 0 stays on it."""
    return _promise(subject, "temperature_honoured")


def top_k_honoured(subject: Subject) -> Finding:
    """A top_k of 1 leaves the likeliest token, however flat the distribution is."""
    return _promise(subject, "top_k_honoured")


def top_p_honoured(subject: Subject) -> Finding:
    """A top_p near 0 leaves the likeliest token, however flat the distribution is."""
    return _promise(subject, "top_p_honoured")


def min_p_honoured(subject: Subject) -> Finding:
    """A min_p near 1 leaves the likeliest token, however flat the distribution is."""
    return _promise(subject, "min_p_honoured")


def repetition_penalty_honoured(subject: Subject) -> Finding:
    """A strong penalty changes an answer that repeats something."""
    return _promise(subject, "repetition_penalty_honoured")


CHECKS = (
    seed_repeats,
    seed_matters,
    temperature_honoured,
    top_k_honoured,
    top_p_honoured,
    min_p_honoured,
    repetition_penalty_honoured,
)
