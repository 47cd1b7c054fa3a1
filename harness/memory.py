"""Memory of a worker and its children, sampled from outside.

On Linux one read of smaps_rollup per process gives everything, but walking a large process' pages
costs milliseconds and holds up the core it runs on. The kernel's own count of resident pages costs
next to nothing: the sampler looks at it often, and takes a whole reading only when it has moved.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import cache
from time import perf_counter, perf_counter_ns, thread_time

import psutil

from harness.device_memory import DeviceMemory
from harness.worker import smaps, threads
from harness.worker.smaps import Reading
from results.records import Memory, MemoryPoint

INTERVAL_S = 0.1
MOVED = 0.01
"""A change of resident memory, as a share, that calls for a whole reading."""
MAX_CPU_SHARE = 0.002
"""Where all cores decode, a reading stops one of them and the others wait: keep it rare."""
MAX_INTERVAL_S = 1.0
"""While memory moves, a whole reading is never later than this."""
_CHILDREN_EVERY_S = 0.5


class Sampler:
    """Readings of one process tree. Call `sample` whenever `due_in` says 0."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._gpus = _gpus()
        self._points: list[MemoryPoint] = []
        self._cpu_s = 0.0
        self._due = self._reading_due = perf_counter()
        self._resident: int | None = None  # at the last whole reading
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
        resident = self._resident_now()
        if now >= self._reading_due and self._moved(resident):
            self._read()
            self._resident = resident
            cost = thread_time() - before
            self._reading_due = now + min(MAX_INTERVAL_S, cost / MAX_CPU_SHARE)
        self._cpu_s += thread_time() - before
        self._due = now + INTERVAL_S

    def _read(self) -> None:
        readings = [r for pid in self._pids if (r := _read(pid)) is not None]
        if readings:
            device = self._gpus.read(self._pids)
            self._points.append(
                replace(point(perf_counter_ns(), smaps.total(readings)), device=device)
            )

    def _resident_now(self) -> int | None:
        """Bytes, None where only a whole reading can tell: not on Linux, or with a GPU's memory."""
        if sys.platform != "linux" or self._gpus.available:
            return None
        return sum(smaps.resident(pid) or 0 for pid in self._pids)

    def _moved(self, resident: int | None) -> bool:
        if resident is None or self._resident is None:
            return True
        return abs(resident - self._resident) > MOVED * self._resident

    def result(self) -> Memory:
        return Memory(INTERVAL_S, self._cpu_s, tuple(self._points))


def with_own(memory: Memory, own: list[MemoryPoint], peak_rss: int | None) -> Memory:
    """Add the worker's readings of itself at the ends of its phases, which a sampler can miss in
    a short trial, and the kernel's high-water mark of its RSS."""
    points = sorted([*memory.points, *own], key=lambda p: p.at_ns)
    return replace(memory, points=tuple(points), peak_rss=peak_rss)


def point(at_ns: int, reading: Reading) -> MemoryPoint:
    """Raises ValueError or TypeError for a reading that holds no numbers: a worker sent it."""
    values = [reading[name] for name in smaps.FIELDS]
    rss, *others = [None if value is None else int(value) for value in values]
    return MemoryPoint(at_ns, rss or 0, *others)


@cache  # starting NVML takes long, and must not fall into a trial
def _gpus() -> DeviceMemory:
    return DeviceMemory()


def _read(pid: int) -> Reading | None:
    if sys.platform == "linux":
        return smaps.read(pid)
    reading: Reading = dict.fromkeys(smaps.FIELDS)
    try:
        process = psutil.Process(pid)
        reading["rss"] = int(process.memory_info().rss)
        reading["uss"] = int(process.memory_full_info().uss)
    except psutil.AccessDenied:
        return reading if reading["rss"] else None
    except psutil.Error:
        return None
    return reading


def _children(pid: int) -> list[int]:
    if sys.platform == "linux":
        return list(threads.children(pid))
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []
