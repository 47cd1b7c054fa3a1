"""Memory of a worker and its children, sampled from outside.

On Linux one read of smaps_rollup per process gives everything; walking a large process' pages
costs milliseconds, so the sampler spaces its readings to stay below a fixed share of one core.
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
MAX_CPU_SHARE = 0.002
"""Where all cores decode, a reading stops one of them and the others wait: keep it rare."""
MAX_INTERVAL_S = 1.0
_CHILDREN_EVERY_S = 0.5


class Sampler:
    """Readings of one process tree. Call `sample` whenever `due_in` says 0."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._gpus = _gpus()
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
            device = self._gpus.read(self._pids)
            self._points.append(
                replace(point(perf_counter_ns(), smaps.total(readings)), device=device)
            )
        cost = thread_time() - before
        self._cpu_s += cost
        self._due = now + min(MAX_INTERVAL_S, max(INTERVAL_S, cost / MAX_CPU_SHARE))

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
