"""A converter that comes with an engine runs in that engine's environment."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import environments, models
from harness.errors import PrepareFailed
from harness.models import conversions

CHAIN = """
base: {format: gguf, precision: q8_0, source: {path: base.gguf}}
twice: {format: gguf, precision: f32, from: base, with: double}
"""


def an_environment(name: str, doubler: str) -> None:
    """An engine's environment, finished, whose interpreter has the tool in this version."""
    python = environments.interpreter(environments.root() / name)
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nDOUBLER={doubler} exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (python.parent.parent / "engine.json").write_text("{}")


@pytest.fixture
def engines_own(double: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The conversion `double`, its tool being part of the engine `doubling`."""
    monkeypatch.setenv("BAKEOFF_DATA", str(tmp_path / "data"))
    fake = replace(double, environment="doubling")
    monkeypatch.setitem(conversions.CONVERSIONS, "double", fake.conversion)
    return fake


def test_a_tool_that_comes_with_an_engine_is_used_where_the_engine_is(
    write: Any, engines_own: Any, base: Path
) -> None:
    engines_own.versions(doubler="missing")
    an_environment("doubling", "2.0")
    prepared = models.prepare(write(CHAIN), "twice")
    assert prepared.artifact.path.read_bytes() == b"weights" * 2
    assert prepared.facts.provenance["recipe"]["versions"] == {"doubler": "2.0"}
    assert [run["env"]["DOUBLER"] for run in engines_own.runs] == ["2.0"]
    assert models.is_prepared(write(CHAIN), "twice")


def test_bakeoffs_own_interpreter_comes_first(write: Any, engines_own: Any, base: Path) -> None:
    an_environment("doubling", "2.0")
    prepared = models.prepare(write(CHAIN), "twice")
    assert prepared.facts.provenance["recipe"]["versions"] == {"doubler": "1.0"}


def test_a_tool_that_neither_has_names_the_engine_to_install(
    write: Any, engines_own: Any, base: Path
) -> None:
    engines_own.versions(doubler="missing")
    for _ in range(2):
        with pytest.raises(PrepareFailed, match="double needs doubler") as caught:
            models.prepare(write(CHAIN), "twice")
        assert caught.value.remedy == "bakeoff engines install doubling"
        if not environments.root().exists():
            an_environment("doubling", "missing")
