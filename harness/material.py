"""What a scenario's measures work on beside prompts of a given length: conversations and items."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness import items
from harness.chat import conversations
from harness.errors import BadInput
from harness.items import Item
from harness.measures import MeasureEntry
from harness.scenario import LoadedScenario, Scenario
from results.records import Conversation


@dataclass(frozen=True)
class Material:
    """Conversations for `templates`, and items by measure; `digests` name what each measure has."""

    conversations: tuple[Conversation, ...] = ()
    items: Mapping[str, tuple[Item, ...]] = field(default_factory=dict)
    digests: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def find(loaded: LoadedScenario, scenario: Scenario) -> Material:
    """Read the sets that the scenario names. Raises BadInput with the line at fault."""
    chat: tuple[Conversation, ...] = ()
    found: dict[str, tuple[Item, ...]] = {}
    digests: dict[str, Mapping[str, str]] = {}
    for index, entry in enumerate(scenario.measures):
        if entry.templates is not None:
            name = entry.templates.conversations
            where = ("measures", index, "templates", "conversations")
            with _Named(loaded, name, where):
                chat = conversations.find(name, loaded.path)
            digests["templates"] = {"conversations": conversations.digest(chat)}
        elif entry.item_set is not None:
            found[entry.name] = _items(loaded, index, entry, entry.item_set)
            digests[entry.name] = {"items": _digest(found[entry.name])}
    return Material(chat, found, digests)


def _items(loaded: LoadedScenario, index: int, entry: MeasureEntry, name: str) -> tuple[Item, ...]:
    field_name = "tasks" if entry.quality else "texts"
    with _Named(loaded, name, ("measures", index, entry.name, field_name)):
        return tuple(items.chosen(items.find(entry.name, name, loaded.path), entry.settings.items))


def _digest(chosen: tuple[Item, ...]) -> str:
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:12]


@dataclass
class _Named:
    """An unknown name is the scenario's fault, and told with its line; a file's fault is the file's."""

    loaded: LoadedScenario
    name: str
    where: tuple[str | int, ...]

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, BadInput) and error.path == self.name and not Path(self.name).suffix:
            raise self.loaded.refuse(error.problems[0].reason, self.where, error.remedy) from error
