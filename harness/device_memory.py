"""Memory that a process tree holds on NVIDIA GPUs, as the driver counts it, through NVML.

**Run against a fake `pynvml` only**, and with the real package where there is no driver: no
machine with a GPU was at hand when this was written.

NVML lists the processes on each GPU with the bytes each has allocated, its CUDA context (some
hundred MB) included. The memory in use on the whole device is never taken for a process' own.

Inside a container the driver may number processes as the host does, or list none: where none of
the processes asked for is listed and our process ids are not the host's, the answer is None
(unknown), not 0.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

_HOST_PID_NAMESPACE = "pid:[4026531836]"  # the kernel's constant PROC_PID_INIT_INO
_LISTS = (
    "nvmlDeviceGetComputeRunningProcesses",
    "nvmlDeviceGetGraphicsRunningProcesses",
    "nvmlDeviceGetMPSComputeRunningProcesses",
)


class DeviceMemory:
    """The NVIDIA GPUs of this host. Without any, everything answers None and `reason` says why."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self._nvml: Any = None
        self._gpus: list[Any] = []
        try:
            nvml = importlib.import_module("pynvml")
        except ImportError:
            self.reason = "the package nvidia-ml-py is not installed: pip install 'bakeoff[gpu]'"
            return
        try:
            nvml.nvmlInit()
        except nvml.NVMLError as error:
            self.reason = f"NVML does not start: {error}"
            return
        self._nvml = nvml
        try:
            count = nvml.nvmlDeviceGetCount()
            self._gpus = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
        except nvml.NVMLError as error:
            self.reason = f"NVML lists no GPUs: {error}"
            self.close()
            return
        if not self._gpus:
            self.reason = "NVML finds no GPU"
            self.close()

    @property
    def available(self) -> bool:
        return bool(self._gpus)

    def read(self, pids: Iterable[int]) -> int | None:
        """Bytes that these processes hold on all GPUs together; None where that can't be told."""
        by_gpu = self.by_gpu(pids)
        return None if by_gpu is None else sum(by_gpu.values())

    def by_gpu(self, pids: Iterable[int]) -> Mapping[int, int] | None:
        """Bytes that these processes hold, by the GPU's number; None where that can't be told."""
        if not self._gpus:
            return None
        wanted = frozenset(pids)
        total: dict[int, int] = {}
        seen = False
        for number, gpu in enumerate(self._gpus):
            held = self._held(gpu)
            if held is None:
                return None
            mine = [used for pid, used in held.items() if pid in wanted]
            known = [used for used in mine if used is not None]
            if len(known) < len(mine):
                return None  # the driver lists the process and withholds its bytes
            seen = seen or bool(mine)
            total[number] = sum(known)
        return total if seen or _pids_are_the_hosts() else None

    def close(self) -> None:
        """Let go of NVML. Idempotent; afterwards everything answers None."""
        if self._nvml is not None:
            try:
                self._nvml.nvmlShutdown()
            except self._nvml.NVMLError as error:
                self.reason = self.reason or f"NVML does not shut down: {error}"
        self._nvml, self._gpus = None, []

    def _held(self, gpu: Any) -> dict[int, int | None] | None:
        """Bytes by process. A process that computes and draws is in two lists, with one number."""
        held: dict[int, int | None] = {}
        answered = False
        for name in _LISTS:
            listed: Callable[[Any], Iterable[Any]] | None = getattr(self._nvml, name, None)
            if listed is None:
                continue
            try:
                processes = list(listed(gpu))
            except self._nvml.NVMLError:
                continue  # this kind of process is not supported here
            answered = True
            for process in processes:
                pid, used = int(process.pid), process.usedGpuMemory
                before = held.get(pid)
                if used is None:
                    held.setdefault(pid, None)
                else:
                    held[pid] = int(used) if before is None else max(before, int(used))
        return held if answered else None


def _pids_are_the_hosts() -> bool:
    """Whether our process ids mean the same to the driver. True where there are no namespaces."""
    try:
        return str(Path("/proc/self/ns/pid").readlink()) == _HOST_PID_NAMESPACE
    except OSError:
        return True
