"""GGUF headers: the real one is read, hostile ones end quickly with a clear error."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from harness import models
from harness.errors import BadInput
from harness.models import gguf_facts, gguf_header

U64_MAX = 2**64 - 1


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def key(name: str, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def array(kind: int, count: int, body: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, count) + body


def tensor(name: str, shape: tuple[int, ...], kind: int, offset: int = 0) -> bytes:
    shapes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return text(name) + shapes + struct.pack("<IQ", kind, offset)


def gguf(
    keys: list[bytes],
    tensors: list[bytes],
    *,
    n_keys: int | None = None,
    n_tensors: int | None = None,
    data: int = 0,
    version: int = 3,
) -> bytes:
    counts = (
        len(tensors) if n_tensors is None else n_tensors,
        len(keys) if n_keys is None else n_keys,
    )
    head = b"GGUF" + struct.pack("<IQQ", version, *counts)
    return head + b"".join(keys) + b"".join(tensors) + bytes(data)


KEYS = [
    key("general.architecture", 8, text("llama")),
    key("general.file_type", 4, struct.pack("<I", 7)),
    key("llama.context_length", 4, struct.pack("<I", 128)),
    key("tokenizer.ggml.model", 8, text("gpt2")),
    key("tokenizer.ggml.tokens", 9, array(8, 3, text("a") + text("b") + text("é"))),
    key("tokenizer.ggml.token_type", 9, array(5, 2, bytes(8))),
    key("tokenizer.ggml.eos_token_id", 4, struct.pack("<I", 2)),
    key("tokenizer.chat_template", 8, text("{{ messages }}")),
]


def test_a_small_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf(KEYS, [tensor("a", (4, 8), 8), tensor("b", (4,), 0, 40)], data=64))
    facts = gguf_facts.read(path)
    assert facts.architecture == "llama"
    assert facts.context_length == 128
    assert facts.quantisation == "q8_0"
    assert facts.census == {"f32": 1, "q8_0": 1}
    assert (facts.parameters, facts.tensors, facts.vocabulary) == (36, 2, 3)
    assert (facts.bos_id, facts.eos_id) == (None, 2)
    assert facts.chat_template == "{{ messages }}"
    assert facts.bytes == path.stat().st_size


def test_unknown_types_and_missing_keys_are_told_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    keys = [
        key("general.file_type", 4, struct.pack("<I", 999)),
        key("general.architecture", 7, b"\1"),
    ]
    path.write_bytes(gguf(keys, [tensor("a", (4,), 77)], data=64))
    facts = gguf_facts.read(path)
    assert facts.architecture is None
    assert facts.quantisation == "unknown type 999"
    assert facts.census == {"unknown type 77": 1}


def test_a_huge_chat_template_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    template = "x" * (gguf_header.TEXT_LIMIT + 1)
    path.write_bytes(gguf([key("tokenizer.chat_template", 8, text(template))], []))
    assert gguf_facts.read(path).chat_template == "(too long to show)"


HOSTILE = {
    "empty": (b"", "the magic needs 4 bytes"),
    "not a gguf": (b"PK\3\4" + bytes(60), "does not begin with GGUF"),
    "43 bytes, empty keys": (gguf([bytes(19)], [], n_keys=90_000), "a key needs 8 bytes"),
    "43 bytes, endless array": (gguf([key("abcdef", 9, b"")[:19]], []), "abcdef needs 4 bytes"),
    "endless array of texts": (gguf([key("a", 9, array(8, U64_MAX))], []), "a needs 147,573,"),
    "version 1": (gguf([], [], version=1), "GGUF version 1"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "GGUF version 50331648"),
    "countless keys": (gguf([], [], n_keys=U64_MAX), "claims 18,446,744,073,709,551,615 keys"),
    "countless tensors": (gguf([], [], n_tensors=10**6), "a tensor's name needs 8 bytes"),
    "endless string": (gguf([key("a", 8, struct.pack("<Q", U64_MAX))], []), "a needs 18,446,"),
    "endless key": (gguf([struct.pack("<Q", 1 << 40)], []), "a key needs"),
    "endless number array": (gguf([key("a", 9, array(10, 1 << 61))], []), "a needs 18,446,744,073,709,551,616 bytes"),
    "array of empty strings": (gguf([key("a", 9, array(8, 1 << 50))], []), "a needs"),
    "array in array": (gguf([key("a", 9, array(9, 1, array(9, 1)))], []), "is an array of the type 9"),
    "unknown type": (gguf([key("a", 99, b"")], []), "has the unknown type 99"),
    "many dimensions": (gguf([], [tensor("a", (1,) * 9, 0)], data=9), "9 dimensions"),
    "huge tensor": (gguf([], [tensor("a", (1 << 62, 1 << 62), 0)], data=99), "cut off, or a lie"),
    "offset beyond the end": (gguf([], [tensor("a", (1,), 0, 1 << 40)], data=9), "cut off, or a lie"),
    "terminal escape in a key": (gguf([key("\33[2J", 99, b"")], []), "is not a usable GGUF"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_for_what_it_is_before_the_time_limit(
    tmp_path: Path, name: str
) -> None:
    content, message = HOSTILE[name]
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    with pytest.raises(BadInput) as caught:
        gguf_facts.read(path)
    assert str(caught.value).startswith(f"{path}: is not a usable GGUF: ")
    assert message in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert "\33" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a pipe")
def test_a_file_that_never_answers_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    os.mkfifo(path)
    with pytest.raises(BadInput, match=r"reading its header took longer than 0\.5 s"):
        gguf_facts.read(path, timeout_s=0.5)


@pytest.mark.parametrize("path", ["missing.gguf", "."])
def test_no_file_is_an_error_too(tmp_path: Path, path: str) -> None:
    with pytest.raises(BadInput, match="is not a usable GGUF"):
        gguf_facts.read(tmp_path / path)


@pytest.mark.engine
def test_the_real_model_is_read_and_so_is_its_stump(tmp_path: Path) -> None:
    prepared = models.prepare(models.find("smollm2-135m-instruct", tmp_path), "gguf-q4_1")
    facts = gguf_facts.read(prepared.artifact.path)
    assert (facts.architecture, facts.context_length, facts.quantisation) == ("llama", 8192, "q4_1")
    assert facts.parameters == 134_515_008
    assert facts.census == {"f32": 61, "q4_1": 210, "q8_0": 1}
    assert (facts.tokenizer_model, facts.tokenizer_pre, facts.vocabulary) == (
        "gpt2",
        "smollm",
        49152,
    )
    assert "<|im_start|>" in (facts.chat_template or "")
    stump = tmp_path / "stump.gguf"
    stump.write_bytes(prepared.artifact.path.read_bytes()[:4_000_000])
    with pytest.raises(BadInput, match="cut off, or a lie"):
        gguf_facts.read(stump)
