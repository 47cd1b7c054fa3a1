"""Who in this process used the CPU: per thread, and in child processes. Linux; empty elsewhere."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

Usage = dict[int, float]

BUSY_SHARE = 0.2


def cpu_by_thread() -> Usage:
    """CPU seconds so far by thread id, from the scheduler's own counters."""
    usage: Usage = {}
    for path in Path("/proc/self/task").glob("*/schedstat"):
        try:
            usage[int(path.parent.name)] = int(path.read_text().split()[0]) / 1e9
        except (OSError, ValueError, IndexError):
            continue
    return usage


def busy(before: Usage, after: Usage) -> int | None:
    """Threads that did the work between two readings: at least a fifth of the busiest one's."""
    spent = [seconds - before.get(thread, 0.0) for thread, seconds in after.items()]
    busiest = max(spent, default=0.0)
    if busiest <= 0:
        return None
    return sum(s >= BUSY_SHARE * busiest for s in spent)


def children(of: int | None = None) -> dict[int, tuple[float, int]]:
    """Living children of a process (this one), and theirs: CPU seconds and RSS in bytes by pid."""
    found: dict[int, tuple[float, int]] = {}
    todo = [of or os.getpid()]
    while todo:
        for pid in _children(todo.pop()):
            usage = _usage(pid)
            if usage is not None and pid not in found:
                found[pid] = usage
                todo.append(pid)
    return found


def _children(pid: int) -> list[int]:
    """Of one process, by any of its threads. Both may end while this reads."""
    try:
        paths = [*Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return []
    found: list[int] = []
    for path in paths:
        with suppress(OSError):
            found += map(int, path.read_text().split())
    return found


def _usage(pid: int) -> tuple[float, int] | None:
    try:
        # The command's name may hold anything, even spaces and parentheses.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        pages = int(fields[21])
    except (OSError, ValueError, IndexError):
        return None
    return ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE")
