"""What workers of the measure `quality` sent, read with care: anything may be in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from results.quality_check import Outcome, judge
from results.records import Record

_IDS = 65_536
_TEXT = 65_536


@dataclass(frozen=True)
class Item:
    """A task with a checkable answer, as the data file has it."""

    name: str
    kind: str
    prompt: str
    check: Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """One request. `error` says why there is no answer; then it counts as a wrong one.

    `run` is 1 where the same request was made a second time. `outcome` is None where the check
    itself cannot be read. `sizes` are the characters of the text that each token added; empty
    where that was not said.
    """

    item: str
    setting: int
    seed: int
    run: int
    ids: tuple[int, ...]
    text: str
    ended: bool
    error: str | None
    outcome: Outcome | None
    sizes: tuple[int, ...] = ()

    @property
    def right(self) -> bool:
        return self.error is None and self.outcome is not None and self.outcome.right


def items(data: object) -> dict[str, Item]:
    """By name; what is no task is left out."""
    found: dict[str, Item] = {}
    for one in data if isinstance(data, list | tuple) else ():
        if isinstance(one, Mapping) and isinstance(one.get("check"), Mapping):
            name, kind = one.get("name"), one.get("kind")
            if isinstance(name, str):
                prompt = _prompt(one.get("messages")) or str(one.get("text") or "")
                known = kind if isinstance(kind, str) and kind else "other"
                found.setdefault(name, Item(name, known, prompt, one["check"]))
    return found


def _prompt(messages: object) -> str:
    """The last message: the question."""
    last = messages[-1] if isinstance(messages, list | tuple) and messages else None
    content = last.get("content") if isinstance(last, Mapping) else None
    return content if isinstance(content, str) else ""


def answers(record: Record, known: Mapping[str, Item], settings: int) -> dict[Key, Answer]:
    """The first observation of each request, in order; what cannot be read is left out."""
    found: dict[Key, Answer] = {}
    for answer in _readable(record, known, settings):
        found.setdefault((answer.setting, answer.item, answer.seed, answer.run), answer)
    return found


Key = tuple[int, str, int, int]
"""Setting, item, seed, run."""


def _readable(record: Record, known: Mapping[str, Item], settings: int) -> Iterator[Answer]:
    for data in record.observations:
        name = data.get("item")
        item = known.get(name) if isinstance(name, str) else None
        setting, seed, run = (data.get(key) for key in ("setting", "seed", "run"))
        if item is None or not (_whole(setting) and _whole(seed) and _whole(run)):
            continue
        if not 0 <= setting < settings or run not in (0, 1):
            continue
        error, ids, text = (data.get(key) for key in ("error", "ids", "text"))
        if error is not None:
            said = str(error)[:500]
            yield Answer(item.name, setting, seed, run, (), "", False, said, None)
        elif isinstance(ids, list | tuple) and all(map(_whole, ids)) and isinstance(text, str):
            kept = text[:_TEXT]
            ended = data.get("ended") is True
            yield Answer(
                item.name, setting, seed, run, tuple(ids[:_IDS]), kept, ended, None,
                _outcome(item, kept), _sizes(data.get("sizes"), len(ids), len(kept)),
            )  # fmt: skip


def _sizes(given: object, tokens: int, characters: int) -> tuple[int, ...]:
    """Only sizes that fit: one per token, adding up to the text."""
    if not isinstance(given, list | tuple) or len(given) != tokens:
        return ()
    sizes = tuple(size for size in given if _whole(size) and 0 <= size <= characters)
    return sizes if len(sizes) == tokens and sum(sizes) == characters else ()


def _whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _outcome(item: Item, text: str) -> Outcome | None:
    try:
        return judge(item.check, text)
    except ValueError:
        return None


def by_item(found: Mapping[Key, Answer], setting: int) -> dict[str, list[Answer]]:
    """First runs only, seeds in order."""
    several: dict[str, list[Answer]] = {}
    for (index, item, _, run), answer in sorted(found.items()):
        if index == setting and run == 0:
            several.setdefault(item, []).append(answer)
    return several


def per_item(
    several: Mapping[str, Sequence[Answer]], value: Callable[[Answer], float]
) -> dict[str, float]:
    """Means over the answers of each item; items without an answer are left out."""
    found = {}
    for item, some in several.items():
        values = [value(answer) for answer in some if answer.error is None]
        if values:
            found[item] = sum(values) / len(values)
    return found


def accuracy(found: Mapping[Key, Answer], setting: int) -> dict[str, float]:
    """By item: the share of right answers over its seeds; empty where every request failed."""
    several = by_item(found, setting)
    if all(answer.error is not None for some in several.values() for answer in some):
        return {}
    return {item: sum(a.right for a in some) / len(some) for item, some in several.items()}
