"""From a manifest to files on disk: fetch or make an artifact once, and know what it is.

Nothing is taken that is half made or was changed: an artifact counts when its provenance says
so, its recipe is still today's, and its files have the sizes and times that were seen when it
was hashed.
"""

from __future__ import annotations

import errno
import hashlib
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from backends.api import Artifact
from harness.errors import PrepareFailed
from harness.models import cache, conversions, provenance, sources
from harness.models.manifest import ArtifactSpec, Manifest, PathSource
from harness.models.provenance import Provenance
from harness.models.sources import OnProgress
from results.records import ArtifactFacts


@dataclass(frozen=True)
class Prepared:
    """An artifact that can be loaded, and what is known about its weights."""

    artifact: Artifact
    facts: ArtifactFacts


def prepare(
    manifest: Manifest,
    artifact_name: str,
    on_progress: OnProgress | None = None,
    *,
    interpreter: str = sys.executable,
) -> Prepared:
    """Fetch or make the artifact and what it is made from, unless it is there.

    `interpreter` runs the conversions. Raises PrepareFailed (reason and remedy), BadInput for a
    name the manifest doesn't have. Safe to call from several processes at once.
    """
    item = _Item(manifest, artifact_name, interpreter)

    def tell(what: str, fraction: float | None = None) -> None:
        if on_progress is not None:
            on_progress(f"{artifact_name}: {what}", fraction)

    try:
        parent = None
        if item.spec.from_ is not None:
            parent = prepare(manifest, item.spec.from_, on_progress, interpreter=interpreter)
        recipe = item.recipe(parent.facts.sha256 if parent else None)
        document = item.current(recipe)
        if document is None:
            with item.slot.lock(lambda: tell("another bakeoff is preparing it, waiting")):
                document = item.current(recipe) or item.rehashed(recipe, tell)
                if document is None:
                    document = item.make(recipe, parent, tell)
    except OSError as error:
        raise _disk_trouble(artifact_name, error) from error
    return item.prepared(document)


def is_prepared(manifest: Manifest, name: str, *, interpreter: str = sys.executable) -> bool:
    """Whether `prepare` would have nothing to do. Hashes nothing, changes nothing."""
    return _peek(manifest, name, interpreter) is not None


def is_recorded(manifest: Manifest, name: str) -> bool:
    """Whether something was prepared under that name, be it out of date or tampered with."""
    return _Item(manifest, name, sys.executable).slot.read() is not None


def verify(manifest: Manifest, name: str, on_progress: OnProgress | None = None) -> Prepared:
    """Hash the artifact again and compare. Raises PrepareFailed where anything differs."""
    item = _Item(manifest, name, sys.executable)
    remedy = f"bakeoff models prepare {manifest.id} {name}"
    document = item.slot.read()
    if document is None or not item.path.exists():
        raise PrepareFailed(f"{manifest.id}/{name} is not prepared", remedy)
    if on_progress is not None:
        on_progress(f"{name}: hashing", None)
    try:
        found = provenance.digest(item.path, _hashing(name, document.bytes, on_progress))
    except OSError as error:
        raise _disk_trouble(name, error) from error
    expected = item.spec.sha256 or document.sha256
    if found != expected:
        if not item.in_place:
            with item.slot.lock(lambda: None):
                item.slot.record.unlink(missing_ok=True)
        raise PrepareFailed(
            f"{item.path} has changed: sha256 {found}, expected {expected}",
            f"put the original back: {item.path}" if item.in_place else remedy,
        )
    return item.prepared(document)


def _peek(manifest: Manifest, name: str, interpreter: str) -> Provenance | None:
    item = _Item(manifest, name, interpreter)
    parent_sha = None
    try:
        if item.spec.from_ is not None:
            parent = _peek(manifest, item.spec.from_, interpreter)
            if parent is None:
                return None
            parent_sha = parent.sha256
        return item.current(item.recipe(parent_sha))
    except (PrepareFailed, OSError):
        return None


class _Item:
    """One artifact of one manifest, and its slot in the cache."""

    def __init__(self, manifest: Manifest, name: str, interpreter: str) -> None:
        self.manifest, self.name, self.interpreter = manifest, name, interpreter
        self.spec: ArtifactSpec = manifest.spec(name)
        self.slot = cache.slot(manifest.id, name)

    @property
    def in_place(self) -> bool:
        return isinstance(self.spec.source, PathSource)

    @property
    def file_name(self) -> str:
        """In the cache: a folder has the artifact's name, a file also its format."""
        if self.spec.with_ is not None:
            folder = conversions.CONVERSIONS[self.spec.with_].folder
        else:
            folder = self.spec.source is not None and sources.is_folder(self.spec.source)
        return self.name if folder else f"{self.name}.{self.spec.format}"

    @property
    def path(self) -> Path:
        if isinstance(self.spec.source, PathSource):
            return self.manifest.file.parent / Path(self.spec.source.path).expanduser()
        return self.slot.folder / self.file_name

    def recipe(self, parent_sha256: str | None) -> dict[str, Any]:
        """What decides the content, today."""
        if self.spec.source is not None:
            return {"source": sources.describe(self.spec.source)}
        conversion = conversions.CONVERSIONS[self.spec.with_ or ""]
        tools = conversions.tools(conversion, self.interpreter)
        return {
            "from": self.spec.from_,
            "from_sha256": parent_sha256,
            "with": conversion.name,
            "options": conversion.options(self.spec.precision, self.spec.options),
            "script_sha256": hashlib.sha256(conversion.script.read_bytes()).hexdigest(),
            "tool": tools.tool,
            "versions": dict(tools.versions),
        }

    def _recorded(self, recipe: dict[str, Any]) -> Provenance | None:
        document = self.slot.read()
        if document is None or document.file != (None if self.in_place else self.file_name):
            return None
        if not provenance.same_recipe(recipe, document.recipe):
            return None
        return document if self.spec.sha256 in (None, document.sha256) else None

    def current(self, recipe: dict[str, Any]) -> Provenance | None:
        """The artifact's provenance if it can be used as it is. Reads only."""
        document = self._recorded(recipe)
        if document is None or not self.path.exists():
            return None
        return document if dict(document.seen) == self._look() else None

    def _look(self) -> provenance.Seen:
        """Nothing where the cache was tampered with: it is then made again."""
        try:
            return provenance.look(self.path)
        except PrepareFailed:
            if self.in_place:
                raise
            return {}

    def rehashed(self, recipe: dict[str, Any], tell: Callable[..., None]) -> Provenance | None:
        """The same after a copy or a touch changed its times, if the content proves to be the same."""
        document = self._recorded(recipe)
        if document is None or not self.path.exists():
            return None
        seen = self._look()
        if sum(size for size, _ in seen.values()) != document.bytes:
            return None
        if (
            provenance.digest(
                self.path, _hashing("", document.bytes, lambda _, f: tell("hashing", f))
            )
            != document.sha256
        ):
            return None
        document = replace(document, seen=seen)
        self.slot.note(document)
        return document

    def make(
        self, recipe: dict[str, Any], parent: Prepared | None, tell: Callable[..., None]
    ) -> Provenance:
        """Fetch or convert into scratch, check, publish. The slot's lock is held."""
        if self.in_place:
            return self._adopt(recipe, tell)
        with self.slot.staging() as scratch:
            target = scratch / self.file_name
            notes: dict[str, str] = {}
            if parent is None:
                notes = sources.fetch(self.spec, target, self.slot, tell)
            else:
                self._convert(parent, target, scratch, tell)
            document = self._describe(target, recipe, parent, notes, tell)
            self.slot.publish(target, document)
        return document

    def _convert(
        self, parent: Prepared, target: Path, scratch: Path, tell: Callable[..., None]
    ) -> None:
        conversion = conversions.CONVERSIONS[self.spec.with_ or ""]
        size = parent.facts.bytes * _bits(self.spec.precision) / _bits(parent.facts.precision)
        cache.require_space(scratch, int(size * 1.2))
        conversions.convert(
            conversion,
            parent.artifact.path,
            target,
            conversion.options(self.spec.precision, self.spec.options),
            scratch=scratch,
            log=self.slot.log,
            interpreter=self.interpreter,
            on_poll=lambda: tell(f"{conversion.name} of {self.spec.from_}"),
        )

    def _adopt(self, recipe: dict[str, Any], tell: Callable[..., None]) -> Provenance:
        if not self.path.exists():
            raise PrepareFailed(
                f"{self.path}: no such file or folder", f"check `path` in {self.manifest.file}"
            )
        document = self._describe(self.path, recipe, None, {}, tell)
        self.slot.publish(None, document)
        return document

    def _describe(
        self,
        path: Path,
        recipe: dict[str, Any],
        parent: Prepared | None,
        notes: dict[str, str],
        tell: Callable[..., None],
    ) -> Provenance:
        """Hash it and compare with what the manifest expects. Raises PrepareFailed."""
        seen = provenance.look(path)
        size = sum(length for length, _ in seen.values())
        if self.spec.bytes not in (None, size):
            raise PrepareFailed(
                f"{self.name}: is {size:,} bytes, expected {self.spec.bytes:,}", _WRONG
            )
        found = provenance.digest(path, _hashing("", size, lambda _, f: tell("hashing", f)))
        if self.spec.sha256 not in (None, found):
            raise PrepareFailed(
                f"{self.name}: has sha256 {found}, expected {self.spec.sha256}", _WRONG
            )
        if parent is not None:
            origin = dict(parent.facts.provenance["origin"])
        else:
            origin = {"artifact": self.name, "sha256": found, **recipe}
        return Provenance(
            model=self.manifest.id,
            artifact=self.name,
            weights=self._weights(parent),
            sha256=found,
            bytes=size,
            prepared_at=datetime.now(UTC).isoformat(timespec="seconds"),
            recipe=recipe,
            origin=origin,
            notes=notes,
            file=None if self.in_place else self.file_name,
            seen=seen,
        )

    def _weights(self, parent: Prepared | None) -> str:
        """Which numbers it holds: a lossless conversion keeps its parent's, a lossy one has its own."""
        conversion = conversions.CONVERSIONS.get(self.spec.with_ or "")
        if parent and conversion and conversion.lossless(self.spec.precision):
            return parent.facts.weights
        return f"{self.manifest.id}/{self.name}"

    def prepared(self, document: Provenance) -> Prepared:
        model, name = self.manifest.id, self.name
        return Prepared(
            Artifact(model=model, name=name, format=self.spec.format, path=self.path),
            ArtifactFacts(
                model=model,
                artifact=name,
                format=self.spec.format,
                precision=self.spec.precision,
                weights=document.weights,
                bytes=document.bytes,
                sha256=document.sha256,
                provenance=document.public(),
            ),
        )


_WRONG = "the source or the manifest is wrong; nothing was kept"


def _hashing(name: str, total: int, on_progress: OnProgress | None) -> Callable[[int], None] | None:
    if on_progress is None:
        return None
    done = 0

    def on_bytes(count: int) -> None:
        nonlocal done
        done += count
        on_progress(f"{name}: hashing", min(1.0, done / total) if total else None)

    return on_bytes


def _bits(precision: str) -> float:
    """Bits per weight, roughly, from a precision's name; one more for the scales of blocks."""
    found = re.search(r"\d+", precision)
    width = int(found[0]) if found else 32
    return width if precision.startswith(("f", "bf")) else width + 1


def _disk_trouble(name: str, error: OSError) -> PrepareFailed:
    where = f" ({error.filename})" if error.filename else ""
    remedy = "set BAKEOFF_CACHE to a folder you can write, on a disk with space"
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    reason = "the disk is full" if full else (error.strerror or str(error))
    return PrepareFailed(f"{name}: {reason}{where}", remedy)
