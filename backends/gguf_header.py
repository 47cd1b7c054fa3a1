"""The header of a GGUF file, by the standard library: what some engines don't tell of a model.

A file that is cut off is found here, too: an engine that maps it may crash over it. Every count and
length may be a lie: each is checked against the bytes that are left, and nothing is kept but what is
asked for. `harness/models/gguf_header.py` has the same limits; it must run alone as a script.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, NamedTuple

from backends.api import LoadFailed

_SCALARS = dict(enumerate(("B", "b", "H", "h", "I", "i", "f", "?"))) | {10: "Q", 11: "q", 12: "d"}
_WHOLE = frozenset({0, 1, 2, 3, 4, 5, 10, 11})
_STRING, _ARRAY = 8, 9
_LENGTH = struct.Struct("<Q")
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 30: (1, 2),
}  # fmt: skip
"""Weights and bytes of a block, by type of tensor: F32, F16, Q4_0 … Q8_0, Q2_K … Q6_K, BF16."""
_CONTROL = 3
_MAX_KEYS, _MAX_TENSORS = 100_000, 1_000_000
_MAX_TEXTS = 4_000_000
"""Of all lists of texts together: the largest vocabularies have a quarter of a million, with twice as
many merges."""
_MAX_NAME = 1 << 16
_MAX_DIMENSIONS = 8
_ARCHITECTURE, _ALIGNMENT = "general.architecture", "general.alignment"
_TOKENS, _KINDS = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
_END, _CONTEXT = "tokenizer.ggml.eos_token_id", ".context_length"
_WANTED = frozenset({_ARCHITECTURE, _ALIGNMENT, _TOKENS, _KINDS, _END})


@dataclass(frozen=True)
class Header:
    """`context` is in tokens, what the model was trained for; `special` are the ids of its control
    tokens, `end` the one that ends a sequence. None where the file doesn't say. `types` are those of
    its tensors, by GGUF's numbers."""

    context: int | None
    vocabulary: int
    special: tuple[int, ...]
    end: int | None
    types: frozenset[int]


class _List(NamedTuple):
    """Where a list lies; it is not read."""

    kind: int
    length: int
    at: int


def read(path: Path) -> Header:
    """Raises LoadFailed for what is no whole GGUF file with a vocabulary."""
    if not path.is_file():
        raise LoadFailed(path, "no such file")
    try:
        with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            return _header(data)
    except (OSError, struct.error, ValueError, KeyError, TypeError, OverflowError) as error:
        raise LoadFailed(path, f"no whole GGUF file: {error}") from error


def _header(data: mmap) -> Header:
    if data[:4] != b"GGUF":
        raise ValueError("it does not begin with GGUF")
    reader = _Reader(data)
    version, tensors, keys = reader.take("IQQ")
    if version not in (2, 3):
        raise ValueError(f"version {version}, 2 and 3 can be read")
    if keys > _MAX_KEYS or tensors > _MAX_TENSORS:
        raise ValueError(f"it claims {keys:,} keys and {tensors:,} tensors")
    told = {}
    for _ in range(keys):
        key = reader.name()
        value = reader.value(*reader.take("I"))
        if key in _WANTED or key.endswith(_CONTEXT):
            told[key] = value
    types = reader.tensors(tensors, _number(told, _ALIGNMENT, 1) or 32)
    architecture, tokens = told[_ARCHITECTURE], told[_TOKENS]
    if not isinstance(architecture, str):
        raise ValueError(f"{_ARCHITECTURE} is no text")
    if not isinstance(tokens, _List) or tokens.kind != _STRING:
        raise ValueError(f"{_TOKENS} is no list of texts")
    kinds = reader.numbers(told[_KINDS], tokens.length) if _KINDS in told else ()
    return Header(
        _number(told, architecture + _CONTEXT, 0),
        tokens.length,
        tuple(token for token, kind in enumerate(kinds) if kind == _CONTROL),
        _number(told, _END, 0),
        types,
    )


def _number(told: Mapping[str, Any], key: str, least: int) -> int | None:
    value = told.get(key)
    if key in told and (type(value) is not int or value < least):
        raise ValueError(f"{key[-80:]!r} is {str(value)[:80]!r}: expected a number from {least} on")
    return value


class _Reader:
    """Takes one thing after the other, from behind the magic bytes on."""

    def __init__(self, data: mmap) -> None:
        self.data = data
        self.at = 4
        self.texts = 0

    def take(self, form: str) -> tuple[Any, ...]:
        found = struct.unpack_from(f"<{form}", self.data, self.at)
        self.at += struct.calcsize(f"<{form}")
        return found

    def skip(self, count: int) -> None:
        if count > len(self.data) - self.at:
            raise ValueError(
                f"{count:,} bytes are announced, {len(self.data) - self.at:,} are left"
            )
        self.at += count

    def name(self) -> str:
        text = self.text()
        if text is None:
            raise ValueError("a name of more than 64 KiB")
        return text

    def text(self) -> str | None:
        """None for one that is longer than a name: nothing of the kind is asked for."""
        (length,) = self.take("Q")
        self.skip(length)
        if length > _MAX_NAME:
            return None
        return self.data[self.at - length : self.at].decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        """A number or a text; of a list only where it lies."""
        if kind == _STRING:
            return self.text()
        if kind in _SCALARS:
            return self.take(_SCALARS[kind])[0]
        if kind != _ARRAY:
            raise ValueError(f"a value of the unknown type {kind}")
        of, count = self.take("IQ")
        begin = self.at
        if of in _SCALARS:
            self.skip(count * struct.calcsize(f"<{_SCALARS[of]}"))
        elif of == _STRING:
            self._pass_texts(count)
        else:
            raise ValueError(f"a list of the type {of}")
        return _List(of, count, begin)

    def _pass_texts(self, count: int) -> None:
        self.texts += count
        if self.texts > _MAX_TEXTS:
            raise ValueError(f"lists of {self.texts:,} texts")
        for _ in range(count):
            (size,) = _LENGTH.unpack_from(self.data, self.at)
            self.at += 8
            self.skip(size)

    def numbers(self, told: object, most: int) -> tuple[int, ...]:
        """The first of a list that was passed."""
        if not isinstance(told, _List) or told.kind not in _WHOLE:
            raise ValueError(f"{_KINDS} is no list of whole numbers")
        form = f"<{min(told.length, most)}{_SCALARS[told.kind]}"
        return struct.unpack_from(form, self.data, told.at)

    def tensors(self, count: int, step: int) -> frozenset[int]:
        """Their types. Raises ValueError unless the file is as long as they need."""
        size = len(self.data)
        types, last, weights = set(), 0, 0
        for _ in range(count):
            kind, end, more = self._tensor()
            types.add(kind)
            last, weights = max(last, end), weights + more
            # The densest type keeps more than one bit per weight.
            if weights > 8 * size:
                raise ValueError(f"it is cut off, or a lie: {size} bytes for {weights} weights")
        needed = -(-self.at // step) * step + last
        if size < needed:
            raise ValueError(f"it is cut off: {size} of {needed} bytes")
        return frozenset(types)

    def _tensor(self) -> tuple[int, int, int]:
        """Its type, where it ends in bytes from the beginning of the data, and its weights."""
        self.name()
        (dimensions,) = self.take("I")
        if dimensions > _MAX_DIMENSIONS:
            raise ValueError(f"a tensor of {dimensions:,} dimensions")
        total = math.prod(self.take(f"{dimensions}Q"))
        kind, offset = self.take("IQ")
        weights, size = _BLOCKS.get(kind, (1, 0))
        return kind, offset + total // weights * size, total
