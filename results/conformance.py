"""The result of one conformance run, as data: who was asked, what each check found."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

SCHEMA = "bakeoff-conformance/1"
STATUSES = ("passed", "failed", "not_applicable")


@dataclass(frozen=True)
class CheckResult:
    """`gap` is the adapter's declared reason, `never: …`, `notyet: …` or `notimpl: …`, verified."""

    check: str
    status: str
    detail: str
    gap: str | None = None


@dataclass(frozen=True)
class Conformance:
    """One engine on one artifact. `when` is UTC, ISO 8601."""

    engine: str
    distribution: str
    version: str | None
    python: str
    model: str
    artifact: str
    format: str
    platform: str
    when: str
    checks: tuple[CheckResult, ...]

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        return tuple(check for check in self.checks if check.status == "failed")


def write(found: Conformance, path: Path) -> None:
    text = json.dumps({"schema": SCHEMA, **asdict(found)}, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def read(path: Path) -> Conformance:
    """Raises ValueError, which says what is wrong with the file, and OSError."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise ValueError(f"{path}: not a conformance result of the schema {SCHEMA}")
    try:
        checks = tuple(CheckResult(**_texts(CheckResult, check)) for check in data["checks"])
        data.pop("schema")
        found = Conformance(**{**_texts(Conformance, {**data, "checks": ""}), "checks": checks})
    except (TypeError, KeyError) as error:
        raise ValueError(f"{path}: {error}") from error
    for check in checks:
        if check.status not in STATUSES:
            raise ValueError(f"{path}: {check.check}: unknown status {check.status!r}")
    return found


def _texts(kind: Any, data: Any) -> dict[str, Any]:
    """The fields of a mapping, all of them texts or None."""
    known = {field.name for field in fields(kind)}
    wrong = [k for k, v in dict(data).items() if k not in known or not isinstance(v, str | None)]
    if wrong:
        raise TypeError(f"unexpected {wrong[0]!r}")
    return dict(data)
