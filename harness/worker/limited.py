"""One call in a forked child of the worker, with limits: what an untrusted template may cost.

A thread or a signal could not stop an engine's native code, and a limit on the worker itself would
take the engine with it. The child has the loaded engine from the fork and does one call only.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.worker.channel import end_with_parent

SECONDS = 4.0
MEMORY = 448 << 20
REPLY = 8 << 20


class Stopped(Exception):
    """The call was stopped by a limit, or its process died. The message says which."""


def run(
    call: Callable[[], dict[str, Any]],
    *,
    seconds: float = SECONDS,
    memory: int = MEMORY,
    reply: int = REPLY,
) -> dict[str, Any]:
    """The call's answer, which goes through JSON. Raises Stopped.

    `memory` is what the call may use beyond what the worker has, in bytes of address space (where
    the system can say what it has: Linux), `reply` the longest answer in bytes.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _child(call, writer, memory)
    os.close(writer)
    try:
        answer = _read(reader, time.monotonic() + seconds, seconds, reply)
    finally:
        os.close(reader)
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    if answer:
        return _parsed(answer)
    if os.WIFSIGNALED(status):
        raise Stopped(f"its process was ended by {signal.Signals(os.WTERMSIG(status)).name}")
    raise Stopped("its process ended without an answer; see the trial's log")


def _child(call: Callable[[], dict[str, Any]], writer: int, memory: int) -> None:
    """Never returns: neither the worker's `finally` blocks nor its exit handlers may run twice."""
    try:
        end_with_parent()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if sys.platform == "linux":
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            limit = pages * os.sysconf("SC_PAGE_SIZE") + memory
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        try:
            data = json.dumps(call()).encode()
        except MemoryError:
            data = json.dumps({"stopped": f"it needed more than {memory >> 20} MiB"}).encode()
        while data:
            data = data[os.write(writer, data) :]
    except BaseException as error:
        os.write(2, f"rendering: {type(error).__name__}: {str(error)[:500]}\n".encode())
    finally:
        os._exit(0)


def _read(reader: int, deadline: float, seconds: float, limit: int) -> bytes:
    """All that the child writes, until it closes its end."""
    found = b""
    while True:
        ready, _, _ = select.select([reader], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise Stopped(f"it took more than {seconds:g} s")
        chunk = os.read(reader, 1 << 16)
        if not chunk:
            return found
        found += chunk
        if len(found) > limit:
            raise Stopped(f"it wrote more than {limit >> 20} MiB")


def _parsed(answer: bytes) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(answer)
    if "stopped" in data:
        raise Stopped(str(data["stopped"]))
    return data
