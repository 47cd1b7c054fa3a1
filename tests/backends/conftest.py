"""Where the engine tests find the real model's artifacts: in bakeoff's own model cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from backends.api import Artifact
from harness import models

NAMES = {"gguf": "gguf-q4_1", "onnx": "onnx-f32", "hf": "hf-f32"}


@pytest.fixture(scope="session")
def tiny_for() -> Callable[[str], Artifact]:
    """The same of a tiny model with random weights, for tests that load and refuse."""
    manifest = models.find("tiny-chatml", Path.cwd())

    def find(format: str) -> Artifact:
        return models.prepare(manifest, format).artifact

    return find


@pytest.fixture(scope="session")
def artifact_for() -> Callable[[str], Artifact]:
    """From a format to an artifact of SmolLM2-135M-Instruct in it, prepared if need be."""
    manifest = models.find("smollm2-135m-instruct", Path.cwd())

    def find(format: str) -> Artifact:
        return models.prepare(manifest, NAMES[format]).artifact

    return find
