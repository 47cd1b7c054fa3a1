"""Run one job in one worker process and say what became of it, whatever that is.

The parent sleeps in `select` until the worker says something, a memory reading is due, or the
deadline is over. At the end the whole process group is killed, so that nothing is left behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import Any

from harness.memory import Sampler
from harness.places import ROOT
from results.records import Memory

MAX_LINE = 64 * 1024 * 1024
_WORKER = ROOT / "harness" / "worker" / "__main__.py"
_GRACE_S = 10.0
_LOG_TAIL = 4_000

Message = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What one worker said and how it ended. `end` is its last word, None if it never came.

    `broken` says why the parent stopped listening, if it did. `exit_code` is None after a signal.
    """

    spawned_ns: int
    wall_s: float
    messages: tuple[Message, ...]
    exit_code: int | None
    signal: str | None
    timed_out: bool
    broken: str | None
    memory: Memory | None
    log_tail: str
    end: Message | None = field(default=None)

    def of(self, kind: str) -> list[Message]:
        return [m for m in self.messages if m["kind"] == kind]

    def first(self, kind: str) -> Message | None:
        return next(iter(self.of(kind)), None)


def run(
    job: Mapping[str, Any],
    *,
    interpreter: str,
    environment: Mapping[str, str],
    log: Path,
    limit_s: float,
    watch_memory: bool = True,
    on_message: Callable[[Message], None] = lambda message: None,
) -> Outcome:
    """Run a job to its end, the time limit, or an interrupt. Raises only what an interrupt raises."""
    receive, send = os.pipe()
    with log.open("ab") as log_file:
        spawned_ns, began = perf_counter_ns(), perf_counter()
        try:
            process = subprocess.Popen(
                [interpreter, str(_WORKER), str(send)],
                stdin=subprocess.PIPE,
                stdout=log_file,
                stderr=log_file,
                env=dict(environment),
                pass_fds=(send,),
                start_new_session=True,
            )
        except OSError as error:
            os.close(receive)
            os.close(send)
            broken = f"the interpreter {interpreter} cannot be started: {error.strerror}"
            return Outcome(spawned_ns, 0.0, (), None, None, False, broken, None, "")
    os.close(send)
    conversation = _Conversation(receive, on_message)
    sampler = Sampler(process.pid) if watch_memory else None
    timed_out = False
    try:
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.flush()
        deadline = began + limit_s
        while conversation.open and process.poll() is None:
            left = deadline - perf_counter()
            if left <= 0:
                timed_out = True
                break
            if conversation.broken:
                break
            conversation.listen(min(left, sampler.due_in() if sampler else 1.0))
            if sampler and sampler.due_in() == 0:
                sampler.sample()
        if not timed_out and not conversation.broken:
            conversation.drain()
            # The engine's own shutdown; a worker that has said its last word may not hang on.
            try:
                process.wait(timeout=max(0.1, min(_GRACE_S, deadline - perf_counter())))
            except subprocess.TimeoutExpired:
                timed_out = True
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        returncode = process.wait()
        os.close(receive)
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
    messages = tuple(conversation.messages)
    return Outcome(
        spawned_ns=spawned_ns,
        wall_s=perf_counter() - began,
        messages=messages,
        exit_code=returncode if returncode >= 0 else None,
        signal=_signal_name(-returncode) if returncode < 0 else None,
        timed_out=timed_out,
        broken=conversation.broken,
        memory=sampler.result() if sampler else None,
        log_tail=_tail(log),
        end=next((m for m in messages if m["kind"] == "end"), None),
    )


class _Conversation:
    """What the worker says: JSON lines, bounded, from a process that may say anything."""

    def __init__(self, descriptor: int, on_message: Callable[[Message], None]) -> None:
        self._descriptor = descriptor
        self._on_message = on_message
        self._rest = bytearray()
        self.messages: list[Message] = []
        self.open = True
        self.broken: str | None = None

    def listen(self, timeout_s: float) -> bool:
        """Wait for words and take them; False when none came in time or there are no more."""
        ready, _, _ = select.select([self._descriptor], [], [], timeout_s)
        if not ready:
            return False
        data = os.read(self._descriptor, 1 << 16)
        if not data:
            self.open = False
            return False
        self._rest += data
        if b"\n" in data:
            *lines, rest = self._rest.split(b"\n")
            self._rest = bytearray(rest)
            for line in lines:
                self._take(bytes(line))
        if len(self._rest) > MAX_LINE:
            self.broken = f"the worker sent a line of over {MAX_LINE // 2**20} MiB"
        return True

    def drain(self) -> None:
        while self.open and not self.broken and self.listen(0):
            pass

    def _take(self, line: bytes) -> None:
        if self.broken:
            return
        try:
            message = json.loads(line, parse_constant=_refuse)
            if not isinstance(message["kind"], str):
                raise TypeError
        except (ValueError, TypeError, KeyError):
            self.broken = f"the worker sent something that is not a message: {line[:80]!r}"
            return
        self.messages.append(message)
        self._on_message(message)


def _refuse(constant: str) -> None:
    """NaN and infinity are no JSON, and could not be kept."""
    raise ValueError(constant)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - _LOG_TAIL))
        return file.read().decode("utf-8", errors="replace")
