"""Whether an answer to a task is right. The text is a model's: only its beginning is looked at, and
no check takes more than linear time or runs what the model wrote.

A check is a mapping `{"how": …, "answer": …}`:

    number      the last number in the text is the answer
    contains    one of the answers is in the text as words, none of `not` is
    exact       the first line that is not empty is the answer, quotes around it aside
    word        the first word is the answer; valid if it is one of `of`
    json        the whole text is JSON, a code fence aside; right if it equals the answer
    shape       the first thing of the form `shape` (9 a digit, A a letter) is the answer
    bullets     one line per item, each after a dash, star or number, and no other lines
    separated   one line, the items separated by `by`
    order       the last mentions of the items are in the answer's order
    expression  arithmetic in x with the answer's value for several x
"""

from __future__ import annotations

import ast
import json
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

#: Characters of an answer that are looked at.
LIMIT = 4000
_NUMBER = re.compile(r"-?(?<!\d)\d{1,15}(?!\d)(?:,\d{3}(?!\d)){0,4}(?:\.\d{1,15}(?!\d))?")
_WORD = re.compile(r"\w+")
_QUOTES = "\"'`*“”\u2018\u2019"
_BULLET = re.compile(r"(?:[-*•–]|\d{1,3}[.)])\s{1,4}")
_POINTS = (0, 1, 2, 5, 8, 13, -3)


@dataclass(frozen=True)
class Outcome:
    """`valid` says whether the text has the form that was asked for; None where none was."""

    right: bool
    valid: bool | None = None


def judge(check: Mapping[str, Any], text: str) -> Outcome:
    """Raises ValueError for a check of an unknown kind or without what it needs."""
    how = check.get("how")
    find = _CHECKS.get(how) if isinstance(how, str) else None
    if find is None:
        raise ValueError(f"unknown check {how!r}, expected one of: {', '.join(_CHECKS)}")
    try:
        return find(check, text[:LIMIT].strip())
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a check {how!r} that cannot be read: {error!r}") from error


def reference(check: Mapping[str, Any]) -> str:
    """A right answer as a model would write it."""
    how, answer = check.get("how"), check.get("answer")
    if how == "json":
        return json.dumps(answer, ensure_ascii=False)
    if not isinstance(answer, list):
        return str(answer)
    parts = [str(part) for part in answer]
    if how == "contains":
        return parts[0]
    if how == "bullets":
        return "\n".join(f"- {part}" for part in parts)
    return (str(check.get("by", ",")) + " ").join(parts)


def fault(item: Mapping[str, Any]) -> str | None:
    """Why an item of a data file is no task: no check, or one that refuses its own answer."""
    check = item.get("check")
    if not isinstance(check, Mapping):
        return "expected a check with `how` and `answer`"
    try:
        right = judge(check, reference(check)).right
    except ValueError as error:
        return str(error)
    return None if right else "the check does not accept its own answer"


def _number(check: Mapping[str, Any], text: str) -> Outcome:
    found = list(_NUMBER.finditer(text))
    if not found:
        return Outcome(False)
    last = found[-1][0].replace(",", "")
    # A dash between digits is no sign.
    if text[: found[-1].start()][-1:].isdigit():
        last = last.removeprefix("-")
    return Outcome(float(last) == float(check["answer"]))


def _contains(check: Mapping[str, Any], text: str) -> Outcome:
    words = _words(text)
    right = any(f" {_words(one).strip()} " in words for one in check["answer"])
    return Outcome(
        right and not any(f" {_words(one).strip()} " in words for one in check.get("not", ()))
    )


def _exact(check: Mapping[str, Any], text: str) -> Outcome:
    answer = str(check["answer"])
    line = next((one.strip() for one in text.splitlines() if one.strip(_QUOTES + " ")), "")
    return Outcome(answer in (line, line.strip(_QUOTES), line.strip(_QUOTES).removesuffix(".")))


def _word(check: Mapping[str, Any], text: str) -> Outcome:
    words = text.split(maxsplit=1)
    word = words[0].strip(_QUOTES + ".,:;!?()").casefold() if words else ""
    allowed = [str(one).casefold() for one in check["of"]]
    valid = word in allowed and text.strip(_QUOTES + ".! ").casefold() == word
    return Outcome(word == str(check["answer"]).casefold(), valid)


def _json(check: Mapping[str, Any], text: str) -> Outcome:
    try:
        found = json.loads(_unfenced(text), parse_constant=_no_number)
    except (ValueError, RecursionError):
        return Outcome(False, False)
    return Outcome(found == check["answer"], isinstance(found, dict | list))


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _shape(check: Mapping[str, Any], text: str) -> Outcome:
    parts = {"9": r"\d", "A": "[A-Za-z]"}
    mask = "".join(parts.get(c, re.escape(c)) for c in str(check["shape"])[:100])
    found = re.search(rf"(?<![\w-]){mask}(?![\w-])", text)
    return Outcome(found is not None and found[0] == check["answer"], found is not None)


def _bullets(check: Mapping[str, Any], text: str) -> Outcome:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    marks = [_BULLET.match(line) for line in lines]
    items = [_plain(line[m.end() :]) for line, m in zip(lines, marks, strict=True) if m]
    valid = bool(lines) and all(marks)
    return Outcome(valid and items == [_plain(one) for one in check["answer"]], valid)


def _separated(check: Mapping[str, Any], text: str) -> Outcome:
    by = str(check["by"])
    items = [_plain(one) for one in text.split(by)]
    valid = "\n" not in text and len(items) > 1
    return Outcome(valid and items == [_plain(one) for one in check["answer"]], valid)


def _order(check: Mapping[str, Any], text: str) -> Outcome:
    wanted = [str(one).casefold() for one in check["answer"]]
    names = set(wanted)
    found = [word for word in _words(text).split() if word in names]
    return Outcome(found[-len(wanted) :] == wanted)


def _expression(check: Mapping[str, Any], text: str) -> Outcome:
    mine = _program(str(check["answer"]))
    if mine is None:
        raise KeyError("an answer that is an expression")
    theirs = _program(_expression_in(text))
    if theirs is None:
        return Outcome(False, False)
    try:
        return Outcome(all(abs(mine(x) - theirs(x)) < 1e-9 for x in _POINTS), True)
    except (ArithmeticError, ValueError):
        return Outcome(False, True)


def _expression_in(text: str) -> str:
    """The first line of code, without what gives it a name."""
    line = next((one for one in _unfenced(text).splitlines() if one.strip()), "")
    line = line.strip().strip(_QUOTES.replace("*", "")).strip()
    line = line.removeprefix("return ").removeprefix("lambda x:")
    name, equals, rest = line.partition("=")
    return rest if equals and name.strip().isidentifier() else line


_OPERATORS: Mapping[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def _program(source: str) -> Callable[[float], float] | None:
    """Arithmetic in x, to be evaluated by walking its tree; None for anything else."""
    if len(source) > 120:
        return None
    try:
        tree = ast.parse(source.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return (lambda x: _evaluate(tree, x)) if _arithmetic(tree) else None


def _arithmetic(node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp):
        known = type(node.op) in _OPERATORS or _is_square(node)
        return known and _arithmetic(node.left) and _arithmetic(node.right)
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.USub) and _arithmetic(node.operand)
    if isinstance(node, ast.Constant):
        return type(node.value) is int and abs(node.value) < 10**6
    return isinstance(node, ast.Name) and node.id == "x"


def _is_square(node: ast.BinOp) -> bool:
    """The one power that cannot grow large."""
    power = node.right
    return isinstance(node.op, ast.Pow) and isinstance(power, ast.Constant) and power.value == 2


def _evaluate(node: ast.expr, x: float) -> float:
    if isinstance(node, ast.BinOp):
        left, right = float(_evaluate(node.left, x)), float(_evaluate(node.right, x))
        if isinstance(node.op, ast.Pow):
            return left * left
        return _OPERATORS[type(node.op)](left, right)
    if isinstance(node, ast.UnaryOp):
        return -_evaluate(node.operand, x)
    return float(node.value) if isinstance(node, ast.Constant) else x  # type: ignore[arg-type]


def _unfenced(text: str) -> str:
    """What is inside a code fence that is all of the text."""
    if not text.startswith("```"):
        return text
    _, _, body = text.partition("\n")
    return body.rstrip().removesuffix("```").strip()


def _words(text: object) -> str:
    """Words in lower case between single spaces, with one at each end."""
    return " ".join(["", *_WORD.findall(str(text).casefold()), ""])


def _plain(text: object) -> str:
    return str(text).strip().strip(_QUOTES + ".,").casefold()


_CHECKS: Mapping[str, Callable[[Mapping[str, Any], str], Outcome]] = {
    "number": _number,
    "contains": _contains,
    "exact": _exact,
    "word": _word,
    "json": _json,
    "shape": _shape,
    "bullets": _bullets,
    "separated": _separated,
    "order": _order,
    "expression": _expression,
}
