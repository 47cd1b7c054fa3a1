"""Conversations that a scenario renders: read from YAML, checked with lines."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from harness import places, yaml_source
from harness.errors import BadInput, Problem
from harness.strict import Strict
from results.records import Conversation

STANDARD = "standard"
FOLDER = places.SCENARIOS / "conversations"
_TEXT = 20_000
_TAKEN = frozenset({"messages", "tools", "documents", "add_generation_prompt", "tokenize"})

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]


class _Message(Strict):
    role: str = Field(min_length=1, max_length=40)
    content: str = Field(max_length=_TEXT)


class _Conversation(Strict):
    name: Name
    about: str = Field("", max_length=200)
    messages: list[_Message] = Field(min_length=1, max_length=100)
    prefill: bool = Field(False, description="the last message begins the answer")
    answer: str | None = Field(None, min_length=1, max_length=_TEXT)
    variables: dict[str, str | int | float | bool] = Field(
        default_factory=dict, description="further template variables"
    )

    @field_validator("variables")
    @classmethod
    def _free_names(cls, variables: dict[str, Any]) -> dict[str, Any]:
        for name in variables:
            if name in _TAKEN or name.endswith("_token"):
                raise ValueError(f"{name!r} is given by the engine: expected another name")
        return variables

    @model_validator(mode="after")
    def _begins_the_answer(self) -> Self:
        last = self.messages[-1]
        if self.prefill and (last.role != "assistant" or not last.content.strip()):
            raise ValueError("prefill: expected the last message to be an assistant's, not empty")
        return self


class _Conversations(Strict):
    conversations: list[_Conversation] = Field(min_length=1, max_length=200)


def digest(conversations: Sequence[Conversation]) -> str:
    """Names a set by its content: the first 12 hex digits of its sha256."""
    text = json.dumps([asdict(one) for one in conversations], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def find(reference: str, near: Path) -> tuple[Conversation, ...]:
    """The set of that name, or in the YAML file at that path, relative to `near` (a scenario).

    Raises BadInput with file, line and field.
    """
    return load(path(reference, near))


def path(reference: str, near: Path) -> Path:
    """Where the set is: shipped under that name, or a file."""
    if not reference.endswith((".yaml", ".yml")):
        shipped = FOLDER / f"{reference}.yaml"
        if not shipped.is_file():
            known = sorted(p.stem for p in FOLDER.glob("*.yaml"))
            reason = f"unknown conversations{yaml_source.suggestion(reference, known)}"
            remedy = f"known: {', '.join(known)}; or give the path of a file ending in .yaml"
            raise BadInput(reference, [Problem(reason)], remedy)
        return shipped
    return (near if near.is_dir() else near.parent) / Path(reference).expanduser()


def load(file: Path) -> tuple[Conversation, ...]:
    """Read and check one file."""
    document = yaml_source.read(file)
    found = yaml_source.validate(_Conversations, document).conversations
    names = [conversation.name for conversation in found]
    for index, name in enumerate(names):
        if name in names[:index]:
            where = ("conversations", index, "name")
            problem = Problem(f"{name!r} is there twice", document.line(where), "conversations")
            raise BadInput(file, [problem])
    return tuple(
        Conversation(
            name=one.name,
            about=one.about,
            messages=tuple(message.model_dump() for message in one.messages),
            prefill=one.prefill,
            answer=one.answer,
            variables=one.variables,
        )
        for one in found
    )
