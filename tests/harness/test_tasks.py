"""The shipped tasks can be trusted: each check takes its own answer and no other."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from harness import items
from harness.places import SCENARIOS
from results.quality_check import fault, judge, reference

STANDARD: list[Any] = items.load(SCENARIOS / "tasks" / "standard.jsonl")


def wrong(check: dict[str, Any]) -> list[str]:
    """Answers that a check must refuse, near ones among them."""
    how, answer = check["how"], check["answer"]
    found = ["", "I don't know.", "Sure! Here you are:"]
    if how == "number":
        return [*found, str(answer + 1), f"{answer}0", f"1{answer}", f"It is {answer + 2}."]
    if how == "contains":
        return [*found, f"x{answer[0]}x", *check.get("not", ())]
    if how == "exact":
        return [*found, answer + "!?", answer[:-1] + "Q", "x " + answer, answer.swapcase() + "s"]
    if how == "word":
        return [*found, next(o for o in check["of"] if o != answer), answer + answer]
    if how == "json":
        text = json.dumps(answer)
        return [*found, text[:-1], text.replace('"', "'"), f"{text} {text}", "{}", "[]"]
    if how == "shape":
        return [*found, answer + "1", "1" + answer, answer.replace("0", "9").replace("1", "7")]
    if how == "expression":
        return [*found, "x", "x + 1000", f"{answer} + 1", "__import__('os')", "x ** 9 ** 9 ** 9"]
    turned = reference({**check, "answer": answer[::-1]})
    short = reference({**check, "answer": answer[:-1]})
    return [*found, turned, short]


def test_the_set_is_large_and_mixed() -> None:
    assert len(STANDARD) >= 200
    names = Counter(item["name"] for item in STANDARD)
    assert max(names.values()) == 1
    prompts = Counter(json.dumps(item["messages"]) for item in STANDARD)
    assert max(prompts.values()) == 1
    kinds = Counter(item["kind"] for item in STANDARD)
    assert min(kinds.values()) >= 30 and len(kinds) >= 6
    for count in (12, 24, 48, 100):
        some = Counter(item["kind"] for item in items.chosen(STANDARD, count))
        assert set(some) == set(kinds) and min(some.values()) >= count // 10


@pytest.mark.parametrize("item", STANDARD, ids=lambda item: item["name"])
def test_a_check_takes_its_own_answer_and_refuses_others(item: dict[str, Any]) -> None:
    check = item["check"]
    mine = judge(check, reference(check))
    assert mine.right and mine.valid in (True, None)
    assert (mine.valid is not None) or check["how"] not in ("json", "shape", "bullets")
    for text in wrong(check):
        assert not judge(check, text).right, text


def test_what_a_model_says_around_an_answer() -> None:
    number = {"how": "number", "answer": 19}
    assert judge(number, "12 + 7 = 19").right
    assert judge(number, "The answer is **19**.").right
    assert judge(number, "19.0").right and judge({"how": "number", "answer": 1500}, "1,500").right
    assert not judge(number, "19 apples, 20 pears").right
    assert judge({"how": "number", "answer": 4}, "2-4").right
    assert judge({"how": "number", "answer": -4}, "It is -4.").right
    assert judge({"how": "number", "answer": -1234}, "It is -1,234").right
    assert not judge({"how": "number", "answer": 1234}, "It is -1,234").right
    exact = {"how": "exact", "answer": "The cat."}
    assert judge(exact, '\n"The cat."\nIs there more?').right
    assert judge({"how": "exact", "answer": "cat"}, "cat.").right
    answer = {"how": "json", "answer": {"a": 1}}
    assert judge(answer, '```json\n{"a": 1}\n```').right
    assert judge(answer, '{"a": 2}').valid and not judge(answer, 'Here: {"a": 1}').valid
    order = {"how": "order", "answer": ["1", "8", "9"]}
    assert judge(order, "Sorted 8, 9, 1 this is: 1, 8, 9.").right
    assert judge({"how": "expression", "answer": "2 * x"}, "```python\nresult = x + x\n```").right
    assert judge({"how": "expression", "answer": "x * x"}, "x**2").right
    assert not judge({"how": "expression", "answer": "x * x"}, "x**x").valid


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "(" * 100_000, "9" * 100_000, "777," * 50_000, "- " * 50_000, "\x00\ud800\u202e",
     "x" * 1_000_000, "-" * 100_000, '{"a":' * 20_000, "NaN", "1e999", "9" * 110 + "*x", "1/0"],
    ids=range(13),
)  # fmt: skip
def test_no_text_can_break_a_check(text: str) -> None:
    for item in STANDARD:
        assert not judge(item["check"], text).right, item["name"]


def test_a_bad_check_is_named() -> None:
    with pytest.raises(ValueError, match="unknown check 'magic'"):
        judge({"how": "magic", "answer": 1}, "1")
    with pytest.raises(ValueError, match="cannot be read"):
        judge({"how": "word", "answer": 1}, "1")


def test_what_is_no_task_is_said() -> None:
    assert all(fault(item) is None for item in STANDARD)
    assert fault({}) == "expected a check with `how` and `answer`"
    assert "unknown check" in str(fault({"check": {"how": "magic", "answer": 1}}))
    odd = {"how": "shape", "answer": "12", "shape": "AA"}
    assert fault({"check": odd}) == "the check does not accept its own answer"
