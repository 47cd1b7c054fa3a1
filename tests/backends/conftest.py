"""Where the engine tests find the real model's artifacts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from backends.api import Artifact

FOLDER = "BAKEOFF_TEST_ARTIFACTS"
NAMES = {"gguf": "gguf-q4_1", "onnx": "onnx-f32", "hf": "hf-f32"}


@pytest.fixture(scope="session")
def artifact_for() -> Callable[[str], Artifact]:
    """From a format to an artifact of SmolLM2-135M-Instruct in it."""

    def find(format: str) -> Artifact:
        folder = os.environ.get(FOLDER)
        if not folder:
            pytest.skip(f"{FOLDER} names no folder of artifacts")
        name = NAMES[format]
        path = Path(folder) / (f"{name}.gguf" if format == "gguf" else name)
        assert path.exists(), f"{path} is missing in {FOLDER}"
        return Artifact(model="smollm2-135m-instruct", name=name, format=format, path=path)

    return find
