"""Mistral v0.1, v0.3 and Nemo: our families against Mistral's own generator, mistral-common.

Where the two differ, the published Jinja template is the reference, since it is what engines use:
mistral-common repairs what such a template refuses, and makes no special token of a content.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.chat.vocabulary import FolderVocabulary

HERE = Path(__file__).parent
VOCABULARIES = {
    "mistral-v0.1": "tokenizer.model.v1",
    "mistral-v0.3": "mistral_instruct_tokenizer_240323.model.v3",
    "mistral-nemo": "tekken_240718.json",
}
# Conversations that differ: why, what mistral-common says, what we say (None: refused). Two turns
# of one role, which the published templates refuse, are joined: that depends on no wording, below.
SYSTEM = "a system message may stand anywhere and parts turns; the published templates refuse it"
TRIMMED = "white space at the end of the answer's beginning is cut; transformers keeps it"
DIFFERENCES: dict[tuple[str, str], tuple[str, str, str | None]] = {
    ("mistral-v0.1", "late-system"): (
        SYSTEM, "<s> [INST] Be brief.\n\nHello. [/INST] [INST] Who are you? [/INST]", None),
    ("mistral-v0.3", "late-system"): (
        SYSTEM, "<s>[INST] Hello.[/INST][INST] Be brief.\n\nWho are you?[/INST]", None),
    ("mistral-nemo", "late-system"): (
        SYSTEM, "<s>[INST]Hello.[/INST][INST]Be brief.\n\nWho are you?[/INST]", None),
    ("mistral-nemo", "prefill-space"): (
        TRIMMED, "<s>[INST]Go.[/INST]I am", "<s>[INST]Go.[/INST]I am "),
}  # fmt: skip
JOINED = "two-users"
# Nemo: our ids are others though the text is the same.
OTHER_IDS = {
    "injection": "<s>, </s> and [/INST] in a content are text for mistral-common, and special "
    "tokens for transformers and llama.cpp",
}


def joined(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """As mistral-common repairs two turns of one role: one turn, a blank line between the two."""
    assert len({message["role"] for message in messages}) == 1
    return [{**messages[0], "content": "\n\n".join(m["content"] for m in messages)}]


def readable(debug: str) -> str:
    """SentencePiece's pieces as text: ▁ is a space, <0x..> a byte."""

    def bytes_of(match: re.Match[str]) -> str:
        return bytes.fromhex(match[0].replace("<0x", "").replace(">", "")).decode()

    return re.sub(r"(<0x[0-9A-F]{2}>)+", bytes_of, debug.replace("▁", " "))


@pytest.fixture(scope="module")
def theirs(
    mistral_common: Path, asked: list[dict[str, Any]], stranger: Callable[..., Any]
) -> dict[str, Any]:
    command = [sys.executable, "-I", "-S", str(HERE / "by_mistral_common.py"), str(mistral_common)]
    found = stranger(command, {"vocabularies": list(VOCABULARIES.values()), "asked": asked})
    return {name: found[vocabulary] for name, vocabulary in VOCABULARIES.items()}


@pytest.mark.parametrize("name", VOCABULARIES)
def test_a_family_says_what_mistral_common_says(
    name: str,
    theirs: dict[str, Any],
    asked: list[dict[str, Any]],
    ours: Callable[..., dict[str, str | None]],
    family: Callable[[str], tuple[str, dict[str, str]]],
) -> None:
    rendered = ours(*family(name))
    for one in asked:
        text, found = rendered[one["name"]], theirs[name][one["name"]]
        said = None if found is None else readable(found[0])
        if (name, one["name"]) in DIFFERENCES:
            assert (said, text) == DIFFERENCES[name, one["name"]][1:], one["name"]
        elif one["name"] == JOINED:
            repaired = [{**one, "messages": joined(one["messages"])}]
            assert text is None and said == ours(*family(name), repaired)[JOINED]
        else:
            assert text == said, one["name"]
    assert sum(text is None for text in rendered.values()) <= 4


def test_the_ids_for_nemo_are_those_of_tekken(
    theirs: dict[str, Any],
    asked: list[dict[str, Any]],
    lenml: Callable[[str], Path],
    ours: Callable[..., dict[str, str | None]],
    family: Callable[[str], tuple[str, dict[str, str]]],
) -> None:
    vocabulary = FolderVocabulary(lenml("tokenizer-mistral_nemo") / "models")
    rendered = ours(family("mistral-nemo")[0], vocabulary.tokens)
    other = {
        name
        for name, text in rendered.items()
        if text is not None
        and ("mistral-nemo", name) not in DIFFERENCES
        and vocabulary.encode(text) != theirs["mistral-nemo"][name][1]
    }
    assert other == set(OTHER_IDS)
    pieces = ("<s>", "</s>", "[INST]", "[/INST]")
    numbers = {vocabulary.special[piece] for piece in pieces}
    made = [t for t in vocabulary.encode(rendered["injection"] or "") if t in numbers]
    left = [t for t in theirs["mistral-nemo"]["injection"][1] if t in numbers]
    (content,) = [one["messages"][0]["content"] for one in asked if one["name"] == "injection"]
    injected = sum(content.count(piece) for piece in pieces)
    assert injected > 0 and len(made) == len(left) + injected
