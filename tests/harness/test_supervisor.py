"""The parent's side of the pipe, against processes that say anything or nothing."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness import supervisor


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run Python source in the worker's place; `say(text)` writes to the private pipe."""

    def go(source: str, limit_s: float = 20.0) -> supervisor.Outcome:
        script = tmp_path / "worker.py"
        script.write_text(
            "import os, sys, json, time\nfd = int(sys.argv[1])\n"
            "def say(text): os.write(fd, text if isinstance(text, bytes) else text.encode())\n"
            + source
        )
        monkeypatch.setattr(supervisor, "_WORKER", script)
        return supervisor.run(
            {"job": "test"},
            interpreter=sys.executable,
            environment=dict(os.environ),
            log=tmp_path / "log",
            limit_s=limit_s,
        )

    return go


def test_messages_arrive_in_order_and_chatter_goes_to_the_log(run: Any) -> None:
    outcome = run(
        "print('chatter', flush=True)\nprint('more', file=sys.stderr, flush=True)\n"
        'say(\'{"kind": "a"}\\n{"kind"\'); time.sleep(0.1); say(\': "end"}\\n\')'
    )
    assert [m["kind"] for m in outcome.messages] == ["a", "end"]
    assert outcome.end == {"kind": "end"}
    assert (outcome.exit_code, outcome.signal, outcome.broken) == (0, None, None)
    assert "chatter" in outcome.log_tail
    assert "more" in outcome.log_tail


@pytest.mark.parametrize(
    "garbage",
    [
        b"not json\n",
        b"[1]\n",
        b"{}\n",
        b"\xff\xfe\n",
        b'{"kind": 5}\n',
        b'{"kind": "a", "x": NaN}\n',
    ],
)
def test_garbage_on_the_pipe_is_named_and_ends_the_worker(run: Any, garbage: bytes) -> None:
    outcome = run(f"say({garbage!r}); time.sleep(60)")
    assert "something that is not a message" in str(outcome.broken)
    assert outcome.wall_s < 30


def test_an_endless_line_is_bounded(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "MAX_LINE", 1 << 20)
    outcome = run("while True: say('x' * 65536)")
    assert "a line of over 1 MiB" in str(outcome.broken)


def test_the_deadline_kills_the_whole_process_group(run: Any, tmp_path: Path) -> None:
    outcome = run(
        "import subprocess\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\ntime.sleep(300)",
        limit_s=4.0,
    )
    assert outcome.timed_out
    assert outcome.signal == "SIGKILL"
    child = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "the child outlived its group"
        time.sleep(0.05)


def test_a_worker_that_will_not_exit_after_its_last_word_is_killed(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_GRACE_S", 0.5)
    outcome = run('say(\'{"kind": "end"}\\n\'); os.close(fd); time.sleep(300)')
    assert outcome.timed_out
    assert outcome.end is not None


def test_a_missing_interpreter_is_an_outcome(tmp_path: Path) -> None:
    outcome = supervisor.run(
        {}, interpreter=str(tmp_path / "nope"), environment={}, log=tmp_path / "log", limit_s=5
    )
    assert "cannot be started" in str(outcome.broken)


def test_memory_of_a_known_size_is_found(run: Any) -> None:
    size = 200 * 2**20
    outcome = run(
        f"block = bytearray({size})\nblock[::4096] = b'x' * len(block[::4096])\n"
        'time.sleep(2.5)\nsay(\'{"kind": "end"}\\n\')'
    )
    assert outcome.memory is not None
    peak = max(point.rss for point in outcome.memory.points)
    assert size < peak < size + 60 * 2**20
    if sys.platform == "linux":
        point = max(outcome.memory.points, key=lambda p: p.rss)
        assert size < (point.anonymous or 0) < size + 60 * 2**20
        assert (point.anonymous or 0) + (point.file_backed or 0) == point.pss


def test_a_mapped_file_of_a_known_size_is_found_as_file_backed(run: Any, tmp_path: Path) -> None:
    size = 150 * 2**20
    mapped = tmp_path / "mapped.bin"
    mapped.write_bytes(bytes(size))
    outcome = run(
        "import mmap\n"
        f"file = open({str(mapped)!r}, 'rb')\n"
        "block = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)\n"
        'total = sum(block[::4096])\ntime.sleep(2.5)\nsay(\'{"kind": "end"}\\n\')'
    )
    assert outcome.memory is not None
    point = max(outcome.memory.points, key=lambda p: p.rss)
    assert point.rss > size
    if sys.platform == "linux":
        assert size <= (point.file_backed or 0) < size + 40 * 2**20
        assert (point.anonymous or 0) < 60 * 2**20
        assert (point.anonymous or 0) + (point.file_backed or 0) == point.pss


def test_the_sampler_stays_within_its_share_of_a_core(run: Any) -> None:
    outcome = run(
        "block = bytearray(300 * 2**20)\nblock[::4096] = b'x' * len(block[::4096])\ntime.sleep(3)"
    )
    assert outcome.memory is not None
    assert outcome.memory.points
    # 0.2 % is the aim; its own accounting decides, so noise of the machine cannot.
    assert outcome.memory.sampler_cpu_s <= 0.02 * outcome.wall_s
