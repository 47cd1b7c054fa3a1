"""The real engines' samplers, each against its own logits: a few settings, on the real model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends.api import Artifact, Draws, LoadOptions
from backends.llamacpp import LlamaCpp
from backends.onnx import OnnxGenAI
from backends.transformers import Transformers
from harness import models
from harness.worker.sampling import sampling
from results.records import Case, Record
from results.sampling import Arm, tabulate
from results.sampling_settings import DEFAULT, active

pytestmark = [
    pytest.mark.engine,
    # What engines' own imports warn of is not ours to mend.
    pytest.mark.filterwarnings("default"),
]
ARTIFACTS = {"llamacpp": "gguf-q4_1", "onnx": "onnx-f32", "transformers": "hf-f32"}
ADAPTERS: list[Callable[[], Any]] = [LlamaCpp, OnnxGenAI, Transformers]
PROMPTS = Path("scenarios/texts/sampling.jsonl")

#: Cheap for every engine: no whole requests, and a sort of few tokens.
CHEAP = tuple(told for told in DEFAULT if told["repetition_penalty"] == 1.0)[:5]


class Kept(list[dict[str, Any]]):
    def send(self, kind: str, **fields: Any) -> None:
        self.append(json.loads(json.dumps(fields["data"])))


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.name)
def test_a_real_sampler_does_what_it_is_told(adapter: Callable[[], Any]) -> None:
    backend = adapter()
    assert isinstance(backend, Draws)
    manifest = models.find("smollm2-135m-instruct", Path.cwd())
    artifact: Artifact = models.prepare(manifest, ARTIFACTS[backend.name]).artifact
    backend.load(artifact, LoadOptions(context=64, threads=1))
    item = json.loads(PROMPTS.read_text("utf-8").splitlines()[0])
    ids = backend.tokenize(item["text"])
    assert len(ids) <= 12
    job = {"parameters": {"draws": 500, "settings": [dict(told) for told in CHEAP]}}
    channel: Any = Kept()
    sampling(backend, {**job, "items": [{"name": item["name"], "ids": ids}]}, channel)
    backend.close()
    arm = _arm(backend.name, channel)
    assert arm.trouble is None and not arm.unread and not arm.dishonest
    found = {one.name: one.verdict for one in arm.parameters}
    expected = "refused" if backend.name == "onnx" else "honoured"
    assert found.pop("min_p") == expected
    assert found.pop("repetition_penalty") == "untold"
    assert set(found.values()) == {"honoured"}, arm.parameters
    assert {line.way for line in arm.lines if "min_p" not in active(line.sampling)} == {"draw"}


def _arm(name: str, observations: list[dict[str, Any]]) -> Arm:
    case = Case("m", name, "a", "sampling")
    record = Record("t", case, 0, 1, "ok", "2026-01-01", 1.0, observations=tuple(observations))
    return tabulate([(case, record)])[0]
