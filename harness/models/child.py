"""Run another program for a model: its own process group, a time limit, a chosen environment.

pip, the conversions and the GGUF reader run through here. None of them may outlive us after
Ctrl-C, hang for ever, or see our secrets.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

# fmt: off
_ALLOWED = frozenset({
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH", "VIRTUAL_ENV", "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC",
    "PATHEXT", "APPDATA", "LOCALAPPDATA", "USERPROFILE",
})
_NETWORK = frozenset({
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC",
    "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "XDG_CACHE_HOME", "XDG_DATA_HOME",
})
# fmt: on
_POLL_S = 0.2


class TimedOut(Exception):
    """The program was killed because its time was up."""


def environment(
    scratch: Path, *, network: bool = False, extra: Mapping[str, str] | None = None
) -> dict[str, str]:
    """What a child may see: where programs and libraries are, never keys and tokens.

    With `network`, also the proxy settings, where settings and caches are, and pip's and uv's own (an
    index address may hold a password that they need; what uv publishes or updates itself with stays).
    """
    chosen = {
        key: value
        for key, value in os.environ.items()
        if key in _ALLOWED
        or key.startswith("LC_")
        or (network and (key.upper() in _NETWORK or _is_an_installers(key)))
    }
    temporary = str(scratch)
    chosen.update(TMPDIR=temporary, TEMP=temporary, TMP=temporary, PYTHONIOENCODING="utf-8")
    chosen.update(extra or {})
    return chosen


def _is_an_installers(key: str) -> bool:
    publishes = key.startswith("UV_PUBLISH_") or key.endswith("_TOKEN")
    return key.startswith(("PIP_", "UV_")) and not publishes


def run(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    timeout_s: float,
    stdout: IO[bytes],
    stderr: IO[bytes],
    cwd: Path | None = None,
    on_poll: Callable[[], None] | None = None,
) -> int:
    """Wait for the program and return its exit code (negative: the signal that ended it).

    Raises TimedOut, and OSError where it can't be started. Whatever ends the wait, Ctrl-C
    included, the whole process group is gone afterwards.
    """
    deadline = time.monotonic() + timeout_s
    process = subprocess.Popen(
        command,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        cwd=cwd,
        start_new_session=True,
    )
    try:
        while True:
            left = deadline - time.monotonic()
            try:
                return process.wait(min(_POLL_S, max(left, 0)))
            except subprocess.TimeoutExpired:
                if left <= 0:
                    raise TimedOut(f"took longer than {timeout_s:g} s") from None
            if on_poll is not None:
                on_poll()
    finally:
        if process.poll() is None:
            _kill_group(process)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def describe_exit(code: int) -> str:
    """'exit code 3' or 'killed by SIGSEGV'."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def tail(path: Path, lines: int = 5, limit: int = 20_000) -> str:
    """The last non-empty lines of a log, without control characters."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - limit))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    kept = [line.rstrip() for line in text.splitlines() if line.strip()][-lines:]
    return "\n".join("".join(c for c in line if c.isprintable() or c == "\t") for line in kept)
