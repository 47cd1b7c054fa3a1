"""What machine this is. Timings under different fingerprints are not comparable."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import psutil

DECIDES_SPEED = (
    "cpu",
    "cores",
    "usable_cpus",
    "memory_gib",
    "system",
    "machine",
    "cpu_flags",
    "governor",
)


def describe() -> dict[str, Any]:
    """Facts about this host, JSON values, no names of people or machines."""
    memory = psutil.virtual_memory().total
    return {
        "cpu": _cpu_name(),
        "cores": physical_cores(),
        "logical_cpus": psutil.cpu_count() or 1,
        "usable_cpus": usable_cpus(),
        "cpu_flags": _digest(_cpuinfo("flags") or _cpuinfo("Features") or ""),
        "memory_gib": round(memory / 2**30, 1),
        "swap_gib": round(psutil.swap_memory().total / 2**30, 1),
        "system": platform.system(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "governor": _first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "virtual": "hypervisor" in (_cpuinfo("flags") or "").split(),
    }


def fingerprint(host: dict[str, Any]) -> str:
    """12 hex digits over what decides speed."""
    return _digest(json.dumps([host.get(name) for name in DECIDES_SPEED]))


def physical_cores() -> int:
    """Physical cores, at most as many as this process may use."""
    return max(1, min(psutil.cpu_count(logical=False) or 1, usable_cpus()))


def usable_cpus() -> int:
    return len(usable_cpu_numbers()) or psutil.cpu_count() or 1


def usable_cpu_numbers() -> list[int]:
    """The CPUs that this process may use; empty where the system can't pin processes."""
    return sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _cpu_name() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(field: str) -> str | None:
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return None
    for line in path.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == field:
            return value.strip()
    return None


def _first_line(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None
