"""`bakeoff models …`: fits 80 columns, says what is there, lets errors through."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from harness import models, places
from harness.errors import BadInput, PrepareFailed
from harness.models.cli import app


def bakeoff_models(*arguments: str) -> str:
    result = CliRunner(env={"COLUMNS": "80", "TERM": "dumb"}).invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def file(write: Any, tmp_path: Path) -> str:
    (tmp_path / "base.gguf").write_bytes(b"GGUF\3\0\0\0" + bytes(16))
    manifest = write("a: {format: gguf, precision: f32, source: {path: base.gguf}}")
    return str(manifest.file)


def test_list_shows_the_shipped_model() -> None:
    said = bakeoff_models("list")
    assert "smollm2-135m-instruct" in said
    shipped = models.find("smollm2-135m-instruct", Path("/"))
    assert f"0 of {len(shipped.artifacts)}" in said
    assert max(map(len, said.splitlines())) <= 80


def test_show_prepare_show_verify(file: str) -> None:
    assert "not prepared" in bakeoff_models("show", file)
    assert "ready" in bakeoff_models("prepare", file)
    assert "ready (was there)" in bakeoff_models("prepare", file, "a")
    said = bakeoff_models("show", file)
    assert "0 weights in 0 tensors" in said
    assert "unchanged, sha256" in bakeoff_models("verify", file)


def test_verify_tells_all_and_then_fails(file: str, tmp_path: Path) -> None:
    bakeoff_models("prepare", file)
    (tmp_path / "base.gguf").write_bytes(b"changed")
    with pytest.raises(PrepareFailed, match="has changed"):
        bakeoff_models("verify", file)


def test_bad_names_are_refused_before_any_work(file: str, cache: Path) -> None:
    with pytest.raises(BadInput, match="no artifact 'b'"):
        bakeoff_models("prepare", file, "a", "b")
    with pytest.raises(BadInput, match="unknown model"):
        bakeoff_models("show", "nope")
    assert not cache.exists()


def test_a_models_own_text_reaches_the_terminal_harmless(write: Any, tmp_path: Path) -> None:
    def text(value: str) -> bytes:
        return len(value).to_bytes(8, "little") + value.encode()

    key = text("general.name") + (8).to_bytes(4, "little") + text("\33[2J[red]x[/nope]")
    head = b"GGUF\3\0\0\0" + bytes(8) + (1).to_bytes(8, "little")
    (tmp_path / "base.gguf").write_bytes(head + key)
    manifest = write("a: {format: gguf, precision: f32, source: {path: base.gguf}}")
    models.prepare(manifest, "a")
    said = bakeoff_models("show", str(manifest.file))
    assert "[red]x[/nope]" in said
    assert "\33[2J" not in said


def test_the_command_loads_nothing_heavy_until_it_is_used() -> None:
    heavy = ("pydantic", "huggingface_hub", "gguf", "numpy", "filelock")
    code = f"import sys, harness.models.cli; print([n for n in {heavy!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=places.ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
