"""Device memory against a fake `pynvml`. No GPU has seen this code."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from harness import device_memory
from harness.device_memory import DeviceMemory

MIB = 2**20


class FakeNvml(ModuleType):
    """Two GPUs whose processes a test sets: `compute[gpu]` and `graphics[gpu]`, pid to bytes."""

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.compute: list[dict[int, int | None]] = [{}, {}]
        self.graphics: list[dict[int, int | None]] = [{}, {}]
        self.failing: set[str] = set()
        self.shut = 0

    def _check(self, name: str) -> None:
        if name in self.failing:
            raise self.NVMLError(f"{name} fails")

    def nvmlInit(self) -> None:
        self._check("init")

    def nvmlShutdown(self) -> None:
        self.shut += 1

    def nvmlDeviceGetCount(self) -> int:
        self._check("count")
        return len(self.compute)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetComputeRunningProcesses(self, gpu: int) -> list[Any]:
        self._check("compute")
        return [SimpleNamespace(pid=p, usedGpuMemory=u) for p, u in self.compute[gpu].items()]

    def nvmlDeviceGetGraphicsRunningProcesses(self, gpu: int) -> list[Any]:
        self._check("graphics")
        return [SimpleNamespace(pid=p, usedGpuMemory=u) for p, u in self.graphics[gpu].items()]


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(device_memory, "_pids_are_the_hosts", lambda: True)
    return fake


def test_the_processes_of_a_tree_are_added_over_gpus_and_others_are_not(nvml: FakeNvml) -> None:
    nvml.compute = [{10: 100 * MIB, 11: 20 * MIB, 99: 5000 * MIB}, {11: 3 * MIB}]
    memory = DeviceMemory()
    assert memory.available and memory.reason is None
    assert memory.by_gpu([10, 11]) == {0: 120 * MIB, 1: 3 * MIB}
    assert memory.read([10, 11]) == 123 * MIB
    assert memory.read(iter([10])) == 100 * MIB


def test_a_process_in_two_lists_is_counted_once(nvml: FakeNvml) -> None:
    nvml.compute = [{10: 100 * MIB}]
    nvml.graphics = [{10: 100 * MIB, 12: 7 * MIB}]
    assert DeviceMemory().read([10, 12]) == 107 * MIB


def test_a_process_without_device_memory_holds_none_of_it(nvml: FakeNvml) -> None:
    nvml.compute[0] = {99: MIB}
    assert DeviceMemory().read([10]) == 0


def test_in_a_container_an_unlisted_process_is_unknown_not_zero(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_memory, "_pids_are_the_hosts", lambda: False)
    nvml.compute[0] = {10: MIB}
    assert DeviceMemory().read([11]) is None
    assert DeviceMemory().read([10, 11]) == MIB


def test_bytes_that_the_driver_withholds_are_unknown(nvml: FakeNvml) -> None:
    nvml.compute[0] = {10: None, 99: 1}
    assert DeviceMemory().read([10]) is None
    assert DeviceMemory().read([99]) == 1


def test_one_kind_of_list_may_be_unsupported_not_all(nvml: FakeNvml) -> None:
    nvml.compute[0] = {10: MIB}
    memory = DeviceMemory()
    nvml.failing = {"graphics"}
    assert memory.read([10]) == MIB
    nvml.failing = {"graphics", "compute"}
    assert memory.read([10]) is None


@pytest.mark.parametrize(
    ("failing", "reason"), [("init", "does not start: init fails"), ("count", "lists no GPUs")]
)
def test_without_a_driver_everything_is_none_with_a_reason(
    nvml: FakeNvml, failing: str, reason: str
) -> None:
    nvml.failing = {failing}
    memory = DeviceMemory()
    assert not memory.available and memory.read([10]) is None and memory.by_gpu([10]) is None
    assert reason in str(memory.reason)


def test_without_a_gpu_nvml_is_let_go(nvml: FakeNvml) -> None:
    nvml.compute = []
    memory = DeviceMemory()
    assert memory.reason == "NVML finds no GPU" and memory.read([1]) is None and nvml.shut == 1


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    memory = DeviceMemory()
    assert memory.read([1]) is None and "bakeoff[gpu]" in str(memory.reason)
    memory.close()


def test_close_is_idempotent_and_final(nvml: FakeNvml) -> None:
    nvml.compute[0] = {10: MIB}
    memory = DeviceMemory()
    memory.close()
    memory.close()
    assert nvml.shut == 1 and memory.read([10]) is None
