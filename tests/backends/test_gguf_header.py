"""The header of a GGUF file, whole, cut off and made to mislead."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from backends import gguf_header
from backends.api import Artifact, LoadFailed

TENSOR = 64  # bytes: 16 weights in f32


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def made(words: int = 4, **more: bytes | None) -> bytes:
    """A GGUF file with one tensor and the keys that count. `more` gives a key's type and value, by the
    last part of its name, None for no such key; or the bytes that describe the tensors."""
    spelled = b"".join(text(f"token {i}") for i in range(words))
    types = struct.pack(f"<{words}i", *(3 if i < 2 else 1 for i in range(words)))
    tensor = more.pop("tensor", None) or tensor_of(TENSOR // 4)
    values: dict[str, bytes | None] = {
        "general.architecture": struct.pack("<I", 8) + text("toy"),
        "toy.context_length": struct.pack("<II", 4, 512),
        "tokenizer.ggml.eos_token_id": struct.pack("<II", 4, 1),
        "tokenizer.ggml.token_type": listed(5, words) + types,
        "tokenizer.ggml.tokens": listed(8, words) + spelled,
    }
    for name in more:
        full = next((key for key in values if key.endswith(f".{name}")), f"general.{name}")
        values[full] = more[name]
    pairs = [text(key) + value for key, value in values.items() if value is not None]
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(pairs)) + b"".join(pairs) + tensor
    return head + bytes(-len(head) % 32) + bytes(TENSOR)


def listed(kind: int, count: int) -> bytes:
    """How the value of a list begins."""
    return struct.pack("<IIQ", 9, kind, count)


def tensor_of(*shape: int, kind: int = 0) -> bytes:
    return text("weights") + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, 0)


def claiming(tensors: int, keys: int, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys)


BIG = struct.pack("<I", 8) + text("big")
HALF = struct.pack("<If", 6, 0.5)
TRUE = struct.pack("<I?", 7, True)
SEVEN = struct.pack("<II", 4, 7)


def test_it_tells_context_vocabulary_and_special_tokens(tmp_path: Path) -> None:
    path = tmp_path / "toy.gguf"
    path.write_bytes(made())
    assert gguf_header.read(path) == gguf_header.Header(512, 4, (0, 1), 1, frozenset({0}))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"not a model at all", "does not begin with GGUF"),
        (made()[:-1], "cut off"),
        (made()[:40], "no whole GGUF file"),
        (made(tokens=None), "tokenizer.ggml.tokens"),
        (made(architecture=None), "general.architecture"),
        (made(tokens=listed(8, 4_000_000)), "no whole GGUF file"),
        (claiming(2**62, 2**62), "no whole GGUF file"),
    ],
)
def test_what_is_no_whole_file_is_refused_by_name(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(data)
    with pytest.raises(LoadFailed, match=r"bad\.gguf") as failure:
        gguf_header.read(path)
    assert said in failure.value.reason


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (claiming(0, 0, version=1), "version 1"),
        (claiming(0, 100_001), "claims 100,001 keys"),
        (claiming(1_000_001, 0), "1,000,001 tensors"),
        (claiming(0, 1) + text("k" * 65_537) + SEVEN, "a name of more than 64 KiB"),
        (claiming(0, 1) + struct.pack("<Q", 2**63), "9,223,372,036,854,775,808 bytes"),
        (made(tokens=listed(8, 2**60)), "lists of 1,152,921,504,606,846,976 texts"),
        (made(more=listed(10, 2**60)), "9,223,372,036,854,775,808 bytes"),
        (made(more=listed(9, 1)), "a list of the type 9"),
        (made(more=struct.pack("<I", 99)), "unknown type 99"),
        (made(tensor=tensor_of(*[1] * 9)), "a tensor of 9 dimensions"),
        (made(tensor=tensor_of(*[1] * 100_000)), "a tensor of 100,000 dimensions"),
        (made(tensor=tensor_of(2**62, 2**62, kind=99)), "cut off, or a lie"),
        (made(alignment=struct.pack("<II", 4, 0)), "'general.alignment' is '0'"),
        (made(alignment=struct.pack("<Ii", 5, -32)), "'general.alignment' is '-32'"),
        (made(alignment=BIG), "'general.alignment' is 'big'"),
        (made(context_length=BIG), "'toy.context_length' is 'big'"),
        (made(context_length=HALF), "'toy.context_length' is '0.5'"),
        (made(context_length=TRUE), "'toy.context_length' is 'True'"),
        (made(context_length=listed(5, 0)), "'toy.context_length' is '_List"),
        (made(context_length=struct.pack("<Ii", 5, -1)), "'toy.context_length' is '-1'"),
        (made(eos_token_id=BIG), "'tokenizer.ggml.eos_token_id' is 'big'"),
        (made(tokens=SEVEN), "tokenizer.ggml.tokens is no list of texts"),
        (made(tokens=listed(0, 0)), "tokenizer.ggml.tokens is no list of texts"),
        (made(architecture=SEVEN), "general.architecture is no text"),
        (made(token_type=SEVEN), "token_type is no list of whole numbers"),
        (made(token_type=listed(6, 0)), "token_type is no list of whole numbers"),
    ],
)  # fmt: skip
def test_a_lie_is_refused_by_name(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "lie.gguf"
    path.write_bytes(data)
    with pytest.raises(LoadFailed, match=r"lie\.gguf") as failure:
        gguf_header.read(path)
    assert said in failure.value.reason
    assert len(failure.value.reason) < 300


def test_a_long_list_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.gguf"
    long = listed(0, 1 << 20) + b"\3" * (1 << 20)
    path.write_bytes(
        made(more=long, token_type=long, name=struct.pack("<I", 8) + text("x" * 65_537))
    )
    tracemalloc.start()
    try:
        header = gguf_header.read(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert header == gguf_header.Header(512, 4, (0, 1, 2, 3), 1, frozenset({0}))
    assert peak < 1 << 18


def test_what_a_file_does_not_say_is_not_made_up(tmp_path: Path) -> None:
    path = tmp_path / "silent.gguf"
    path.write_bytes(made(context_length=None, eos_token_id=None, token_type=None))
    assert gguf_header.read(path) == gguf_header.Header(None, 4, (), None, frozenset({0}))


def test_the_alignment_is_heeded(tmp_path: Path) -> None:
    path = tmp_path / "aligned.gguf"
    path.write_bytes(made(alignment=struct.pack("<II", 4, 4096)))
    with pytest.raises(LoadFailed, match="of 4160 bytes"):
        gguf_header.read(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.gguf", tmp_path):
        with pytest.raises(LoadFailed, match="no such file"):
            gguf_header.read(path)


def test_a_real_file_is_read_and_its_length_known_to_the_byte(
    tiny_for: Callable[[str], Artifact], tmp_path: Path
) -> None:
    whole = tiny_for("gguf").path
    header = gguf_header.read(whole)
    assert header.context == 2048 and header.end in header.special
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(whole.read_bytes()[:-64])
    with pytest.raises(LoadFailed, match="cut off"):
        gguf_header.read(cut)
