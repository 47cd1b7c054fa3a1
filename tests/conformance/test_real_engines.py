"""The built-in adapters conform, on the real model."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from backends.api import Artifact
from backends.conformance_suite import ConformanceSuite
from backends.llamacpp import LlamaCpp
from backends.onnx import OnnxGenAI
from backends.transformers import Transformers
from harness import models

pytestmark = [
    pytest.mark.engine,
    # What engines' own imports warn of is not ours to mend.
    pytest.mark.filterwarnings("default"),
]


class _OnSmolLM2(ConformanceSuite):
    prepared: ClassVar[str]

    @classmethod
    def model(cls) -> Artifact:
        manifest = models.find("smollm2-135m-instruct", Path.cwd())
        return models.prepare(manifest, cls.prepared).artifact


class TestLlamaCpp(_OnSmolLM2):
    backend = LlamaCpp
    prepared = "gguf-q4_1"


class TestOnnxGenAI(_OnSmolLM2):
    backend = OnnxGenAI
    prepared = "onnx-int4"


class TestTransformers(_OnSmolLM2):
    backend = Transformers
    prepared = "hf-f32"
