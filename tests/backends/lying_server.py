"""What the tests of the adapter for servers share: the server of lies, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from backends.api import Request
from backends.openai import OpenAIServer

FAKE = Path(__file__).parent / "openai_fake" / "server.py"
PROMPT = (72, 105, 33)
EXPECTED = [97 + (sum(PROMPT) * 7 + len(PROMPT) + 5 * i) % 26 for i in range(6)]

Load = Callable[..., OpenAIServer]


def ids(backend: OpenAIServer, **told: Any) -> list[int]:
    return [token.id for token in backend.generate(Request(PROMPT, 6, **told))]


def started(program: str) -> list[int]:
    """Our processes, and theirs, that run `program`. Other tests' may be dead, or die just now."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # A zombie is one of those, too.
            if program in process.cmdline():
                found.append(process.pid)
    return found


def requests(backend: OpenAIServer) -> list[dict[str, Any]]:
    """What reached the server."""
    found = backend._try(("/requests",))
    assert isinstance(found, list)
    return found
