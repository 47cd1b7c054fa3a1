"""What an ExecuTorch program says about itself, and whether its file is whole.

A program (.pte) begins with a flatbuffer, which may be followed by segments that hold the weights.
The engine maps the file and checks the flatbuffer only: it dies of a missing segment.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = "model.pte"
_FLATBUFFER, _EXTENDED = b"ET12", b"eh00"
_HEAD = 40
"""Bytes: 4 of the flatbuffer's root offset, 4 of its identifier, then the extended header, little
endian: magic, its length, the flatbuffer's length, where segments begin, how long they are."""


@dataclass(frozen=True)
class Facts:
    """The program's constants: sizes in tokens, and the ids that end a sequence."""

    context: int
    piece: int
    vocabulary: int
    ends: frozenset[int]


def incomplete(path: Path) -> str | None:
    """Why the file can't be a whole program; None where nothing speaks against it."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        return str(error.strerror)
    if head[4:8] != _FLATBUFFER:
        return "no ExecuTorch program"
    if len(head) < _HEAD or head[8:12] != _EXTENDED:
        return "a program without an extended header: it was not made by a current exporter"
    length, program, begin, segments = struct.unpack_from("<IQQQ", head, 12)
    needed = max(program, begin + (segments if length >= _HEAD - 8 else 0))
    return f"it is cut off: {size} of {needed} bytes" if size < needed else None


def facts(program: Any) -> Facts:
    """Raises KeyError for a program that was not exported as a language model with a KV cache."""
    if not _constant(program, "use_kv_cache"):
        raise KeyError("use_kv_cache")
    ends = program.load_method("get_eos_ids").execute([])
    return Facts(
        context=int(_constant(program, "get_max_context_len")),
        # The export bounds a call's tokens by one less than get_max_seq_len.
        piece=int(_constant(program, "get_max_seq_len")) - 1,
        vocabulary=int(_constant(program, "get_vocab_size")),
        ends=frozenset(int(i) for i in ends),
    )


def _constant(program: Any, name: str) -> Any:
    return program.load_method(name).execute([])[0]
