"""Records to JSON and back. Reading checks every value's type; what older runs lack gets its default.

A run folder may come from anybody: what is read is bounded in depth, and every number is finite
and fits 64 bits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from functools import cache
from typing import Any, TypeVar, get_type_hints

import msgspec

from results.records import SCHEMA, Case, Prompt, Record, RunInfo, Sample, Trial

T = TypeVar("T", Record, RunInfo, Prompt)

#: How deeply values may be nested.
MAX_DEPTH = 64

#: What runs made by earlier versions lack, at the top level of a record or of run.json.
_ADDED_LATER = frozenset(
    {"renderings", "scores", "observations", "conversations", "engines", "items"}
)

_ENVELOPE = msgspec.json.Decoder(dict[str, msgspec.Raw])


class _Sample(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A `Sample` on its way from JSON to columns: a million of them must not take long."""

    index: int
    warmup: bool
    prompt: str
    prompt_tokens: int
    submitted_ns: int
    token_ns: list[int]
    token_ids: list[int]
    done_ns: int
    claims: dict[str, float] = {}


class MalformedRecord(ValueError):
    """A stored record or run description does not have the shape this version reads."""


def to_json(value: Record | RunInfo | Prompt) -> str:
    """One line of JSON. NaN and infinity are refused: they would not be JSON."""
    if isinstance(value, Record):
        value = replace(value, samples=tuple(value.samples))
    return json.dumps(asdict(value), separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def record_from_json(line: str | bytes) -> Record:
    """Read back one line of records.jsonl. Raises MalformedRecord."""
    record = _read(line, Record, "not a record")
    for rendering in record.renderings:
        ids = rendering.ids or ()
        if rendering.pieces and len(rendering.pieces) != len(ids):
            raise MalformedRecord(
                f"a rendering has {len(ids)} ids but {len(rendering.pieces)} pieces"
            )
    return record


def run_from_json(text: str | bytes) -> RunInfo:
    """Read back run.json. Raises MalformedRecord."""
    info = _read(text, RunInfo, "not a run description")
    # One object for all trials of a case: its key is then made once.
    cases: dict[bytes, Case] = {}
    trials = (
        Trial(t.id, cases.setdefault(msgspec.json.encode(t.case), t.case), t.repetition)
        for t in info.trials
    )
    return replace(info, trials=tuple(trials))


def prompt_from_json(line: str | bytes) -> Prompt:
    """Read back one line of prompts.jsonl. Raises MalformedRecord."""
    return _read(line, Prompt, "not a prompt")


def _read(text: str | bytes, kind: type[T], wrong: str) -> T:
    try:
        values = _fields(text, kind)
        for name, value in values.items():
            if name != "samples":
                _check(value, name)
        if kind is Record:
            values["samples"] = _columns(values["samples"])
        return kind(**values)
    except (ValueError, TypeError, OverflowError) as error:
        raise MalformedRecord(f"{wrong}: {error}") from error
    except RecursionError as error:
        raise MalformedRecord(f"{wrong}: nested too deeply") from error


def _columns(samples: list[_Sample]) -> Sequence[Sample]:
    if not samples:
        return ()
    # Imported late: a record without samples does not pay for numpy.
    from results.samples import Samples

    return Samples(samples)


def _fields(text: str | bytes, kind: type[T]) -> dict[str, Any]:
    """Each field's value, of the type that the dataclass says."""
    of: Any = kind
    try:
        raw: Mapping[str, Any] = _ENVELOPE.decode(text)
        _check_names(raw, kind, lambda name: msgspec.json.decode(raw[name]))
        return {name: _take(name, _decoder(of, name).decode, raw[name]) for name in raw}
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        # Half a surrogate pair, which engines do print, is no text to msgspec; it is to json.
        data = json.loads(text, parse_constant=_refuse)
        if not isinstance(data, dict):
            raise MalformedRecord("it is not a JSON object") from None
        _check_names(data, kind, data.__getitem__)
        return {name: _take(name, _converter(of, name), value) for name, value in data.items()}


def _check_names(found: Mapping[str, Any], kind: type[T], value: Any) -> None:
    known = {field.name for field in fields(kind)}
    if "schema" in known and (schema := value("schema") if "schema" in found else None) != SCHEMA:
        raise MalformedRecord(f"it has schema {schema!r}; this version of bakeoff reads {SCHEMA}")
    if unknown := sorted(found.keys() - known):
        raise MalformedRecord(f"unknown field {unknown[0]!r}")
    if missing := sorted(known - found.keys() - _ADDED_LATER):
        raise MalformedRecord(f"field {missing[0]!r} is missing")


def _take(name: str, convert: Any, value: Any) -> Any:
    try:
        return convert(value)
    except msgspec.ValidationError as error:
        raise MalformedRecord(f"{name}: {error}") from error


@cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return hints | ({"samples": list[_Sample]} if kind is Record else {})


@cache
def _decoder(kind: Any, name: str) -> Any:
    return msgspec.json.Decoder(_hints(kind)[name])


def _converter(kind: Any, name: str) -> Any:
    hint = _hints(kind)[name]
    return lambda value: msgspec.convert(value, hint)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _check(value: Any, where: str) -> None:
    """Numbers are finite and fit 64 bits, nothing is nested too deeply."""
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for one in level:
            kind = type(one)
            if kind is int:
                if not -(2**63) <= one < 2**63:
                    raise ValueError(f"{where} holds a number beyond 64 bits")
            elif kind is float:
                if not math.isfinite(one):
                    raise ValueError(f"{where} holds {one}, which is no number")
            elif kind is str or kind is bool or one is None:
                pass
            elif kind is dict:
                below += one.values()
            elif kind is list or kind is tuple:
                below += one
            else:
                below += vars(one).values()
        if not below:
            return
        level = below
    raise ValueError(f"{where} is nested deeper than {MAX_DEPTH} levels")
