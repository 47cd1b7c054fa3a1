"""The measure `quality` in a worker: the fake engine for its rules, the real ones for their answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from backends.api import (
    Artifact,
    GenerationFailed,
    LoadOptions,
    Request,
    Sampling,
    Token,
    Unsupported,
)
from backends.llamacpp import LlamaCpp
from backends.onnx import OnnxGenAI
from backends.transformers import Transformers
from harness import items, models
from harness.places import SCENARIOS
from harness.worker import quality as worker
from results import quality
from results.records import Case, Record, RunInfo, Trial
from results.store import Run

SETTINGS = [asdict(Sampling()), asdict(Sampling(temperature=0.8, top_p=0.95, seed=40))]
ITEMS: list[Any] = items.chosen(items.load(SCENARIOS / "tasks" / "standard.jsonl"), 10)
SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


class Channel:
    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def send(self, kind: str, data: Mapping[str, Any]) -> None:
        assert kind == "observation"
        self.sent.append(json.loads(json.dumps(data)))


def ask(backend: Any, job: Mapping[str, Any]) -> list[dict[str, Any]]:
    channel = Channel()
    worker.quality(backend, job, channel)  # type: ignore[arg-type]
    return channel.sent


def job(count: int = 10, **more: Any) -> dict[str, Any]:
    parameters = {"output_tokens": 6, "settings": SETTINGS, "seeds": 3, "context": 64, **more}
    return {
        "items": [{"name": f"q{n}", "ids": [97 + n, 98]} for n in range(count)],
        "parameters": parameters,
    }


@pytest.fixture
def fake(tmp_path: Path) -> Any:
    adapter = pytest.importorskip("bakeoff_fake.adapter")
    (tmp_path / "weights").write_bytes(b"some")
    backend = adapter.Fake()
    options = LoadOptions(context=64, threads=1)
    backend.load(Artifact("m", "a", "fake", tmp_path / "weights"), options)
    return backend


def test_every_item_setting_and_seed_then_some_again(fake: Any) -> None:
    sent = ask(fake, job())
    keys = [(d["item"], d["setting"], d["seed"], d["run"]) for d in sent]
    assert len(set(keys)) == len(keys) == 10 * (1 + 3) + worker.REPEATED * 2
    assert {seed for _, setting, seed, _ in keys if setting == 1} == {40, 41, 42}
    by_key = dict(zip(keys, sent, strict=True))
    for (item, setting, seed, run), data in by_key.items():
        assert len(data["ids"]) == 6 and not data["ended"] and len(data["text"]) == 6
        assert data["sizes"] == [1] * 6
        if run:
            assert data["ids"] == by_key[item, setting, seed, 0]["ids"]
    assert [run for *_, run in keys] == sorted(run for *_, run in keys)


def test_an_answer_that_ends_by_itself(fake: Any) -> None:
    sent = ask(fake, {**job(3, output_tokens=40), "stop_ids": [97, 98, 99, 100, 101]})
    assert any(data["ended"] for data in sent)
    assert all(data["ended"] == (len(data["ids"]) < 40) for data in sent)


def test_what_does_not_fit_or_is_not_supported_is_one_answer_less(fake: Any) -> None:
    asked = job(8)
    for item in asked["items"][1:]:
        item["ids"] = [97] * 60

    class NoTopP:
        def generate(self, request: Request) -> Iterator[Token]:
            if request.sampling.top_p < 1:
                raise Unsupported("no top_p here")
            yield from fake.generate(request)

    sent = ask(NoTopP(), asked)
    fits = [d for d in sent if d["item"] == "q0"]
    assert all("no top_p" in d["error"] for d in fits if d["setting"] == 1)
    assert all("error" not in d for d in fits if d["setting"] == 0)
    assert all("exceed the context of 64" in d["error"] for d in sent if d["item"] != "q0")


def test_an_engine_that_stays_broken_is_given_up(fake: Any) -> None:
    class Broken:
        def generate(self, request: Request) -> Iterator[Token]:
            raise GenerationFailed("it broke")
            yield

    channel = Channel()
    with pytest.raises(GenerationFailed, match="it broke"):
        worker.quality(Broken(), job(), channel)  # type: ignore[arg-type]
    assert len(channel.sent) == worker.GIVE_UP_AFTER - 1


def test_an_engine_that_does_not_stop_is_an_error(fake: Any) -> None:
    class Endless:
        def generate(self, request: Request) -> Iterator[Token]:
            yield from fake.generate(replace(request, max_tokens=request.max_tokens + 9))

    channel = Channel()
    with pytest.raises(GenerationFailed, match="gave more"):
        worker.quality(Endless(), job(), channel)  # type: ignore[arg-type]


FEW = ITEMS[::5]
ARTIFACTS = {"llamacpp": "gguf-q4_1", "onnx": "onnx-f32", "transformers": "hf-f32"}


@pytest.mark.engine
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("adapter", [LlamaCpp, OnnxGenAI, Transformers], ids=lambda a: a.name)
def test_real_engines_answer_and_repeat(adapter: Callable[[], Any]) -> None:
    backend = adapter()
    manifest = models.find("smollm2-135m-instruct", Path.cwd())
    artifact = models.prepare(manifest, ARTIFACTS[backend.name]).artifact
    backend.load(artifact, LoadOptions(context=256, threads=1))
    try:
        prompts = []
        for item in FEW:
            messages = item["messages"]
            if messages[0]["role"] != "system":
                messages = [{"role": "system", "content": SYSTEM}, *messages]
            turns = (f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
            ids = backend.tokenize("".join(turns) + "<|im_start|>assistant\n")
            prompts.append({"name": item["name"], "ids": ids})
        parameters = {
            "output_tokens": 10, "settings": SETTINGS, "seeds": 2, "context": 256, "threads": 1,
        }  # fmt: skip
        sent = ask(backend, {"items": prompts, "parameters": parameters})
    finally:
        backend.close()
    case = Case("smol", backend.name, "a", "quality", parameters)
    record = Record("t", case, 0, 1, "ok", "2026", 1.0, observations=tuple(sent))
    info = RunInfo(
        "r", "0", "2026", (), "s", "", "", "", 0, {}, (Trial("t", case, 0),), (), (), {}, "", {}, {},
        items={"quality": FEW},
    )  # fmt: skip
    (group,) = quality.groups(Run(Path(), info, (record,), ()))
    greedy, warm = group.arms[0].summaries
    assert greedy.accuracy and greedy.accuracy.n == len(FEW)
    assert greedy.errors == warm.errors == 0
    assert greedy.again == quality.Agreement(
        len(FEW), len(FEW)
    ) and warm.again == quality.Agreement(len(FEW), len(FEW))
    assert warm.other_seed.equal < warm.other_seed.of == len(FEW)
    assert all("<|im_end|>" not in answer.text for answer in group.arms[0].answers.values())
