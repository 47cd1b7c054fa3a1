"""Records to JSON and back. Reading checks the shape; what older runs lack gets its default."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from results.records import (
    SCHEMA,
    STATUSES,
    ArtifactFacts,
    Budget,
    Case,
    Check,
    Conversation,
    Engine,
    Memory,
    MemoryPoint,
    Prompt,
    Record,
    Rendering,
    RunInfo,
    Sample,
    Score,
    Span,
    Trial,
)


class MalformedRecord(ValueError):
    """A stored record or run description does not have the shape this version reads."""


def to_json(value: Record | RunInfo | Prompt) -> str:
    """One line of JSON. NaN and infinity are refused: they would not be JSON."""
    return json.dumps(asdict(value), separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def _check_schema(data: Any, what: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise MalformedRecord(f"{what} is not a JSON object")
    if data.get("schema") != SCHEMA:
        raise MalformedRecord(
            f"{what} has schema {data.get('schema')!r}; this version of bakeoff reads {SCHEMA}"
        )
    return dict(data)


def record_from_json(line: str) -> Record:
    """Read back one line of records.jsonl. Raises MalformedRecord."""
    try:
        data = _check_schema(json.loads(line), "record")
        if data["status"] not in STATUSES:
            raise MalformedRecord(f"record has unknown status {data['status']!r}")
        data["case"] = Case(**data["case"])
        data["engine"] = _engine(data["engine"])
        data["spans"] = tuple(Span(**s) for s in data["spans"])
        data["samples"] = tuple(_sample(s) for s in data["samples"])
        data["memory"] = _memory(data["memory"])
        data["checks"] = tuple(Check(**c) for c in data["checks"])
        data["renderings"] = tuple(_rendering(r) for r in data.get("renderings", ()))
        data["scores"] = tuple(_score(s) for s in data.get("scores", ()))
        data["observations"] = tuple(dict(o) for o in data.get("observations", ()))
        return Record(**data)
    except (ValueError, TypeError, KeyError) as error:
        raise MalformedRecord(f"not a record: {error}") from error


def run_from_json(text: str) -> RunInfo:
    """Read back run.json. Raises MalformedRecord."""
    try:
        data = _check_schema(json.loads(text), "run.json")
        data["command"] = tuple(data["command"])
        data["trials"] = tuple(Trial(**{**t, "case": Case(**t["case"])}) for t in data["trials"])
        data["artifacts"] = tuple(ArtifactFacts(**a) for a in data["artifacts"])
        data["budgets"] = tuple(Budget(**b) for b in data["budgets"])
        data["conversations"] = tuple(_conversation(c) for c in data.get("conversations", ()))
        return RunInfo(**data)
    except (ValueError, TypeError, KeyError) as error:
        raise MalformedRecord(f"not a run description: {error}") from error


def prompt_from_json(line: str) -> Prompt:
    """Read back one line of prompts.jsonl. Raises MalformedRecord."""
    try:
        data = json.loads(line)
        return Prompt(digest=data["digest"], ids=tuple(data["ids"]), text=data["text"])
    except (ValueError, TypeError, KeyError) as error:
        raise MalformedRecord(f"not a prompt: {error}") from error


def _engine(data: Any) -> Engine | None:
    return None if data is None else Engine(**{**data, "devices": tuple(data["devices"])})


def _sample(data: Any) -> Sample:
    stamps, ids = tuple(data["token_ns"]), tuple(data["token_ids"])
    if len(stamps) != len(ids):
        raise MalformedRecord(f"sample has {len(ids)} token ids but {len(stamps)} time stamps")
    return Sample(**{**data, "token_ns": stamps, "token_ids": ids})


def _memory(data: Any) -> Memory | None:
    if data is None:
        return None
    return Memory(**{**data, "points": tuple(MemoryPoint(**p) for p in data["points"])})


def _rendering(data: Any) -> Rendering:
    ids, pieces, answer = data["ids"], tuple(data["pieces"]), tuple(data["answer_ids"])
    if pieces and len(pieces) != len(ids or ()):
        raise MalformedRecord(f"a rendering has {len(ids or ())} ids but {len(pieces)} pieces")
    ids = None if ids is None else tuple(ids)
    return Rendering(**{**data, "ids": ids, "pieces": pieces, "answer_ids": answer})


def _conversation(data: Any) -> Conversation:
    return Conversation(**{**data, "messages": tuple(dict(m) for m in data["messages"])})


def _score(data: Any) -> Score:
    return Score(**{**data, "logprobs": tuple(data["logprobs"])})
