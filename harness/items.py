"""What the measures of quality work on: texts, prompts and tasks, one JSON object per line.

An item has a `name` and either `text` or `messages`; the rest belongs to its measure and is kept as
it is. Sets are shipped in `scenarios/`, or are files beside the scenario.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import places
from harness.errors import BadInput, Problem
from harness.yaml_source import suggestion
from results import quality_check

_MAX_BYTES = 16 << 20
_MAX_ITEMS = 20_000
_MAX_TEXT = 200_000

FOLDERS = {"fidelity": "texts", "sampling": "texts", "quality": "tasks"}
"""Where a measure's shipped sets are, under `scenarios/`."""

Item = Mapping[str, Any]


def find(measure: str, reference: str, near: Path) -> list[Item]:
    """The set of that name, or in the .jsonl file at that path, relative to the scenario `near`.

    Raises BadInput with file and line.
    """
    check = quality_check.fault if measure == "quality" else None
    if reference.endswith(".jsonl"):
        return load(near.parent / Path(reference).expanduser(), check)
    folder = places.SCENARIOS / FOLDERS[measure]
    path = folder / f"{reference}.jsonl"
    if not path.is_file():
        known = sorted(p.stem for p in folder.glob("*.jsonl"))
        remedy = f"known: {', '.join(known)}; or give the path of a file ending in .jsonl"
        raise BadInput(reference, [Problem("unknown set" + suggestion(reference, known))], remedy)
    return load(path, check)


def load(path: Path, check: Callable[[Item], str | None] | None = None) -> list[Item]:
    """Read and check one file; `check` says what a measure finds wrong with an item of its own."""
    try:
        size = path.stat().st_size
        raw = path.read_bytes() if size <= _MAX_BYTES else b""
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise BadInput(path, [Problem(f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise BadInput(path, [Problem("is not UTF-8 text, expected JSON lines")]) from error
    if size > _MAX_BYTES:
        raise BadInput(path, [Problem(f"is {size:,} bytes, at most {_MAX_BYTES:,} are read")])
    items: list[Item] = []
    problems: list[Problem] = []
    names: set[str] = set()
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.append(Problem(f"is not JSON: {error}", number))
            continue
        faults = list(_faults(item, names))
        if not faults and check is not None and (fault := check(item)) is not None:
            faults = [(None, fault)]
        problems += [Problem(reason, number, field) for field, reason in faults]
        if not faults:
            names.add(item["name"])
            items.append(item)
    if problems:
        raise BadInput(path, problems[:20])
    if not items:
        raise BadInput(path, [Problem("is empty, expected one JSON object per line", 1)])
    if len(items) > _MAX_ITEMS:
        raise BadInput(path, [Problem(f"holds {len(items)} items, at most {_MAX_ITEMS} are read")])
    return items


def chosen(items: Sequence[Item], count: int) -> list[Item]:
    """`count` of them, spread evenly over the set; all where count is 0 or too large."""
    if not 0 < count < len(items):
        return list(items)
    return [items[index * len(items) // count] for index in range(count)]


def _faults(item: Any, names: set[str]) -> Iterator[tuple[str | None, str]]:
    """(field, reason) of what is wrong with one item."""
    if not isinstance(item, dict):
        yield None, "expected a mapping"
        return
    name = item.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= 100:
        yield "name", "expected a text of 1 to 100 characters"
    elif name in names:
        yield "name", f"{name!r} is there twice"
    text, messages = item.get("text"), item.get("messages")
    if (text is None) == (messages is None):
        yield None, "expected `text` or `messages`, and one of them only"
    elif messages is None:
        if not isinstance(text, str) or not 0 < len(text) <= _MAX_TEXT:
            yield "text", f"expected a text of 1 to {_MAX_TEXT:,} characters"
    elif not isinstance(messages, list) or not messages or not all(map(_is_message, messages)):
        yield "messages", "expected a list of {role, content}, both of them text"


def _is_message(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == {"role", "content"}
        and all(isinstance(part, str) and len(part) <= _MAX_TEXT for part in value.values())
    )
