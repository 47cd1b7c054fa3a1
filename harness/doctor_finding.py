"""What `doctor` finds: one thing read on this host, how good it is, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Grade = Literal["ok", "blurs", "can't read"]

LOAD, TTFT, DECODE, MEMORY = NUMBERS = ("load", "TTFT", "decode", "memory")
SPEED = (TTFT, DECODE)
TIMES = (LOAD, TTFT, DECODE)


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `read` is what was seen (or why not), `blurs` the numbers it hurts.

    `advice` is in words; `command` can be pasted into a shell as it is.
    """

    topic: str
    grade: Grade
    read: str
    blurs: tuple[str, ...] = ()
    advice: str | None = None
    command: str | None = None


def unread(topic: str, why: str) -> Finding:
    return Finding(topic, "can't read", why)


def counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
