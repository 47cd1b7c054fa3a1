"""What can go wrong on the user's side of bakeoff. Every message says what, where, what to do.

BakeoffError        anything bakeoff itself reports; exit code 1 unless said otherwise
├── BadInput        a file or an argument is wrong: file, line, field, what was expected (2)
├── PrepareFailed   a model artifact could not be fetched, made or verified (2)
├── RunFolderBusy   another process writes this run folder (2)
└── BrokenInstall   bakeoff's own packages do not come from one place (2)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class BakeoffError(Exception):
    """`remedy` tells the user what to do next."""

    exit_code = 2

    def __init__(self, reason: str, remedy: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


@dataclass(frozen=True)
class Problem:
    """One fault in an input file. `line` counts from 1; None where the file has no lines."""

    reason: str
    line: int | None = None
    field: str | None = None

    def at(self, path: Path | str) -> str:
        where = str(path) if self.line is None else f"{path}:{self.line}"
        what = f"{self.field}: {self.reason}" if self.field else self.reason
        return f"{where}: {what}"


class BadInput(BakeoffError):
    """A file or an argument is wrong. Carries every problem found, not only the first."""

    def __init__(
        self, path: Path | str, problems: Sequence[Problem], remedy: str | None = None
    ) -> None:
        super().__init__("\n".join(problem.at(path) for problem in problems), remedy)
        self.path = str(path)
        self.problems = tuple(problems)


class PrepareFailed(BakeoffError):
    """A model artifact could not be fetched, made or verified."""


class RunFolderBusy(BakeoffError):
    """Another process writes this run folder."""


class BrokenInstall(BakeoffError):
    """harness, backends, results and reports do not come from one place."""
