"""The cache of artifacts on disk: one slot per artifact, locked, published by an atomic rename.

<cache>/models/<model>/
    gguf-q4_1.gguf              a file, or a folder without suffix
    gguf-q4_1.provenance.json   written last: what has none is never taken
    gguf-q4_1.lock              held while the artifact is made
    gguf-q4_1.log               what the conversion said
    gguf-q4_1.part              a download that can be taken up again
    .gguf-q4_1.making-…         work under way; a leftover is removed by the next one
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import places
from harness.errors import PrepareFailed
from harness.models import provenance
from harness.models.provenance import Provenance

_RESERVE_BYTES = 64 << 20


@dataclass(frozen=True)
class Slot:
    """Where one artifact lives. Making one touches no disk."""

    folder: Path
    name: str

    @property
    def record(self) -> Path:
        return self.folder / f"{self.name}.provenance.json"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def part(self) -> Path:
        return self.folder / f"{self.name}.part"

    def read(self) -> Provenance | None:
        return provenance.read(self.record)

    @contextmanager
    def lock(self, on_wait: Callable[[], None]) -> Iterator[None]:
        """Hold the slot; `on_wait` is called once if somebody else has it."""
        import filelock

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(self.folder / f"{self.name}.lock")
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                on_wait()
                lock.acquire(poll_interval=0.2)
        except OSError as error:
            raise PrepareFailed(
                f"{self.folder}: {error.strerror}", "set BAKEOFF_CACHE to a folder you can write"
            ) from error
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A scratch folder on the cache's own file system, gone afterwards. Needs the lock."""
        for leftover in self.folder.glob(f".{self.name}.making-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        path = Path(tempfile.mkdtemp(prefix=f".{self.name}.making-", dir=self.folder))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def publish(self, staged: Path | None, document: Provenance) -> None:
        """Put the artifact in its place, then say so. Needs the lock.

        Killed in between, the slot holds no provenance and so nothing that would be taken.
        """
        if staged is not None and document.file is not None:
            for file in provenance.files(staged).values():
                _sync(file)
            self.discard()
            staged.rename(self.folder / document.file)
        self.note(document)

    def note(self, document: Provenance) -> None:
        """Write the provenance alone, in one step. Needs the lock."""
        temporary = self.folder / f".{self.name}.provenance.tmp"
        temporary.write_text(document.to_json(), "utf-8")
        _sync(temporary)
        temporary.replace(self.record)

    def discard(self) -> None:
        """Forget the artifact, its record first. Needs the lock."""
        self.record.unlink(missing_ok=True)
        suffixed = [p for p in self.folder.glob(f"{self.name}.*") if p.suffix not in _OURS]
        for path in (self.folder / self.name, *suffixed):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


_OURS = frozenset({".json", ".lock", ".log", ".part", ".etag"})


def slot(model: str, artifact: str) -> Slot:
    """The slot of an artifact in the cache that `places.cache()` names now."""
    return Slot(places.cache() / "models" / model, artifact)


def require_space(folder: Path, needed: int) -> None:
    """Refuse before the work what would fill the disk. Raises PrepareFailed."""
    free = shutil.disk_usage(folder).free
    if free < needed + _RESERVE_BYTES:
        raise PrepareFailed(
            f"needs about {needed / 1e9:.1f} GB in {folder}, where {free / 1e9:.1f} GB are free",
            "free some space, or set BAKEOFF_CACHE to a folder on another disk",
        )


def _sync(path: Path) -> None:
    # A power cut must not leave a complete provenance beside an empty file.
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some file systems and Windows refuse on a read-only handle
        pass
    finally:
        os.close(handle)
