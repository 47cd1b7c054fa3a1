"""A run is a folder. Records are appended and fsynced one by one, so a crash costs one at most.

    run.json         what was planned (RunInfo), written once, before the first trial
    prompts.jsonl    the token ids and texts that requests were made of
    records.jsonl    one line per finished trial
    attempts.jsonl   one line per started trial, so that a trial that kills bakeoff is noticed
    outputs/         what engines wrote, one JSONL per trial
    logs/            what engines printed, one file per trial
    report.*         made from all this, at any time again

Reading is tolerant of exactly one thing: a damaged last line, which an interrupted write
leaves behind. It costs that trial and is reported in `Run.caveats`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from results.encoding import (
    MalformedRecord,
    prompt_from_json,
    record_from_json,
    run_from_json,
    to_json,
)
from results.gate.description import describe
from results.records import Prompt, Record, RunInfo

T = TypeVar("T")

#: A run folder may come from anybody. The longest lines hold what `fidelity` and `quality` observed.
MAX_LINE = 128 * 1024 * 1024
MAX_DESCRIPTION = 256 * 1024 * 1024


class StoreError(Exception):
    """A run folder cannot be read. The message names the file and the line."""


@dataclass(frozen=True, eq=False)
class Run:
    """A run folder, read; equal to itself only. `records` has at most one record per trial, in order of writing."""

    path: Path
    info: RunInfo
    records: tuple[Record, ...]
    prompts: tuple[Prompt, ...]
    caveats: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """Ids of planned trials that have no record yet."""
        done = {record.trial for record in self.records}
        return tuple(trial.id for trial in self.info.trials if trial.id not in done)


class Store:
    """Writes one run folder. One process at a time; the caller holds the run's lock."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, info: RunInfo, prompts: Iterable[Prompt]) -> Store:
        """Make the folder. run.json comes last: a folder without it is not a run."""
        path.mkdir(parents=True)
        for name in ("outputs", "logs"):
            (path / name).mkdir()
        store = cls(path)
        _write(path / "prompts.jsonl", "".join(to_json(p) + "\n" for p in prompts))
        for name in ("records.jsonl", "attempts.jsonl"):
            _write(path / name, "")
        _write(path / "run.json", json.dumps(json.loads(to_json(info)), indent=1) + "\n")
        return store

    def repair(self) -> None:
        """Drop a damaged last line, so that the next record starts on a line of its own."""
        for name in ("records.jsonl", "attempts.jsonl"):
            path = self.path / name
            data = path.read_bytes()
            if data and not data.endswith(b"\n"):
                with path.open("r+b") as file:
                    file.truncate(data.rfind(b"\n") + 1)
                    _sync(file.fileno())

    def start(self, trial: str, attempt: int) -> None:
        self._append("attempts.jsonl", json.dumps({"trial": trial, "attempt": attempt}))

    def give_up(self, trial: str) -> None:
        """The user interrupted: what was started last does not count as an attempt."""
        self._append("attempts.jsonl", json.dumps({"trial": trial, "attempt": -1}))

    def attempts(self) -> dict[str, int]:
        """How often each trial was started without being given up on."""
        counts: dict[str, int] = {}
        for entry in _lines(self.path / "attempts.jsonl", _attempt, []):
            trial, number = entry
            counts[trial] = counts.get(trial, 0) + (1 if number >= 0 else -1)
        return counts

    def append(self, record: Record) -> None:
        """Write and fsync one record."""
        self._append("records.jsonl", to_json(record))

    def strike(self, kept: Container[str]) -> None:
        """Plan only these trials from now on: a gate has seen enough. run.json is replaced whole."""
        path = self.path / "run.json"
        info = run_from_json(path.read_text(encoding="utf-8"))
        info = replace(info, trials=tuple(t for t in info.trials if t.id in kept))
        fresh = path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        _write(fresh, json.dumps(json.loads(to_json(info)), indent=1) + "\n")
        fresh.replace(path)

    def log(self, trial: str) -> Path:
        return self.path / "logs" / f"{trial}.log"

    def outputs(self, trial: str) -> Path:
        return self.path / "outputs" / f"{trial}.jsonl"

    def _append(self, name: str, line: str) -> None:
        with (self.path / name).open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            _sync(file.fileno())


def read(path: Path | str) -> Run:
    """Read a run folder. Raises StoreError naming file and line."""
    path = Path(path)
    info = _described(path / "run.json")
    try:
        describe(info)
    except MalformedRecord as error:
        raise StoreError(f"{path / 'run.json'}: {error}") from error
    caveats: list[str] = []
    planned = {trial.id: trial.case for trial in info.trials}
    unique: dict[str, Record] = {}
    for record in _lines(path / "records.jsonl", record_from_json, caveats):
        if record.trial not in planned:
            caveats.append(f"records.jsonl holds {record.trial}, which run.json never planned")
        elif record.case != planned[record.trial]:
            caveats.append(
                f"records.jsonl holds {record.trial} with another case than run.json planned; "
                "it was left out"
            )
        elif record.trial in unique:
            caveats.append(f"records.jsonl holds {record.trial} twice; the first one counts")
        else:
            # The planned case is one object for all its trials.
            unique[record.trial] = replace(record, case=planned[record.trial])
    prompts = tuple(_lines(path / "prompts.jsonl", prompt_from_json, caveats))
    return Run(path, info, tuple(unique.values()), prompts, tuple(caveats))


def _described(path: Path) -> RunInfo:
    """What run.json says."""
    if not path.is_file():
        raise StoreError(f"{path.parent} is not a run folder: it has no run.json")
    try:
        size = path.stat().st_size
        if size > MAX_DESCRIPTION:
            raise StoreError(f"{path}: {size:,} bytes, at most {MAX_DESCRIPTION:,} are read")
        return run_from_json(path.read_bytes())
    except MalformedRecord as error:
        cause = error.__cause__
        line = f":{cause.lineno}" if isinstance(cause, json.JSONDecodeError) else ""
        raise StoreError(f"{path}{line}: {error}") from error
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error


def _lines(path: Path, parse: Callable[[bytes], T], caveats: list[str]) -> Iterator[T]:
    """Each line of the file, read. Never holds more than one line: a file may be long."""
    if not path.exists():
        caveats.append(f"{path.name} is missing")
        return
    damaged: MalformedRecord | None = None
    number = 0
    try:
        if not path.is_file():
            raise StoreError(f"{path}: it is not a file")
        with path.open("rb", buffering=2**20) as file:
            while line := file.readline(MAX_LINE + 1):
                if damaged:
                    raise StoreError(f"{path}:{number}: {damaged}") from damaged
                number += 1
                if len(line) > MAX_LINE:
                    raise StoreError(f"{path}:{number}: the line is longer than {MAX_LINE:,} bytes")
                if not line.endswith(b"\n"):
                    caveats.append(f"{path.name} ends in an unfinished line, which was left out")
                    return
                try:
                    parsed = parse(line)
                except MalformedRecord as error:
                    damaged = error
                else:
                    yield parsed
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error
    if damaged:
        caveats.append(f"{path.name}:{number} is damaged and was left out: {damaged}")


def _attempt(line: bytes) -> tuple[str, int]:
    try:
        data = json.loads(line)
        return str(data["trial"]), int(data["attempt"])
    except (ValueError, TypeError, KeyError) as error:
        raise MalformedRecord(f"not an attempt: {error}") from error


def _write(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        _sync(file.fileno())


def _sync(descriptor: int) -> None:
    os.fsync(descriptor)
