"""Prompts of a given length, made of real text, encoded once by one reference tokenizer.

The project's passages form one long text. The prompt of request k starts at another sentence than
those of all other requests of a trial, and goes on from there: no two requests of a trial share a
prefix, and every prompt still reads as text. Every engine gets the same ids for request k.

Where reuse of the prefix is what is measured, requests share the first 7/8 of their prompt
instead, as the turns of a conversation do, and each goes on with a text of its own.
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

Piece = tuple[str, int]
"""A text, and how many ids to keep of it."""


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
    """Request number `index` of a trial whose prompts have `tokens` tokens.

    `shared`: all requests of the trial begin with the same 7/8 of them.
    """

    tokens: int
    index: int
    shared: bool = False

    def lengths(self) -> tuple[int, ...]:
        """Tokens of each piece of the prompt."""
        own = max(1, self.tokens // 8)
        return (self.tokens - own, own) if self.shared and self.tokens > 1 else (self.tokens,)


def pieces(specs: Iterable[PromptSpec], requests: int) -> list[Piece]:
    """The texts to encode for these prompts, in order; each long enough for its tokens.

    Raises BakeoffError when there are fewer sentences to start at than requests.
    """
    starts = requests + 1
    count = len(sentences())
    if starts > count:
        raise BakeoffError(
            f"a trial of {requests} requests needs as many different prompts, there are {count - 1}",
            "lower plan.warmup or plan.requests; more trials give more data, too",
        )
    stride = count // starts
    found: list[Piece] = []
    for spec in specs:
        lengths = spec.lengths()
        sentence = [0, spec.index + 1] if len(lengths) > 1 else [spec.index]
        for start, tokens in zip(sentence, lengths, strict=True):
            found.append((text_from(start * stride, tokens * _CHARACTERS_PER_TOKEN), tokens))
    return found


def built(
    specs: Iterable[PromptSpec], encoded: Iterable[Mapping[str, Any]]
) -> dict[PromptSpec, Prompt]:
    """Prompts from the reference tokenizer's answers. Raises BakeoffError if one is too short."""
    answers = iter(encoded)
    prompts: dict[PromptSpec, Prompt] = {}
    for spec in specs:
        parts = [next(answers) for _ in spec.lengths()]
        ids = tuple(int(i) for part in parts for i in part["ids"])
        if len(ids) != spec.tokens:
            raise BakeoffError(
                f"the reference tokenizer made {len(ids)} tokens of a text for {spec.tokens}"
            )
        prompts[spec] = Prompt(digest_ids(ids), ids, "".join(str(part["text"]) for part in parts))
    return prompts
