"""Memory of a worker and its children, sampled from outside.

On Linux one read of smaps_rollup per process gives everything; walking a large process' pages
costs milliseconds, so the sampler spaces its readings to stay below a fixed share of one core.
"""

from __future__ import annotations

import sys
from pathlib import Path
from time import perf_counter, perf_counter_ns, thread_time

import psutil

from results.records import Memory, MemoryPoint

INTERVAL_S = 0.05
MAX_CPU_SHARE = 0.01
_CHILDREN_EVERY_S = 0.5


class Sampler:
    """Readings of one process tree. Call `sample` whenever `due_in` says 0."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._points: list[MemoryPoint] = []
        self._cpu_s = 0.0
        self._due = perf_counter()
        self._pids: list[int] = [pid]
        self._children_due = 0.0

    def due_in(self) -> float:
        return max(0.0, self._due - perf_counter())

    def sample(self) -> None:
        before = thread_time()
        now = perf_counter()
        if now >= self._children_due:
            self._pids = [self._pid, *_children(self._pid)]
            self._children_due = now + _CHILDREN_EVERY_S
        readings = [r for pid in self._pids if (r := _read(pid)) is not None]
        if readings:
            self._points.append(MemoryPoint(perf_counter_ns(), *_added(readings)))
        cost = thread_time() - before
        self._cpu_s += cost
        self._due = now + max(INTERVAL_S, cost / MAX_CPU_SHARE)

    def result(self, peak_rss: int | None) -> Memory:
        """`peak_rss` is the kernel's high-water mark of the main process, if known."""
        return Memory(INTERVAL_S, self._cpu_s, tuple(self._points), peak_rss)


Reading = tuple[int, int | None, int | None, int | None, int | None, int | None]


def _added(readings: list[Reading]) -> Reading:
    columns = list(zip(*readings, strict=True))
    totals = [
        None if None in column else sum(v for v in column if v is not None) for column in columns
    ]
    return (totals[0] or 0, totals[1], totals[2], totals[3], totals[4], totals[5])


def _read(pid: int) -> Reading | None:
    """rss, pss, uss, anonymous, file-backed, swap in bytes; None when the process is gone."""
    if sys.platform == "linux":
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            return None
        kib: dict[str, int] = {}
        for line in text.splitlines()[1:]:
            name, _, rest = line.partition(":")
            kib[name] = int(rest.split()[0])
        if "Pss" not in kib:
            return None
        pss, anonymous = kib["Pss"] * 1024, kib.get("Pss_Anon", 0) * 1024
        unique = (kib["Private_Clean"] + kib["Private_Dirty"]) * 1024
        return kib["Rss"] * 1024, pss, unique, anonymous, pss - anonymous, kib["Swap"] * 1024
    try:
        process = psutil.Process(pid)
        rss = int(process.memory_info().rss)
        uss = int(process.memory_full_info().uss)
    except psutil.AccessDenied:
        return rss, None, None, None, None, None
    except psutil.Error:
        return None
    return rss, None, uss, None, None, None


def _children(pid: int) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []
