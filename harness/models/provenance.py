"""Where an artifact came from, written beside it, and the digests that prove it.

The `recipe` decides the content: an artifact is made again when its recipe changes, and only
then. Hashing gigabytes each time is slow, so the sizes and times of the files are remembered
(`seen`), and a file is hashed again only when they differ. `verify` always hashes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import PrepareFailed
from harness.models.conversions import MISSING

SCHEMA = 1
_CHUNK = 1 << 20

Seen = dict[str, list[int]]
"""File name (relative; a single file's own name) → [size, modification time in ns]."""


@dataclass(frozen=True)
class Provenance:
    """The document beside an artifact.

    `recipe` is {"source": …} or {"from", "from_sha256", "with", "options", "script_sha256",
    "tool", "versions"}. `notes` says what the source itself told (a resolved commit). `origin` is
    the fetched artifact at the start of the chain. `file` is the artifact's name in the cache,
    None where it is used in place. Only `file` and `seen` belong to this machine.
    """

    model: str
    artifact: str
    weights: str
    sha256: str
    bytes: int
    prepared_at: str
    recipe: Mapping[str, Any]
    origin: Mapping[str, Any]
    notes: Mapping[str, str] = field(default_factory=dict)
    file: str | None = None
    seen: Mapping[str, list[int]] = field(default_factory=dict)
    schema: int = SCHEMA

    def public(self) -> dict[str, Any]:
        """What goes into a run's records: the same on every machine."""
        keep = ("prepared_at", "recipe", "origin", "notes")
        return {key: value for key, value in asdict(self).items() if key in keep and value}

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, sort_keys=True, ensure_ascii=True) + "\n"


def read(path: Path) -> Provenance | None:
    """The document, or None where there is none that this version can read."""
    try:
        data = json.loads(path.read_text("utf-8"))
        if data.get("schema") != SCHEMA:
            return None
        return Provenance(**data)
    except (OSError, ValueError, TypeError, AttributeError):
        return None


def same_recipe(now: Mapping[str, Any], then: Mapping[str, Any]) -> bool:
    """Whether making it now would give what was made then.

    Where a tool is not installed now, its version can't have changed what is there: an artifact
    made elsewhere or earlier stays usable without the converters.
    """
    if {**now, "versions": None} != {**then, "versions": None}:
        return False
    versions_now, versions_then = now.get("versions"), then.get("versions")
    if versions_now is None or versions_then is None:
        return versions_now == versions_then
    known = {name for name, version in versions_now.items() if version != MISSING}
    return set(versions_now) == set(versions_then) and all(
        versions_now[name] == versions_then[name] for name in known
    )


def files(path: Path) -> dict[str, Path]:
    """An artifact's files by relative name, sorted. Links that lead out of it are refused."""
    if path.is_file():
        return {path.name: path}
    root = path.resolve()
    found = {}
    for entry in sorted(path.rglob("*")):
        if entry.is_dir() and not entry.is_symlink():
            continue
        if not entry.resolve().is_relative_to(root) or not entry.is_file():
            raise PrepareFailed(
                f"{entry}: is not a plain file inside {path.name}",
                "replace links by what they point to: cp -rL",
            )
        found[entry.relative_to(path).as_posix()] = entry
    return found


def look(path: Path) -> Seen:
    """Sizes and times, cheap. Empty where there is nothing."""
    try:
        stats = {name: file.stat() for name, file in files(path).items()}
    except OSError:
        return {}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}


def digest(path: Path, on_bytes: Callable[[int], None] | None = None) -> str:
    """sha256 of a file; of a folder, that of its sorted lines `name NUL sha256`."""
    if path.is_file():
        return _digest_file(path, on_bytes)
    whole = hashlib.sha256()
    for name, file in files(path).items():
        whole.update(f"{name}\0{_digest_file(file, on_bytes)}\n".encode())
    return whole.hexdigest()


def _digest_file(path: Path, on_bytes: Callable[[int], None] | None) -> str:
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            sha.update(chunk)
            if on_bytes is not None:
                on_bytes(len(chunk))
    return sha.hexdigest()
