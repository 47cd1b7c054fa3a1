"""What others did to the machine while a trial ran, from readings before and after it.

The readings are a handful of small files: nothing runs while the trial does.
"""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Reading:
    """CPU seconds since boot, over all CPUs; `own_s` is this process and its ended children."""

    busy_s: float | None
    steal_s: float | None
    pressure_s: float | None
    own_s: float
    frequency_mhz: float | None
    temperature_c: float | None


def read(root: Path = Path("/")) -> Reading:
    """The counters now; None for what this system does not tell."""
    busy, steal = _cpu(root / "proc/stat")
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    frequencies = _numbers(root / "sys/devices/system/cpu", "cpu[0-9]*/cpufreq/scaling_cur_freq")
    temperatures = _numbers(root / "sys/class/thermal", "thermal_zone*/temp")
    return Reading(
        busy_s=busy,
        steal_s=steal,
        pressure_s=_pressure(root / "proc/pressure/cpu"),
        own_s=sum(usage.ru_utime + usage.ru_stime for usage in usages),
        frequency_mhz=sum(frequencies) / len(frequencies) / 1e3 if frequencies else None,
        temperature_c=max(temperatures) / 1e3 if temperatures else None,
    )


def between(before: Reading, after: Reading) -> dict[str, float | None]:
    """What happened between two readings, as Record.conditions names it."""
    busy, own = _difference(before.busy_s, after.busy_s), after.own_s - before.own_s
    return {
        "steal_s": _difference(before.steal_s, after.steal_s),
        "foreign_cpu_s": None if busy is None else max(0.0, busy - own),
        "pressure_s": _difference(before.pressure_s, after.pressure_s),
        "frequency_mhz": after.frequency_mhz,
        "temperature_c": after.temperature_c,
    }


def _difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def _cpu(path: Path) -> tuple[float | None, float | None]:
    try:
        fields = [int(field) for field in path.read_text().split("\n", 1)[0].split()[1:9]]
        user, nice, system, _, _, irq, softirq, steal = fields
    except (OSError, ValueError):
        return None, None
    ticks = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) / ticks, steal / ticks


def _pressure(path: Path) -> float | None:
    """Seconds in which some task waited for a CPU."""
    try:
        line = path.read_text().split("\n", 1)[0]
        return int(line.rpartition("total=")[2]) / 1e6
    except (OSError, ValueError):
        return None


def _numbers(folder: Path, pattern: str) -> list[int]:
    found = []
    for path in folder.glob(pattern):
        try:
            found.append(int(path.read_text()))
        except (OSError, ValueError):
            continue
    return found
