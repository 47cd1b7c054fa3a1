"""What Linux tells of a host in /proc and /sys, read below any root: tests bring their own tree.

Nothing here raises: what is not there, or may not be read, is None or empty.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_CGROUP_NO_LIMIT = 2**60  # version 1 writes "no limit" as a number near 2**63


@dataclass(frozen=True)
class Activity:
    """CPU time so far, in ticks of all CPUs together: two of these tell what went on between.

    `total` counts idle and stolen time, too; `busy` does not. `programs` maps a process id to the name of its program and its ticks.
    """

    total: int
    busy: int
    steal: int
    programs: Mapping[int, tuple[str, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """The tightest limits of this process' control group and those above it; None is no limit.

    `cpus` is how many CPUs' worth of time; `throttled` how often the kernel held the group back.
    """

    cpus: float | None
    throttled: int | None
    memory_bytes: int | None
    memory_used_bytes: int | None


@dataclass(frozen=True)
class HostTree:
    """The files of one host."""

    root: Path

    def text(self, path: str) -> str | None:
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return None

    def number(self, path: str) -> int | None:
        return _number(self.text(path))

    def glob(self, pattern: str) -> list[Path]:
        """Matching paths below the root, in order."""
        try:
            return sorted(self.root.glob(pattern))
        except OSError:
            return []

    def texts(self, pattern: str) -> list[str]:
        """The contents of all matching files that can be read."""
        found = (self.text(str(path.relative_to(self.root))) for path in self.glob(pattern))
        return [text for text in found if text is not None]

    def numbers(self, pattern: str) -> list[int]:
        return [n for text in self.texts(pattern) if (n := _number(text)) is not None]

    def table(self, path: str) -> dict[str, str]:
        """`name: value` lines; the first line of a name counts."""
        found: dict[str, str] = {}
        for line in (self.text(path) or "").splitlines():
            name, separator, value = line.partition(":")
            if separator:
                found.setdefault(name.strip(), value.strip())
        return found

    def memory(self) -> dict[str, int]:
        """/proc/meminfo in bytes."""
        found: dict[str, int] = {}
        for name, value in self.table("proc/meminfo").items():
            number = _number(value.removesuffix("kB"))
            if number is not None:
                found[name] = number * 1024
        return found

    def online_cpus(self) -> frozenset[int]:
        return cpu_list(self.text("sys/devices/system/cpu/online"))

    def usable_cpus(self) -> frozenset[int]:
        """The CPUs that this process may run on: affinity and cpuset together."""
        allowed = cpu_list(self.table("proc/self/status").get("Cpus_allowed_list"))
        return allowed or self.online_cpus()

    def cores(self) -> list[frozenset[int]]:
        """The usable CPUs, grouped by the physical core that they share."""
        usable = self.usable_cpus()
        found: set[frozenset[int]] = set()
        for cpu in usable:
            path = f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
            siblings = cpu_list(self.text(path))
            if not siblings:
                return []
            found.add(siblings & usable)
        return sorted(found, key=min)

    def pressure(self, what: str) -> float | None:
        """Share of the last ten seconds (0 to 1) in which some task waited for `what`."""
        found = re.search(r"^some avg10=([\d.]+)", self.text(f"proc/pressure/{what}") or "", re.M)
        return float(found[1]) / 100 if found else None

    def activity(self) -> Activity | None:
        """CPU time so far; None where /proc/stat is not to be had."""
        line = (self.text("proc/stat") or "").partition("\n")[0].split()
        if len(line) < 9 or line[0] != "cpu" or not all(value.isdigit() for value in line[1:9]):
            return None
        # user, nice, system, idle, iowait, irq, softirq, steal; guest time is in user already.
        ticks = [int(value) for value in line[1:9]]
        busy = sum(ticks) - ticks[3] - ticks[4] - ticks[7]
        return Activity(sum(ticks), busy, ticks[7], dict(self._programs()))

    def limits(self) -> Limits:
        """Control groups of version 2, else of version 1."""
        entries = [line.split(":", 2) for line in (self.text("proc/self/cgroup") or "").split("\n")]
        paths = {name: path for _, names, path in filter(_is_triple, entries) for name in
                 names.split(",")}  # fmt: skip
        unified = [f for f in self._groups("", paths.get("", "/")) if self._is_version_2(f)]
        if unified:
            cpus = [c for f in unified if (c := _cpu_max(self.text(f"{f}/cpu.max"))) is not None]
            throttled = [_throttled(self.text(f"{f}/cpu.stat")) for f in unified]
            sizes = [(self.number(f"{f}/memory.max"), f"{f}/memory.current") for f in unified]
        else:
            groups = self._groups("cpu", paths.get("cpu", "/"))
            cpus = [c for f in groups if (c := self._cpu_quota(f)) is not None]
            throttled = [_throttled(self.text(f"{f}/cpu.stat")) for f in groups]
            sizes = [
                (self.number(f"{f}/memory.limit_in_bytes"), f"{f}/memory.usage_in_bytes")
                for f in self._groups("memory", paths.get("memory", "/"))
            ]
        known = [(size, used) for size, used in sizes if size is not None]
        limit, used = min(known, default=(_CGROUP_NO_LIMIT, ""))
        counts = [count for count in throttled if count is not None]
        limited = limit < _CGROUP_NO_LIMIT
        return Limits(
            cpus=min(cpus, default=None),
            throttled=max(counts, default=None),
            memory_bytes=limit if limited else None,
            memory_used_bytes=self.number(used) if limited else None,
        )

    def _groups(self, controller: str, path: str) -> list[str]:
        """Folders of a group and all above it. In a container the path may not be there."""
        base = f"sys/fs/cgroup/{controller}".rstrip("/")
        parts = [part for part in path.split("/") if part and part != ".."]
        names = ["/".join([base, *parts[:depth]]) for depth in range(len(parts) + 1)]
        return [name for name in names if (self.root / name).is_dir()]

    def _is_version_2(self, folder: str) -> bool:
        return any((self.root / folder / n).exists() for n in ("cpu.max", "memory.max"))

    def _cpu_quota(self, folder: str) -> float | None:
        quota = self.number(f"{folder}/cpu.cfs_quota_us")
        period = self.number(f"{folder}/cpu.cfs_period_us")
        return quota / period if quota and period and quota > 0 else None

    def _programs(self) -> Iterator[tuple[int, tuple[str, int]]]:
        for path in self.glob("proc/[0-9]*/stat"):
            text = self.text(str(path.relative_to(self.root)))
            head, _, tail = (text or "").rpartition(")")
            used = tail.split()[11:13]
            if len(used) == 2 and path.parent.name.isdigit():  # else it has ended meanwhile
                yield int(path.parent.name), (head.partition("(")[2], sum(map(int, used)))


def cpu_list(text: str | None) -> frozenset[int]:
    """CPU numbers from the kernel's way to write them: "0-3,8"."""
    found: set[int] = set()
    for part in (text or "").split(","):
        first, _, last = part.strip().partition("-")
        if first.isdigit():
            found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


def _is_triple(entry: list[str]) -> bool:
    return len(entry) == 3


def _number(text: str | None) -> int | None:
    """A whole number of at most 64 bits: the kernel writes no others."""
    try:
        number = int((text or "").strip())
    except ValueError:
        return None
    return number if abs(number) < 2**64 else None


def _cpu_max(text: str | None) -> float | None:
    quota, _, period = (text or "").partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _throttled(text: str | None) -> int | None:
    found = re.search(r"^nr_throttled (\d+)$", text or "", re.M)
    return int(found[1]) if found else None
