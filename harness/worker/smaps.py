"""Memory of one process as Linux accounts for it. Standard library only: workers use it, too."""

from __future__ import annotations

import os
from pathlib import Path

Reading = dict[str, int | None]

FIELDS = ("rss", "pss", "uss", "anonymous", "file_backed", "swap")


def read(pid: int | str = "self") -> Reading | None:
    """Bytes by name (see results.records.MemoryPoint); None if there is no such process or file.

    Walks the page tables of the whole process: milliseconds per gigabyte.
    """
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return None
    size: dict[str, int] = {}
    for line in text.splitlines()[1:]:
        name, _, rest = line.partition(":")
        size[name] = int(rest.split()[0]) * 1024
    if "Pss" not in size:
        return None
    anonymous = size.get("Pss_Anon")
    return {
        "rss": size["Rss"],
        "pss": size["Pss"],
        "uss": size["Private_Clean"] + size["Private_Dirty"],
        "anonymous": anonymous,
        "file_backed": None if anonymous is None else size["Pss"] - anonymous,
        "swap": size["Swap"],
    }


def resident(pid: int | str = "self") -> int | None:
    """Resident bytes by the kernel's own count: microseconds, whatever the size. Linux only."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def total(readings: list[Reading]) -> Reading:
    """Sum over processes; None where one of them can't say."""
    added: Reading = {}
    for name in FIELDS:
        values = [reading[name] for reading in readings]
        added[name] = None if None in values else sum(v for v in values if v is not None)
    return added
