"""Prompts are real text, of the right length, and never share a prefix within a trial."""

from __future__ import annotations

import json

import pytest

from harness import prompts
from harness.errors import BakeoffError
from harness.prompts import PromptSpec


def _specs(tokens: int, requests: int) -> list[PromptSpec]:
    return [PromptSpec(tokens, index) for index in range(requests)]


def test_there_are_passages_and_they_are_text() -> None:
    lines = prompts.PASSAGES.read_text(encoding="utf-8").splitlines()
    passages = [json.loads(line) for line in lines]
    assert len({p["id"] for p in passages}) == len(passages) >= 50
    assert len(prompts.sentences()) >= 400


def test_no_two_requests_of_a_trial_begin_alike() -> None:
    for requests in (2, 8, 100):
        texts = prompts.pieces(_specs(512, requests), requests)
        assert len({text[:12] for text, _ in texts}) == requests


def test_a_prompt_starts_at_a_sentence_and_reads_on() -> None:
    everything = "".join(prompts.sentences())
    for text, _ in prompts.pieces(_specs(64, 5), 5):
        assert text[:300] in everything
        assert text[0].isupper() or not text[0].isalpha()


def test_the_text_is_long_enough_for_any_length() -> None:
    ((text, tokens),) = prompts.pieces([PromptSpec(50_000, 0)], 1)
    assert tokens == 50_000
    assert len(text) >= 50_000 * 4


def test_more_requests_than_sentences_are_refused() -> None:
    with pytest.raises(BakeoffError, match="different prompts"):
        prompts.pieces(_specs(8, 1), 10_000)


def test_a_prompt_of_another_length_is_refused() -> None:
    with pytest.raises(BakeoffError, match="made 2 tokens of a text for 3"):
        prompts.built([PromptSpec(3, 0)], [{"ids": [1, 2], "text": "x"}])


def test_a_shared_prefix_is_the_same_text_for_all_and_the_rest_is_not() -> None:
    specs = [PromptSpec(400, index, shared=True) for index in range(4)]
    found = prompts.pieces(specs, 4)
    shared, own = found[::2], found[1::2]
    assert {tokens for _, tokens in shared} == {350}
    assert len({text for text, _ in shared}) == 1
    assert {tokens for _, tokens in own} == {50}
    assert len({text[:12] for text, _ in own}) == 4


def test_pieces_are_put_together_in_order() -> None:
    spec = PromptSpec(3, 0, shared=True)
    answers = [{"ids": [1, 2], "text": "ab"}, {"ids": [3], "text": "c"}]
    built = prompts.built([spec], answers)
    assert (built[spec].ids, built[spec].text) == ((1, 2, 3), "abc")
