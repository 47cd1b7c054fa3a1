"""A server that bakeoff starts: a child of the worker, so its memory and CPU are the worker's.

It stays in the worker's process group, which the harness kills at the end of every trial.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from backends.api import GenerationFailed, Unsupported

_KEPT = 2**18
_TAIL = 4_000
_LAST_WORDS = 600
_GRACE_S = 5.0
_POLL_S = 0.01
_LEAST_S = 0.2
"""A question with less time than this would be answered by its own deadline only."""


def words(template: str, values: Mapping[str, str]) -> list[str]:
    """The command's words; a value goes into a word as it is, whatever characters it holds."""
    try:
        split = shlex.split(template)
    except ValueError as error:
        raise Unsupported(f"the option `command` cannot be read: {error}") from None
    if not split:
        raise Unsupported("the option `command` is empty")
    if "{model}" not in template:
        raise Unsupported("the option `command` has no {model}: it would serve another one")
    for name, value in {**values, "python": sys.executable, "here": str(_here())}.items():
        split = [word.replace("{" + name + "}", value) for word in split]
    return split


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """The started process. What it prints goes into a file of ours; `stop` shows its end."""

    def __init__(
        self, command: list[str], without: str | None, clean: Callable[[str], str]
    ) -> None:
        self._clean = clean
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        environment = {k: v for k, v in os.environ.items() if k != without}
        try:
            self._process = subprocess.Popen(
                command,
                # The worker's own stdin tells it that bakeoff is alive: nobody else may read it.
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                env=environment,
            )
        except OSError as error:
            self._log.close()
            raise GenerationFailed(
                f"the server cannot be started: {command[0]}: {error.strerror}"
            ) from None
        # Outside a worker, too: an adapter that nobody closed leaves no server behind.
        weakref.finalize(self, _kill, self._process)

    def wait_for(self, trouble: Callable[[float], str], limit_s: float) -> None:
        """Until there is no `trouble` (told the time that is left). Raises if it ends, or stays so."""
        until, said = time.monotonic() + limit_s, ""
        while (left := until - time.monotonic()) > 0:
            if (end := self.ended()) is not None:
                raise GenerationFailed(f"the server {end} before it was ready{self._last_words()}")
            if not (said := trouble(max(left, _LEAST_S))):
                return
            time.sleep(_POLL_S)
        raise GenerationFailed(
            f"the server was not ready after {limit_s:g} s: {said}{self._last_words()}"
        )

    def ended(self, grace_s: float = 0.0) -> str | None:
        """How the process ended, None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=grace_s)
        code = self._process.poll()
        if code is None:
            return None
        if code < 0:
            return f"was ended by {_signal(-code)}"
        return f"exited with code {code}"

    def obituary(self) -> str:
        """For an error's text: that the server has ended, if it has; its connection breaks first."""
        end = self.ended(grace_s=0.3)
        return "" if end is None else f"; the server {end}{self._last_words()}"

    def tail(self, size: int = _TAIL) -> str:
        # Cleaned before it is cut: half a key is still a secret.
        # By pread: the file's position is the server's, too.
        file = self._log.fileno()
        text = os.pread(file, _KEPT, max(0, os.fstat(file).st_size - _KEPT))
        return self._clean(text.decode("utf-8", "replace"))[-size:]

    def stop(self) -> None:
        """Ask, then kill. Idempotent."""
        if self._log.closed:
            return
        if self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=_GRACE_S)
        _kill(self._process)
        sys.stdout.write(self.tail())
        sys.stdout.flush()
        self._log.close()

    def _last_words(self) -> str:
        said = " ".join(self.tail(_LAST_WORDS).split())
        return f"; its log ends: {said}" if said else "; its log is empty"


def memory(pid: int) -> int | None:
    """Resident bytes of a process that is none of ours; None where the system does not tell."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()


def _here() -> Path:
    return Path(__file__).resolve().parent


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
