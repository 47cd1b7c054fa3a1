"""A rendering in a forked child: its answer comes back, and every excess is stopped in time."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from harness.worker import limited

MIB = 1 << 20


def loop() -> dict[str, Any]:
    while True:
        pass


def native_loop() -> dict[str, Any]:
    """As an engine's own code would: with the interpreter's lock held."""
    return {"x": sum(range(10**12))}


def hoard() -> dict[str, Any]:
    return {"x": len(bytearray(1 << 30))}


def crash() -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGTERM)
    return {}


def flood() -> dict[str, Any]:
    return {"x": "a" * (9 * MIB)}


def test_the_answer_comes_back() -> None:
    assert limited.run(lambda: {"text": "é\n", "ids": [1, 2]}) == {"text": "é\n", "ids": [1, 2]}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (loop, "took more than 0.5 s"),
        (native_loop, "took more than 0.5 s"),
        (crash, "ended by SIG"),
        (flood, "wrote more than 8 MiB"),
    ],
)
def test_an_excess_is_stopped(call: Callable[[], dict[str, Any]], message: str) -> None:
    began = time.monotonic()
    with pytest.raises(limited.Stopped, match=message):
        limited.run(call, seconds=0.5 if "took" in message else 5.0)
    assert time.monotonic() - began < 20.0  # it would be for ever


@pytest.mark.skipif(sys.platform != "linux", reason="the size of a process is known on Linux only")
def test_memory_is_stopped() -> None:
    with pytest.raises(limited.Stopped, match="more than 448 MiB"):
        limited.run(hoard)


def test_no_child_is_left() -> None:
    with pytest.raises(limited.Stopped):
        limited.run(loop, seconds=0.2)
    with suppress(ChildProcessError):  # none at all, or none that has ended and waits
        assert os.waitpid(-1, os.WNOHANG) == (0, 0)


def test_an_error_in_the_child_does_not_run_the_parents_cleanup() -> None:
    ran: list[int] = []

    def fail() -> dict[str, Any]:
        raise RuntimeError("no")

    try:
        with pytest.raises(limited.Stopped, match="without an answer"):
            limited.run(fail)
    finally:
        ran.append(threading.get_ident())
    assert len(ran) == 1
