"""OpenVINO GenAI: what the adapter does with the engine, and what the engine does in its own
environment."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy
import pytest

from backends import gguf_header, openvino, openvino_options
from backends import sampling as sampler
from backends.api import (
    Artifact,
    GenerationFailed,
    LoadFailed,
    LoadOptions,
    Request,
    Sampling,
    Unavailable,
    Unsupported,
)
from backends.openvino import OpenVINO
from harness import environments

ROOT = Path(__file__).parents[2]
OPTIONS = LoadOptions(context=64, threads=2)
WORDS = {3: b"", 5: b"one", 6: b" two", 7: b" \xf0\x9f", 8: b"\x98", 9: b"\x80"}


def decoded(ids: list[int], skip_special_tokens: bool) -> str:
    """As the engine's detokenizer: what is no whole character is left out."""
    return b"".join(WORDS[i] for i in ids).decode("utf-8", "ignore")


class Handle:
    def __init__(self, ids: list[int]) -> None:
        self.ids, self.held, self.cancelled = ids, [], False

    def can_read(self) -> bool:
        return bool(self.held)

    def read(self) -> dict[int, Any]:
        given, self.held = self.held, []
        return {0: SimpleNamespace(generated_ids=given)}

    def cancel(self) -> None:
        self.cancelled, self.ids = True, []

    def get_status(self) -> str:
        return "IGNORED"


class Pipeline:
    """Makes the ids of `script`, one per step, after `chunks` steps for the prompt."""

    script: ClassVar = [5, 6, 7, 8, 9]
    chunks = 1

    def __init__(self, *given: Any) -> None:
        self.given, self.handle, self.steps = given, Handle([]), 0

    def get_tokenizer(self) -> Any:
        return SimpleNamespace(
            get_eos_token_id=lambda: 9,
            decode=decoded,
        )

    def get_config(self) -> Any:
        return SimpleNamespace(eos_token_id=-1, stop_token_ids={3})

    def add_request(self, _: int, ids: Any, config: Any) -> Handle:
        self.handle, self.steps, self.config = Handle(list(self.script)), 0, config
        return self.handle

    def has_non_finished_requests(self) -> bool:
        return bool(self.handle.ids)

    def step(self) -> None:
        self.steps += 1
        if self.handle.ids and self.steps >= self.chunks:
            self.handle.held.append(self.handle.ids.pop(0))


@pytest.fixture
def backend(
    monkeypatch: pytest.MonkeyPatch, tiny_for: Callable[[str], Artifact]
) -> Iterator[OpenVINO]:
    """Loaded, with a fake engine below it."""
    genai = SimpleNamespace(
        ContinuousBatchingPipeline=Pipeline,
        SchedulerConfig=SimpleNamespace,
        GenerationConfig=SimpleNamespace,
    )
    core = SimpleNamespace(get_property=lambda device, name: ["FP32", "INT8"])
    ov = SimpleNamespace(Tensor=lambda array: array, Core=lambda: core)
    monkeypatch.setattr(openvino, "_import", lambda: (ov, genai))
    made = OpenVINO()
    made.load(tiny_for("gguf"), OPTIONS)
    yield made
    made.close()


@pytest.mark.parametrize("precision", ["f16", "bf16"])
def test_a_precision_that_the_processor_lacks_is_refused(
    backend: OpenVINO, tiny_for: Callable[[str], Artifact], precision: str
) -> None:
    """OpenVINO would run f32 and say nothing."""
    asked = replace(OPTIONS, extra={**OPTIONS.extra, "INFERENCE_PRECISION_HINT": precision})
    with pytest.raises(Unsupported, match=f"INFERENCE_PRECISION_HINT {precision}: this CPU lacks"):
        backend.load(tiny_for("gguf"), asked)


def ids(backend: OpenVINO, request: Request) -> list[int]:
    return [token.id for token in backend.generate(request)]


@pytest.mark.parametrize("missing", ["openvino", "openvino_genai"])
def test_without_the_engine_it_says_in_one_line_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    found = OpenVINO().probe()
    assert not found.available and "not installed" in str(found.reason)
    assert found.remedy == "bakeoff engines install openvino"
    with pytest.raises(Unavailable) as failure:
        OpenVINO().load(Artifact("m", "a", "gguf", tmp_path), OPTIONS)
    assert failure.value.remedy == found.remedy


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"extra": {"bogus": 1}}, "bogus"),
        ({"device": "gpu"}, "gpu"),
        ({"mmap": False}, "mmap"),
        ({"mlock": True}, "mlock"),
        ({"extra": {"KV_CACHE_PRECISION": "u2"}}, "u2"),
        ({"extra": {"INFERENCE_PRECISION_HINT": "int8"}}, "int8"),
        ({"extra": {"rounded_weights": "false"}}, "expected true or false"),
        ({"extra": {"DYNAMIC_QUANTIZATION_GROUP_SIZE": True}}, "DYNAMIC_QUANTIZATION"),
        ({"extra": {"ENABLE_CPU_PINNING": 1}}, "PINNING"),
    ],
)
def test_options_it_cannot_honour_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(Unsupported, match=said):
        openvino_options.properties(replace(OPTIONS, **change))


def test_a_context_beyond_the_models_is_refused(
    backend: OpenVINO, tiny_for: Callable[[str], Artifact]
) -> None:
    with pytest.raises(Unsupported, match="made for 2048"):
        backend.load(tiny_for("gguf"), replace(OPTIONS, context=4096))


def test_nothing_is_left_to_the_engines_defaults(backend: OpenVINO) -> None:
    _, scheduler, device, properties, tokenizer = backend._pipe.given
    assert device == "CPU" and properties == {
        "INFERENCE_NUM_THREADS": 2,
        "INFERENCE_PRECISION_HINT": "f32",
        "KV_CACHE_PRECISION": "f16",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 32,
        "ENABLE_CPU_PINNING": False,
        "ENABLE_HYPER_THREADING": True,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }
    assert tokenizer == {"INFERENCE_NUM_THREADS": 2}
    assert scheduler.enable_prefix_caching is False and scheduler.max_num_batched_tokens == 64
    sampling = Sampling(temperature=0.7, top_k=4, top_p=0.9, min_p=0.1, seed=3)
    ids(backend, Request((1, 2), 3, sampling=sampling))
    told = backend._pipe.config
    assert (told.do_sample, told.temperature, told.top_k) == (True, 0.7, 4)
    assert (told.top_p, told.min_p, told.rng_seed) == (0.9, 0.1, 3)
    assert told.ignore_eos is True and told.apply_chat_template is False
    assert (told.max_new_tokens, told.repetition_penalty, told.num_beams) == (3, 1.0, 1)


def test_top_k_off_is_the_whole_vocabulary(backend: OpenVINO) -> None:
    ids(backend, Request((1,), 1, sampling=Sampling(temperature=1.0)))
    assert backend._pipe.config.top_k == 544


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_the_engine_would_fold_is_refused(backend: OpenVINO, seed: int) -> None:
    with pytest.raises(Unsupported, match="seed"):
        ids(backend, Request((1,), 1, sampling=Sampling(temperature=1.0, seed=seed)))


def test_length_is_forced_and_stops_are_seen_by_the_adapter(
    backend: OpenVINO, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ids(backend, Request((1,), 5)) == [5, 6, 7, 8, 9]
    free = Request((1,), 5, force_length=False)
    assert ids(backend, replace(free, stop_ids=frozenset({6}))) == [5, 6]
    assert backend._pipe.handle.cancelled
    monkeypatch.setattr(
        Pipeline, "script", [5, 3, 6]
    )  # 3 ends a sequence by the model's own configuration
    assert ids(backend, free) == [5, 3]


def test_closing_cancels_and_nothing_is_computed_ahead(backend: OpenVINO) -> None:
    tokens = backend.generate(Request((1,), 5))
    next(tokens)
    pipe = backend._pipe
    assert pipe.steps == 1
    tokens.close()  # type: ignore[attr-defined]
    assert pipe.handle.cancelled and not pipe.has_non_finished_requests()


def test_a_prompt_in_several_steps_yields_when_the_first_token_is_there(
    backend: OpenVINO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pipeline, "chunks", 3)
    assert ids(backend, Request((1,), 2)) == [5, 6]


def test_a_request_that_the_engine_drops_is_an_error(
    backend: OpenVINO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pipeline, "script", [5])
    with pytest.raises(GenerationFailed, match="IGNORED"):
        ids(backend, Request((1,), 5))


@pytest.mark.parametrize("context", [1, 2])
def test_logits_fill_the_whole_context(
    backend: OpenVINO, monkeypatch: pytest.MonkeyPatch, context: int
) -> None:
    monkeypatch.setattr(
        openvino.openvino_scores, "Scorer", lambda *_: SimpleNamespace(logits=len, close=int)
    )
    backend._limit = context
    assert backend.logits(range(context)) == context
    with pytest.raises(GenerationFailed, match=f"exceed the context of {context}"):
        backend.logits(range(context + 1))


def test_text_without_a_whole_character_is_held_back(backend: OpenVINO) -> None:
    assert [token.text for token in backend.generate(Request((1,), 5))] == [
        "one", " two", " ", "", "\U0001f600",
    ]  # fmt: skip


def test_weights_that_it_would_change_run_only_where_that_is_accepted(
    backend: OpenVINO, monkeypatch: pytest.MonkeyPatch, tiny_for: Callable[[str], Artifact]
) -> None:
    header = replace(gguf_header.read(tiny_for("gguf").path), types=frozenset({0, 3}))
    monkeypatch.setattr(gguf_header, "read", lambda path: header)
    with pytest.raises(Unsupported, match="other weights than the file's") as failure:
        backend.load(tiny_for("gguf"), OPTIONS)
    assert "rounded_weights: true" in str(failure.value.remedy)
    backend.load(tiny_for("gguf"), replace(OPTIONS, extra={"rounded_weights": True}))
    assert "rounded_weights" not in backend._pipe.given[3]


@pytest.mark.parametrize("missing", ["openvino_model.xml", "openvino_tokenizer.xml"])
def test_a_folder_without_its_files_is_no_model(tmp_path: Path, missing: str) -> None:
    for name in {"openvino_model.xml", "openvino_tokenizer.xml"} - {missing}:
        (tmp_path / name).write_text("<net/>")
    with pytest.raises(LoadFailed, match=missing):
        openvino_options.facts(Artifact("m", "a", "openvino", tmp_path), OPTIONS)


CHAT = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
PROGRAM = f"""
import json, sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from backends.api import *
from backends.openvino import OpenVINO

backend = OpenVINO()
seen = {{"probe": vars(backend.probe())}}
backend.load(Artifact("m", "a", "gguf", Path(sys.argv[1])), LoadOptions(256, 1, extra={{"rounded_weights": True}}))
chat = Request(tuple(backend.tokenize({CHAT!r})), 14)
ids = lambda request: [token.id for token in backend.generate(request)]
seen["prompt"] = chat.prompt_ids
seen["forced"], seen["free"] = ids(chat), ids(replace(chat, force_length=False))
seen["claims"] = dict(backend.claims())
drawn = lambda **told: ids(replace(chat, max_tokens=6, sampling=Sampling(**told)))
seen["draws"] = [drawn(temperature=1.5, seed=seed) for seed in (7, 7, 8)]
three = lambda seed: drawn(temperature=1.5, top_k=3, seed=seed)[0]
seen["of_three"] = sorted({{three(seed) for seed in range(8)}})
story = tuple(backend.tokenize("Once upon a time there was a"))
both = lambda seed: Request(story, 1, sampling=Sampling(1.6, top_k=50, top_p=0.6, seed=seed))
seen["ordered"] = [ids(both(seed))[0] for seed in range(60)]
seen["story"] = [float(score) for score in backend.logits(story)[-1]]
counting = Request(tuple(backend.tokenize("one two three four" * 6)), 1)
strong = Sampling(repetition_penalty=10.0)
seen["penalty"] = [ids(counting), ids(replace(counting, sampling=strong)), counting.prompt_ids]
seen["rendered"] = vars(backend.render([{{"role": "user", "content": "Hi"}}]))

config = backend._genai.GenerationConfig()
config.max_new_tokens, config.ignore_eos, config.logprobs = 6, True, 1
config.apply_chat_template = False
handle = backend._pipe.add_request(1, backend._tensor(chat.prompt_ids), config)
while backend._pipe.has_non_finished_requests():
    backend._pipe.step()
(whole,) = handle.read_all()
seen["engine_logprobs"] = list(whole.generated_log_probs)
made = list(whole.generated_ids)
import numpy
rows = backend.logits([*chat.prompt_ids, *made[:-1]])[len(chat.prompt_ids) - 1:].astype(float)
rows -= numpy.log(numpy.exp(rows).sum(axis=1, keepdims=True))
seen["our_logprobs"] = [float(row[token]) for row, token in zip(rows, made)]
print("SEEN" + json.dumps(seen, default=dict))
"""


@pytest.fixture(scope="module")
def seen(seen_in: Callable[..., Any], artifact_for: Callable[[str], Artifact]) -> Any:
    """What the real engine did, in its own environment."""
    return seen_in("openvino", PROGRAM, artifact_for("gguf").path)


@pytest.mark.engine
def test_the_engine_says_what_it_is(seen: Any) -> None:
    probe = seen["probe"]
    installed = environments.find("openvino").installed["openvino-genai"]
    assert probe["version"] == installed and probe["devices"] == ["cpu"]
    assert "CPU" in probe["build"]["devices"] and probe["build"]["threading"] == "TBB"


@pytest.mark.engine
def test_forced_length_goes_on_past_the_end_of_sequence(seen: Any) -> None:
    free = seen["free"]
    assert free[-1] == 2 and 2 not in free[:-1] and len(free) < 14
    assert len(seen["forced"]) == 14 and seen["forced"][: len(free)] == free
    assert seen["claims"]["prefill_tokens"] == len(seen["prompt"])
    assert seen["claims"]["decode_tokens"] == len(free) - 1


@pytest.mark.engine
def test_sampling_is_the_engines_and_honoured(seen: Any) -> None:
    first, again, other = seen["draws"]
    assert first == again != other
    assert 1 < len(seen["of_three"]) <= 3
    plain, punished, prompt = seen["penalty"]
    assert set(plain) <= set(prompt) and not set(punished) & set(prompt)


@pytest.mark.engine
def test_top_k_comes_before_top_p_as_in_other_engines(seen: Any) -> None:
    """The other way round, top-p would leave more tokens than top-k: 50 of them, not 17."""
    row = numpy.array(seen["story"], numpy.float32)

    def kept(**told: float) -> Any:
        return sampler.probabilities(numpy, Sampling(1.6, **told), [], row) > 0  # type: ignore[arg-type]

    reversed_order = kept(top_p=0.6) & kept(top_k=50)
    assert kept(top_k=50, top_p=0.6).sum() < reversed_order.sum() / 2
    # Some more than 0.6, for tokens on the edge: another kernel makes these logits.
    assert kept(top_k=50, top_p=0.65)[seen["ordered"]].all()
    assert len(set(seen["ordered"])) > 5


@pytest.mark.engine
def test_its_own_template_renders(seen: Any) -> None:
    rendered = seen["rendered"]
    assert rendered["text"].endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    assert "".join(rendered["pieces"]) == rendered["text"]


@pytest.mark.engine
def test_the_logits_are_those_that_the_pipeline_draws_from(seen: Any) -> None:
    pairs = zip(seen["engine_logprobs"], seen["our_logprobs"], strict=True)
    # Another kernel does the attention, and activations in 8 bits make more of that: 0.05 was seen.
    assert max(abs(theirs - ours) for theirs, ours in pairs) < 0.1
