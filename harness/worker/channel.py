"""The worker's private pipe to the parent, and what ties its life to the parent's."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
from typing import Any


class Channel:
    """JSON lines to the parent. Engines write to stdout and stderr; those go to the log."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._file = os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace")

    def send(self, kind: str, **fields: Any) -> None:
        self._file.write(json.dumps({"kind": kind, **fields}, separators=(",", ":")) + "\n")
        self._file.flush()


def end_with_parent() -> None:
    """Ask the kernel to kill this process when its parent is gone, where it can (Linux)."""
    if sys.platform == "linux":
        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def die_with_parent() -> None:
    """No orphans: when the parent is gone, stdin ends, and this whole process group is killed.

    The kernel is asked as well, since an engine that hangs with the interpreter's lock held would
    keep the watching thread from running.
    """
    end_with_parent()

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
