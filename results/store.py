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
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from results.encoding import (
    MalformedRecord,
    prompt_from_json,
    record_from_json,
    run_from_json,
    to_json,
)
from results.records import Prompt, Record, RunInfo

T = TypeVar("T")


class StoreError(Exception):
    """A run folder cannot be read. The message names the file and the line."""


@dataclass(frozen=True)
class Run:
    """A run folder, read. `records` has at most one record per trial, in order of writing."""

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
    described = path / "run.json"
    if not described.is_file():
        raise StoreError(f"{path} is not a run folder: it has no run.json")
    try:
        info = run_from_json(described.read_text(encoding="utf-8"))
    except (MalformedRecord, UnicodeDecodeError) as error:
        raise StoreError(f"{described}: {error}") from error
    caveats: list[str] = []
    records = _lines(path / "records.jsonl", record_from_json, caveats)
    prompts = _lines(path / "prompts.jsonl", prompt_from_json, caveats)
    unique: dict[str, Record] = {}
    planned = {trial.id for trial in info.trials}
    for record in records:
        if record.trial not in planned:
            caveats.append(f"records.jsonl holds {record.trial}, which run.json never planned")
        elif record.trial in unique:
            caveats.append(f"records.jsonl holds {record.trial} twice; the first one counts")
        else:
            unique[record.trial] = record
    return Run(path, info, tuple(unique.values()), tuple(prompts), tuple(caveats))


def _lines(path: Path, parse: Callable[[str], T], caveats: list[str]) -> list[T]:
    if not path.exists():
        caveats.append(f"{path.name} is missing")
        return []
    lines = path.read_bytes().split(b"\n")
    complete, rest = lines[:-1], lines[-1]
    parsed: list[T] = []
    for number, line in enumerate(complete, start=1):
        try:
            parsed.append(parse(line.decode("utf-8")))
        except (MalformedRecord, UnicodeDecodeError) as error:
            if number == len(complete) and not rest:
                caveats.append(f"{path.name}:{number} is damaged and was left out: {error}")
            else:
                raise StoreError(f"{path}:{number}: {error}") from error
    if rest:
        caveats.append(f"{path.name} ends in an unfinished line, which was left out")
    return parsed


def _attempt(line: str) -> tuple[str, int]:
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
