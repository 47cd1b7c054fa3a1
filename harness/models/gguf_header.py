"""Read a GGUF's header, bounded. Runs as a script in a child process; standard library only.

`python gguf_header.py FILE` prints one JSON object. A hostile file may lie in every count and
length, so each is checked against the bytes that are left before anything is read or looped
over, and the process limits its own memory and CPU time. Tensors are never read.
The layout is that of gguf.md in the ggml repository.
"""

from __future__ import annotations

import json
import math
import os
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO

CPU_LIMIT_S = 5
MEMORY_LIMIT_BYTES = 1 << 30
TEXT_LIMIT = 1 << 18
_MAX_KEYS = 100_000
_MAX_TENSORS = 1_000_000
_MAX_NAME = 1 << 16
_NUMBERS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9


class Malformed(ValueError):
    """The file is not a GGUF that could be loaded."""


class Header:
    """A cursor over the file that refuses to go past its end."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size, self.at = file, size, 0

    def take(self, count: int, what: str) -> bytes:
        self.need(count, what)
        self.at += count
        return self.file.read(count)

    def need(self, count: int, what: str) -> None:
        if count > self.size - self.at:
            raise Malformed(f"{what} needs {count:,} bytes, {self.size - self.at:,} are left")

    def skip(self, count: int, what: str) -> None:
        self.need(count, what)
        self.at += count
        self.file.seek(self.at)

    def number(self, code: str, what: str) -> Any:
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code), what))[0]

    def text(self, what: str, keep: int) -> str | None:
        """A string, or None where it is longer than `keep`."""
        length = self.number("Q", what)
        if length > keep:
            self.skip(length, what)
            return None
        return self.take(length, what).decode("utf-8", "replace")

    def value(self, kind: int, key: str) -> Any:
        """A number or a text; of an array, its length."""
        if kind in _NUMBERS:
            return self.number(_NUMBERS[kind], key)
        if kind == _STRING:
            text = self.text(key, TEXT_LIMIT)
            return text if text is not None else "(too long to show)"
        if kind != _ARRAY:
            raise Malformed(f"{key} has the unknown type {kind}")
        kind, count = self.number("I", key), self.number("Q", key)
        if kind in _NUMBERS:
            self.skip(count * struct.calcsize("<" + _NUMBERS[kind]), key)
        elif kind == _STRING:
            self.need(count * 8, key)
            for _ in range(count):
                self.text(key, 0)
        else:
            raise Malformed(f"{key} is an array of the type {kind}")
        return count


def read(path: Path) -> dict[str, Any]:
    """Metadata that matters, and a census of the tensors' types. Raises Malformed."""
    with path.open("rb") as file:
        header = Header(file, path.stat().st_size)
        if header.take(4, "the magic") != b"GGUF":
            raise Malformed("does not begin with GGUF")
        version = header.number("I", "the version")
        if version not in (2, 3):
            raise Malformed(f"has GGUF version {version}, 2 and 3 can be read")
        tensors, keys = header.number("Q", "the tensor count"), header.number("Q", "the key count")
        if keys > _MAX_KEYS or tensors > _MAX_TENSORS:
            raise Malformed(f"claims {keys:,} keys and {tensors:,} tensors")
        metadata = {}
        for _ in range(keys):
            key = header.text("a key", _MAX_NAME)
            if key is None:
                raise Malformed("has a key of more than 64 KiB")
            metadata[key] = header.value(header.number("I", key), key)
        census: dict[int, int] = {}
        parameters = 0
        for _ in range(tensors):
            header.text("a tensor's name", _MAX_NAME)
            dimensions = header.number("I", "a tensor")
            if dimensions > 8:
                raise Malformed(f"has a tensor of {dimensions} dimensions")
            shape = [header.number("Q", "a tensor's shape") for _ in range(dimensions)]
            kind = header.number("I", "a tensor's type")
            offset = header.number("Q", "a tensor's offset")
            census[kind] = census.get(kind, 0) + 1
            parameters += math.prod(shape)
            # The densest type keeps more than one bit per weight.
            if parameters > header.size * 8 or offset >= header.size:
                raise Malformed("is shorter than its tensors: cut off, or a lie")
        return _chosen(metadata) | {
            "version": version,
            "bytes": header.size,
            "tensors": tensors,
            "parameters": parameters,
            "census": {str(kind): count for kind, count in sorted(census.items())},
        }


def _chosen(metadata: dict[str, Any]) -> dict[str, Any]:
    """What `models show` tells, by our names; None where the file doesn't say."""
    architecture = metadata.get("general.architecture")
    return {
        "architecture": architecture,
        "name": metadata.get("general.name"),
        "file_type": metadata.get("general.file_type"),
        "context_length": metadata.get(f"{architecture}.context_length"),
        "tokenizer_model": metadata.get("tokenizer.ggml.model"),
        "tokenizer_pre": metadata.get("tokenizer.ggml.pre"),
        "vocabulary": metadata.get("tokenizer.ggml.tokens"),
        "bos_id": metadata.get("tokenizer.ggml.bos_token_id"),
        "eos_id": metadata.get("tokenizer.ggml.eos_token_id"),
        "chat_template": metadata.get("tokenizer.chat_template"),
    }


def _limit() -> None:
    if os.name != "posix":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT_S, CPU_LIMIT_S))
    if sys.platform != "darwin":  # macOS refuses a limit on the address space
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))


if __name__ == "__main__":
    _limit()
    try:
        sys.stdout.write(json.dumps(read(Path(sys.argv[1])), ensure_ascii=True))
    except (Malformed, OSError, MemoryError) as error:
        sys.exit(str(error) or type(error).__name__)
