"""What is read about the machine, the page cache and threads: known causes, and broken files."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import disturbance, page_cache
from harness.worker import threads


def _tree(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_foreign_cpu_is_what_is_busy_beyond_us(tmp_path: Path) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    before = _tree(
        tmp_path / "a", proc__stat=f"cpu {10 * ticks} 0 0 0 0 0 0 0 0 0\n",
        proc__pressure__cpu="some avg10=0.00 total=1000000\n",
    )  # fmt: skip
    after = _tree(
        tmp_path / "b", proc__stat=f"cpu {1010 * ticks} 0 0 0 0 0 0 {3 * ticks} 0 0\n",
        proc__pressure__cpu="some avg10=0.00 total=3500000\n",
    )  # fmt: skip
    found = disturbance.between(disturbance.read(before), disturbance.read(after))
    assert found["steal_s"] == pytest.approx(3)
    assert found["pressure_s"] == pytest.approx(2.5)
    assert found["foreign_cpu_s"] == pytest.approx(1000, abs=5)


@pytest.mark.parametrize("text", ["", "cpu", "cpu a b c d e f g h", "\x00"])
def test_unreadable_counters_are_none_not_errors(tmp_path: Path, text: str) -> None:
    root = _tree(tmp_path, proc__stat=text, proc__pressure__cpu=text)
    found = disturbance.between(disturbance.read(root), disturbance.read(root))
    assert found == dict.fromkeys(found)


def test_temperature_and_frequency_are_read_where_they_are(tmp_path: Path) -> None:
    root = _tree(
        tmp_path,
        sys__devices__system__cpu__cpu0__cpufreq__scaling_cur_freq="2000000\n",
        sys__devices__system__cpu__cpu1__cpufreq__scaling_cur_freq="3000000\n",
        sys__class__thermal__thermal_zone0__temp="41000\n",
        sys__class__thermal__thermal_zone1__temp="67000\n",
    )
    reading = disturbance.read(root)
    assert (reading.frequency_mhz, reading.temperature_c) == (2500, 67)


def test_a_dropped_file_is_not_resident_and_a_filled_one_is(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("a.bin", "b.bin"):
        (folder / name).write_bytes(os.urandom(3 << 20))
    (folder / "empty").write_bytes(b"")
    page_cache.fill(folder)
    assert page_cache.resident(folder) == 1.0
    page_cache.drop(folder)
    share = page_cache.resident(folder)
    assert share is not None
    assert share < 0.05, "the temporary folder is on a file system that can't drop pages"
    page_cache.fill(folder / "a.bin")
    assert page_cache.resident(folder) == pytest.approx(0.5)


def test_threads_that_worked_are_counted_and_idle_ones_are_not() -> None:
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            hashlib.sha256(bytes(1 << 20)).digest()

    workers = [threading.Thread(target=work) for _ in range(3)]
    idle = threading.Thread(target=stop.wait)
    before = threads.cpu_by_thread()
    for thread in (*workers, idle):
        thread.start()
    deadline = time.monotonic() + 20
    while threads.busy(before, threads.cpu_by_thread()) != 3:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    stop.set()
    for thread in (*workers, idle):
        thread.join()


def test_a_child_that_ends_while_it_is_looked_at_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between finding its folder and reading it: pathlib lets that error through."""

    def gone(self: Path, pattern: str) -> Iterator[Path]:
        raise FileNotFoundError(str(self))
        yield

    monkeypatch.setattr(Path, "glob", gone)
    assert threads.children() == {}
