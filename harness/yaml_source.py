"""Read user-written YAML: safe, bounded, and with a line number for every field.

PyYAML composes the nodes; this module turns them into plain data itself, so that duplicate keys,
tags and aliases are refused and each value's line is known to the message about it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from harness.errors import BadInput, Problem

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
MAX_NODES = 20_000

Location = tuple[str | int, ...]
M = TypeVar("M", bound=BaseModel)

_PLAIN_TAGS = {
    f"tag:yaml.org,2002:{t}" for t in ("null", "bool", "int", "float", "str", "map", "seq")
}
_EXPECTED = {"null": "nothing", "map": "a mapping", "seq": "a list"}


@dataclass(frozen=True)
class Document:
    """A YAML file as plain data, with the line (from 1) of every location in it."""

    path: Path
    text: str
    data: Any
    lines: dict[Location, int]

    def line(self, location: Location) -> int | None:
        """Line of the location, or of the nearest one around it that the file has."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location)


def read(path: Path) -> Document:
    """Read one YAML file. Raises BadInput with file and line."""
    try:
        raw = path.read_bytes() if path.is_file() else None
    except OSError as error:
        raise BadInput(path, [Problem(f"cannot be read: {error.strerror}")]) from error
    if raw is None:
        what = "is a folder, expected a YAML file" if path.is_dir() else "no such file"
        raise BadInput(path, [Problem(what)], _nearby(path))
    if len(raw) > MAX_BYTES:
        raise BadInput(path, [Problem(f"is {len(raw):,} bytes, at most {MAX_BYTES:,} are read")])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise BadInput(path, [Problem("is not UTF-8 text, expected a YAML file", line)]) from error
    return parse(text, path)


def parse(text: str, path: Path) -> Document:
    """Turn YAML text into a Document. Raises BadInput with file and line."""
    for number, line in enumerate(text.splitlines(), start=1):
        if "\t" in line[: len(line) - len(line.lstrip())]:
            raise BadInput(path, [Problem("is indented with a tab, expected spaces", number)])
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line_number = mark.line + 1 if mark else None
        raise BadInput(path, [Problem(f"is not YAML: {error.problem}", line_number)]) from error
    except yaml.YAMLError as error:
        # A character that YAML does not allow; PyYAML's reader knows a position, not a line.
        position = getattr(error, "position", 0)
        line_number = text[:position].count("\n") + 1
        raise BadInput(path, [Problem("is not text, expected a YAML file", line_number)]) from error
    except RecursionError as error:
        raise BadInput(path, [Problem(f"is nested deeper than {MAX_DEPTH} levels", 1)]) from error
    if node is None:
        raise BadInput(path, [Problem("is empty, expected a mapping", 1)])
    builder = _Builder(path)
    data = builder.build(node, ())
    if builder.problems:
        raise BadInput(path, builder.problems)
    return Document(path, text, data, builder.lines)


def validate(model: type[M], document: Document) -> M:
    """Check a document against a model. Raises BadInput with every problem and its line."""
    if not isinstance(document.data, dict):
        kind = type(document.data).__name__
        raise BadInput(document.path, [Problem(f"holds a {kind}, expected a mapping", 1)])
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        problems = [_problem(model, dict(e), document) for e in error.errors(include_url=False)]
        unique = sorted(set(problems), key=lambda p: (p.line or 0, p.field or ""))
        raise BadInput(document.path, unique) from error


def _problem(model: type[BaseModel], error: dict[str, Any], document: Document) -> Problem:
    location = tuple(part for part in error["loc"] if _in_file(part))
    field = ".".join(str(part) for part in location)
    kind, given = error["type"], error.get("input")
    if kind == "extra_forbidden":
        reason = "unknown field" + suggestion(str(location[-1]), _siblings(model, location))
    elif kind == "missing":
        reason = "is missing"
    else:
        reason = str(error["msg"]).removeprefix("Value error, ")
        reason = reason[0].lower() + reason[1:]
        if given is not None and not isinstance(given, dict | list) and repr(given) not in reason:
            reason += f", not {_short(given)}"
    return Problem(reason, document.line(location), field or None)


def _in_file(part: str | int) -> bool:
    # pydantic adds the names of union members and validators to a location.
    return isinstance(part, int) or not ("[" in part or "(" in part or part[:1].isupper())


def _siblings(model: type[BaseModel], location: Location) -> list[str]:
    """Field names allowed where `location` ends, found by walking the JSON schema."""
    schema = model.model_json_schema()
    here: list[dict[str, Any]] = [schema]

    def opened(node: dict[str, Any]) -> Iterable[dict[str, Any]]:
        if "$ref" in node:
            yield from opened(schema["$defs"][node["$ref"].rsplit("/", 1)[1]])
        else:
            yield node
            for other in (*node.get("anyOf", ()), *node.get("oneOf", ())):
                yield from opened(other)

    for part in location[:-1]:
        nodes = [o for h in here for o in opened(h)]
        if isinstance(part, int):
            here = [n["items"] for n in nodes if isinstance(n.get("items"), dict)]
        else:
            here = [n["properties"][part] for n in nodes if part in n.get("properties", {})] or [
                n["additionalProperties"]
                for n in nodes
                if isinstance(n.get("additionalProperties"), dict)
            ]
    return sorted({k for h in here for o in opened(h) for k in o.get("properties", {})})


def suggestion(given: str, allowed: Iterable[str]) -> str:
    """', did you mean X?' or ', expected one of …', for the end of a message."""
    names = sorted(allowed)
    close = difflib.get_close_matches(given, names, n=1)
    if close:
        return f", did you mean {close[0]!r}?"
    return f", expected one of: {', '.join(names)}" if names else ""


def _short(value: object, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[:limit] + "…"


def _nearby(path: Path) -> str | None:
    if not path.parent.is_dir():
        return None
    names = [p.name for p in path.parent.glob("*.y*ml")]
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"did you mean {path.parent / close[0]}?" if close else None


class _Builder:
    """Nodes → plain data, within limits. Collects problems instead of stopping at the first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self.lines: dict[Location, int] = {}
        self._seen: set[int] = set()

    def build(self, node: yaml.Node, location: Location) -> Any:
        line = node.start_mark.line + 1
        self.lines[location] = line
        if id(node) in self._seen:
            self._refuse("uses an alias (*name), expected the value itself", line, location)
            return None
        self._seen.add(id(node))
        if len(location) > MAX_DEPTH or len(self._seen) > MAX_NODES:
            raise BadInput(
                self.path,
                [
                    Problem(
                        f"is too deep or too large (limits: {MAX_DEPTH} levels, {MAX_NODES:,} values)",
                        line,
                    )
                ],
            )
        if node.tag not in _PLAIN_TAGS:
            tag = node.tag.removeprefix("tag:yaml.org,2002:")
            if tag != "timestamp":  # an unquoted date is text to us
                self._refuse(f"has the tag {_short(tag)}; tags are not allowed", line, location)
                return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, location)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(child, (*location, i)) for i, child in enumerate(node.value)]
        return self._scalar(node, line, location)

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse("has a key that is not text", line, location)
                continue
            key = str(key_node.value)
            if key in result:
                first = self.lines[(*location, key)]
                self._refuse(
                    f"duplicate key {_short(key)}, first set in line {first}", line, location
                )
                continue
            result[key] = self.build(value_node, (*location, key))
            self.lines[(*location, key)] = line
        return result

    def _scalar(self, node: yaml.Node, line: int, location: Location) -> Any:
        if node.tag.endswith(":timestamp"):
            return str(node.value)
        try:
            constructor = yaml.SafeLoader("")
            return constructor.construct_object(node)
        except (ValueError, yaml.YAMLError) as error:
            self._refuse(f"cannot be read: {error}", line, location)
            return None

    def _refuse(self, reason: str, line: int, location: Location) -> None:
        field = ".".join(map(str, location)) or None
        self.problems.append(Problem(reason, line, field))
