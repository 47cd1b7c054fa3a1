"""The page cache of exactly an artifact's files: filled or dropped before a trial, and looked at.

Cold means that loading reads from the disk. Dropping is a request to the kernel that it may
refuse (pages that another process maps stay), so what is resident is always measured as well.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from pathlib import Path
from typing import Any

_CHUNK = 1 << 22


def files(artifact: Path) -> list[Path]:
    """The artifact's files: itself, or all files of its folder."""
    if artifact.is_file():
        return [artifact]
    return sorted(path for path in artifact.rglob("*") if path.is_file())


def fill(artifact: Path) -> None:
    """Read every file once, so that the page cache holds what fits of it."""
    for path in files(artifact):
        with path.open("rb", buffering=0) as file:
            while file.read(_CHUNK):
                pass


def drop(artifact: Path) -> None:
    """Ask the kernel to forget the files' pages. Written pages must reach the disk first."""
    if not hasattr(os, "posix_fadvise"):
        return
    for path in files(artifact):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def resident(artifact: Path) -> float | None:
    """Share of the artifact's pages in the page cache, 0 to 1; None where it can't be told.

    The kernel tells this only to who may write the file; to others everything looks resident.
    """
    if sys.platform != "linux":
        return None
    pages = held = 0
    for path in files(artifact):
        counted = _resident_pages(path)
        if counted is None:
            return None
        pages, held = pages + counted[0], held + counted[1]
    return held / pages if pages else None


def _resident_pages(path: Path) -> tuple[int, int] | None:
    """(pages, pages that are resident) of one file, by mincore."""
    size = path.stat().st_size
    if size == 0:
        return 0, 0
    if not os.access(path, os.W_OK):
        return None
    count = -(-size // mmap.PAGESIZE)
    libc = ctypes.CDLL(None, use_errno=True)
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY) as mapped:
        # A private, writable mapping, only because ctypes takes no address of a read-only one.
        start: Any = ctypes.c_char.from_buffer(mapped)
        vector = (ctypes.c_ubyte * count)()
        failed = libc.mincore(
            ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(size), vector
        )
        del start  # else the mapping can't be closed
    return None if failed else (count, sum(byte & 1 for byte in bytes(vector)))
