"""Prompts of a given length, made of real text, encoded once by one reference tokenizer.

The project's passages form one long text. The prompt of request k starts at another sentence than
those of all other requests of a trial, and goes on from there: no two requests of a trial share a
prefix, and every prompt still reads as text. Every engine gets the same ids for request k.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from harness.errors import BakeoffError
from harness.places import SCENARIOS
from results.records import Prompt, digest_ids

PASSAGES = SCENARIOS / "prompts" / "passages.jsonl"
_CHARACTERS_PER_TOKEN = 12
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"'])")


@cache
def sentences() -> tuple[str, ...]:
    """All sentences of the passages, in order; a passage's last one ends in a blank line."""
    found: list[str] = []
    for line in PASSAGES.read_text(encoding="utf-8").splitlines():
        parts = _SENTENCE.split(json.loads(line)["text"].strip())
        found += [part + " " for part in parts[:-1]] + [parts[-1] + "\n\n"]
    return tuple(found)


def text_from(start: int, characters: int) -> str:
    """At least `characters` of text from sentence `start` on, going round at the end."""
    everything = sentences()
    pieces: list[str] = []
    length, index = 0, start
    while length < characters:
        piece = everything[index % len(everything)]
        pieces.append(piece)
        length += len(piece)
        index += 1
    return "".join(pieces)


@dataclass(frozen=True)
class PromptSpec:
    """Request number `index` of a trial whose prompts have `tokens` tokens."""

    tokens: int
    index: int


def texts(specs: Iterable[PromptSpec], requests: int) -> list[tuple[str, int]]:
    """For each prompt: text that is long enough, and the number of ids to keep of it.

    Raises BakeoffError when there are fewer sentences to start at than requests.
    """
    count = len(sentences())
    if requests > count:
        raise BakeoffError(
            f"a trial of {requests} requests needs as many different prompts, there are {count}",
            "lower plan.warmup or plan.requests; more trials give more data, too",
        )
    stride = count // requests
    return [
        (text_from(spec.index * stride, spec.tokens * _CHARACTERS_PER_TOKEN), spec.tokens)
        for spec in specs
    ]


def built(specs: list[PromptSpec], encoded: list[Mapping[str, Any]]) -> dict[PromptSpec, Prompt]:
    """Prompts from the reference tokenizer's answers. Raises BakeoffError if one is too short."""
    prompts: dict[PromptSpec, Prompt] = {}
    for spec, answer in zip(specs, encoded, strict=True):
        ids: tuple[int, ...] = tuple(answer["ids"])
        if len(ids) != spec.tokens:
            raise BakeoffError(
                f"the reference tokenizer made {len(ids)} tokens of a text for {spec.tokens}"
            )
        prompts[spec] = Prompt(digest_ids(ids), ids, str(answer["text"]))
    return prompts
