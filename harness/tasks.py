"""Sets of tasks with checkable answers, one JSON object per line.

A shipped set is named by its file in `scenarios/tasks`; its kinds take turns, so that any number
of first items is a fair choice.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.errors import BakeoffError
from harness.places import SCENARIOS
from results.quality_check import judge, reference

TASKS = SCENARIOS / "tasks"
_LIMIT = 16 << 20
_KEYS = {"name", "kind", "messages", "check"}


def load(name: str, folder: Path, items: int | None = None) -> list[dict[str, Any]]:
    """The first `items` of a shipped set, or of a file that a path from `folder` leads to.

    Raises BakeoffError where there is no such set, it is empty, or a line is not a task.
    """
    shipped = TASKS / f"{name}.jsonl"
    path = shipped if "/" not in name and shipped.is_file() else folder / name
    try:
        if path.stat().st_size > _LIMIT:
            raise BakeoffError(f"{path}: a task file of more than {_LIMIT >> 20} MiB")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(sorted(one.stem for one in TASKS.glob("*.jsonl")))
        raise BakeoffError(
            f"the tasks {name!r} cannot be read: {error}", f"shipped sets: {known}"
        ) from error
    found: list[dict[str, Any]] = []
    names: set[str] = set()
    # Not splitlines: a line separator inside a JSON string is no end of a line.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            item = _item(line, f"{path}, line {number}")
            if item["name"] in names:
                raise BakeoffError(f"{path}, line {number}: a second {item['name']!r}")
            names.add(item["name"])
            found.append(item)
    if not found:
        raise BakeoffError(
            f"{path}: the task file is empty", "one JSON object per line, see docs/quality.md"
        )
    return found[:items]


def _item(line: str, where: str) -> dict[str, Any]:
    try:
        item = json.loads(line)
        if not isinstance(item, dict) or set(item) != _KEYS:
            raise ValueError(f"expected an object with {', '.join(sorted(_KEYS))}")
        if not all(isinstance(item[key], str) and item[key] for key in ("name", "kind")):
            raise ValueError("name and kind must be texts")
        messages = item["messages"]
        if not isinstance(messages, list) or not messages or not all(map(_is_message, messages)):
            raise ValueError("messages must be a list of mappings with role and content")
        if not isinstance(item["check"], dict):
            raise ValueError("check must be a mapping")
        if not judge(item["check"], reference(item["check"])).right:
            raise ValueError("the check does not accept its own answer")
    except (ValueError, RecursionError) as error:
        raise BakeoffError(f"{where}: {error}") from error
    return item


def _is_message(message: object) -> bool:
    return isinstance(message, dict) and all(
        isinstance(message.get(key), str) for key in ("role", "content")
    )
