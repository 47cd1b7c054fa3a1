"""What cases and workloads are called, in titles and sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports.untrusted import one_line
from results import arms
from results.records import Case


def variant(case: Case) -> str:
    """The artifact and what else tells the arm apart, bounded."""
    return one_line(arms.variant(case), 100)


def case_name(case: Case) -> str:
    """What rows and sentences call an arm: its backend and variant."""
    return f"{one_line(case.backend, 60)} {variant(case)}"


def workload_title(measure: str, parameters: Mapping[str, Any]) -> str:
    """`Generate 32 → 48 tokens, greedy`; the parameters that tell workloads apart."""
    if measure == "load":
        cache = parameters.get("page_cache")
        return f"Load, {cache} page cache" if cache else "Load"
    if measure != "generate":
        return measure.capitalize()
    parts = [
        f"Generate {parameters.get('prompt_tokens', '?')} → "
        f"{parameters.get('output_tokens', '?')} tokens",
        sampling(parameters.get("sampling")),
        "prompt prefix reused" if parameters.get("reuse_prefix") is True else "",
    ]
    return ", ".join(part for part in parts if part)


def sampling(given: object) -> str:
    """`greedy`, or the parameters that are not off."""
    if not isinstance(given, Mapping):
        return "" if given is None else str(given)
    if given.get("temperature") == 0:
        penalty = given.get("repetition_penalty", 1)
        return "greedy" if penalty == 1 else f"greedy, repetition penalty {penalty}"
    off = {"top_k": 0, "top_p": 1, "min_p": 0, "repetition_penalty": 1}
    shown = [
        f"{k.replace('_', ' ')} {v}" for k, v in given.items() if k != "seed" and off.get(k) != v
    ]
    return ", ".join(shown)
