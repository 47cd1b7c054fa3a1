"""LiteRT-LM: what needs no engine always runs; the engine's part wants its environments."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backends import litert_lm as adapter
from backends.api import (
    Artifact,
    GenerationFailed,
    LoadFailed,
    LoadOptions,
    Rejected,
    Request,
    Sampling,
    Unavailable,
    Unsupported,
)
from backends.litert_lm import LiteRTLM
from harness import models

STOP = 9


class Session:
    """Sends the chunks that it was told to, and counts them as it was told to."""

    def __init__(self, engine: Engine, **told: Any) -> None:
        self.engine, self.told = engine, told
        self.closed = self.cancelled = False
        self.prefilled: list[str] = []

    def run_prefill(self, texts: list[str]) -> None:
        self.prefilled += texts

    def run_decode_async(self) -> Iterator[Any]:
        for text in self.engine.chunks[: self.told["max_output_tokens"]]:
            yield SimpleNamespace(texts=[text])

    def get_benchmark_info(self) -> Any:
        count = sum(len(self.engine.tokenize(text)) for text in self.prefilled)
        return SimpleNamespace(
            last_prefill_token_count=count + self.engine.added,
            last_prefill_tokens_per_second=1000.0,
            last_decode_token_count=self.engine.counted,
            last_decode_tokens_per_second=100.0,
            init_time_in_second=0.5,
        )

    def cancel_process(self) -> None:
        self.cancelled = True

    def close(self) -> None:
        self.closed = True


class Engine:
    """Tokens are letters, a capital stands for two of them, and é is two tokens: its bytes."""

    def __init__(self) -> None:
        self.chunks = list("bcde")
        self.counted, self.added = 4, 0
        self.bos_token_id = None
        self.eos_token_ids = [[STOP]]
        self.sessions: list[Session] = []
        self.asked = 0

    def tokenize(self, text: str) -> list[int]:
        self.asked += 1
        ids: list[int] = []
        for c in text:
            ids += [30, 31] if c == "é" else [ord(c.lower()) - 97] * (1 + c.isupper())
        return ids

    def detokenize(self, ids: list[int]) -> str:
        self.asked += 1
        known = {25: "Z", 27: "Ä", 30: "\xc3", 31: "\xa9"}
        text = "".join(known.get(i, chr(97 + i)) for i in ids if i < 128)
        return text.replace("\xc3\xa9", "é").replace("\xc3", "\ufffd").replace("\xa9", "\ufffd")

    def create_session(self, **told: Any) -> Session:
        self.sessions.append(Session(self, **told))
        return self.sessions[-1]

    def create_conversation(self, **told: Any) -> Any:
        raise ValueError("no such role")

    def close(self) -> None:
        pass


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def loaded(engine: Engine) -> LiteRTLM:
    backend = LiteRTLM()
    backend._engine, backend._limit = engine, 32
    backend._lib = SimpleNamespace(SamplerConfig=lambda **fields: fields)
    return backend


def ask(backend: LiteRTLM, tokens: int = 4, **more: Any) -> list[tuple[int, str]]:
    made = backend.generate(Request((0, 1, 2), tokens, **more))
    return [(token.id, token.text) for token in made]


def artifact(path: Path) -> Artifact:
    return Artifact("m", "a", "litertlm", path)


def test_without_the_engine_probe_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "litert_lm", None)
    found = LiteRTLM().probe()
    assert not found.available and found.version is None
    assert found.reason is not None and "not installed" in found.reason
    assert found.remedy == "bakeoff engines install litert-lm"
    with pytest.raises(Unavailable) as error:
        LiteRTLM().load(artifact(Path("/x")), LoadOptions(64, 1))
    assert error.value.remedy == found.remedy


@pytest.mark.parametrize(
    "options",
    [
        LoadOptions(64, 1, device="gpu"),
        LoadOptions(64, 1, mmap=True),
        LoadOptions(64, 1, mlock=True),
        LoadOptions(64, 1, extra={"prefill": 64}),
    ],
)
def test_options_that_are_not_passed_on_are_refused(options: LoadOptions) -> None:
    with pytest.raises(Unsupported):
        LiteRTLM().load(artifact(Path("/x")), options)


def test_a_missing_file_is_a_load_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "_import", SimpleNamespace)
    with pytest.raises(LoadFailed, match="nowhere: no such file"):
        LiteRTLM().load(artifact(Path("/nowhere")), LoadOptions(64, 1))


@pytest.mark.parametrize(("most", "dynamic"), [(63, False), (63, True), (64, False), (0, False)])
def test_a_context_beyond_the_files_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, most: int, dynamic: bool
) -> None:
    (tmp_path / "a.litertlm").write_bytes(b"")
    info = SimpleNamespace(max_context_tokens=most, is_dynamic_context=dynamic)
    lib = SimpleNamespace(
        ModelInfo=lambda _: nullcontext(info),
        Backend=SimpleNamespace(CPU=lambda **_: None),
        ActivationDataType=SimpleNamespace(FLOAT32=0),
        Engine=lambda *_, **__: Engine(),
    )
    monkeypatch.setattr(adapter, "_import", lambda: lib)
    backend = LiteRTLM()
    if most == 63 and not dynamic:
        with pytest.raises(Unsupported, match="a context of 64: the model is made for 63"):
            backend.load(artifact(tmp_path / "a.litertlm"), LoadOptions(64, 1))
        assert backend._engine is None
    else:
        backend.load(artifact(tmp_path / "a.litertlm"), LoadOptions(64, 1))
        assert backend._engine is not None


def test_a_chunk_is_a_token_and_the_engines_counts_are_its_claims(
    loaded: LiteRTLM, engine: Engine
) -> None:
    assert ask(loaded) == [(1, "b"), (2, "c"), (3, "d"), (4, "e")]
    assert engine.sessions[0].prefilled == ["abc"]
    assert loaded.claims() == {
        "prefill_tokens": 3.0,
        "prefill_ms": 3.0,
        "decode_tokens": 4.0,
        "decode_ms": 40.0,
        "load_ms": 500.0,
    }


def test_a_prompt_that_the_engine_reads_as_other_ids_is_refused(
    loaded: LiteRTLM, engine: Engine
) -> None:
    with pytest.raises(Unsupported, match="reads theirs as other ids"):
        list(loaded.generate(Request((0, 25), 4)))  # "aZ" is three ids
    assert not engine.sessions


def test_a_prompt_that_the_engine_adds_to_is_refused_before_the_first_token(
    loaded: LiteRTLM, engine: Engine
) -> None:
    engine.added = 1
    with pytest.raises(Unsupported, match="4 tokens for a prompt of 3"):
        next(iter(loaded.generate(Request((0, 1, 2), 4))))
    assert engine.sessions[0].closed


def test_two_tokens_in_a_chunk_fail_but_for_a_split_character(
    loaded: LiteRTLM, engine: Engine
) -> None:
    engine.chunks = ["b", "é", "c"]
    assert ask(loaded) == [(1, "b"), (30, ""), (31, "é"), (2, "c")]
    engine.chunks = ["b", "cd"]
    with pytest.raises(GenerationFailed, match="'cd' is 2 tokens"):
        ask(loaded)


def test_a_token_whose_own_text_is_split_is_known_by_its_text(
    loaded: LiteRTLM, engine: Engine
) -> None:
    engine.chunks, engine.counted = ["b", "Z"], 2
    assert ask(loaded, 2) == [(1, "b"), (25, "Z")]


def test_a_token_of_another_script_whose_own_text_is_split_is_one_token(
    loaded: LiteRTLM, engine: Engine
) -> None:
    """It is no character whose bytes are split: its beginning would have come as a chunk."""
    engine.chunks, engine.counted = ["b", "Ä"], 2
    assert ask(loaded, 2) == [(1, "b"), (27, "Ä")]


def test_ids_are_found_when_they_are_read_and_not_between_two_tokens(
    loaded: LiteRTLM, engine: Engine
) -> None:
    """Nothing that is asked of the tokenizer takes the engine's time: Z needs the whole vocabulary."""
    engine.chunks, engine.counted = ["b", "Z", "c"], 3
    made = loaded.generate(Request((0, 1, 2), 3))
    tokens = [next(made)]
    engine.asked = 0
    tokens += made
    assert engine.asked == 1  # the engine's own count of the prompt, by this fake
    assert [token.id for token in tokens] == [1, 25, 2]
    assert engine.asked > adapter.UNUSED


def test_a_text_that_the_engine_cannot_decode_is_a_failed_request(
    loaded: LiteRTLM, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(ids: Any) -> str:
        return b"\xdb".decode()

    monkeypatch.setattr(engine, "detokenize", broken)
    with pytest.raises(GenerationFailed, match="can't decode byte 0xdb"):
        loaded.detokenize([5])
    with pytest.raises(GenerationFailed, match="can't decode byte 0xdb"):
        next(loaded.generate(Request((5,), 2)))


def test_a_broken_character_has_no_known_tokens(loaded: LiteRTLM, engine: Engine) -> None:
    engine.chunks = ["b", "\ufffd"]
    with pytest.raises(GenerationFailed, match="broken character"):
        ask(loaded)


def test_more_or_fewer_tokens_than_chunks_fail(loaded: LiteRTLM, engine: Engine) -> None:
    engine.counted = 6
    with pytest.raises(GenerationFailed, match="made 6 tokens, chunks for 4 came"):
        ask(loaded)


def test_a_stop_token_of_the_file_ends_it_unless_the_length_is_forced(
    loaded: LiteRTLM, engine: Engine
) -> None:
    engine.chunks, engine.counted = ["b"], 2
    assert ask(loaded, force_length=False) == [(1, "b"), (STOP, "")]
    assert ask(loaded, 2) == [(1, "b"), (STOP, "")]
    with pytest.raises(GenerationFailed, match=r"told to make 4 tokens.*after 2"):
        ask(loaded)


@pytest.mark.parametrize("ends", [[[STOP], [8]], [[STOP, 8]]])
def test_which_of_several_stop_tokens_ended_it_is_not_made_up(
    loaded: LiteRTLM, engine: Engine, ends: list[list[int]]
) -> None:
    engine.chunks, engine.counted, engine.eos_token_ids = ["b"], 2, ends
    assert ask(loaded, force_length=False) == [(1, "b")]
    assert loaded.claims()["decode_tokens"] == 2.0
    with pytest.raises(
        GenerationFailed, match=f"which of the file's {len(ends)} it was is unknown"
    ):
        ask(loaded, 2)
    with pytest.raises(GenerationFailed, match=r"told to make 4 tokens.*ended at its stop token"):
        ask(loaded)
    engine.counted = 3
    with pytest.raises(GenerationFailed, match="made 3 tokens, chunks for 1 came"):
        ask(loaded, force_length=False)


def test_a_token_without_a_chunk_is_a_stop_token_only_where_the_file_has_one(
    loaded: LiteRTLM, engine: Engine
) -> None:
    engine.chunks, engine.counted, engine.eos_token_ids = ["b"], 2, []
    with pytest.raises(GenerationFailed, match="made 2 tokens, chunks for 1 came"):
        ask(loaded, force_length=False)


def test_a_stop_id_ends_it_and_the_session(loaded: LiteRTLM, engine: Engine) -> None:
    assert ask(loaded, force_length=False, stop_ids=frozenset({2})) == [(1, "b"), (2, "c")]
    assert engine.sessions[0].cancelled and engine.sessions[0].closed


def test_every_request_has_a_session_of_its_own(loaded: LiteRTLM, engine: Engine) -> None:
    given_up = loaded.generate(Request((0, 1, 2), 4))
    next(iter(given_up))
    ask(loaded)
    assert len(engine.sessions) == 2
    assert all(session.closed for session in engine.sessions)


@pytest.mark.parametrize(
    ("sampling", "told"),
    [
        (Sampling(), {"top_k": 1, "top_p": 1.0, "temperature": 1.0, "seed": 0}),
        (
            Sampling(0.7, 5, 0.9, seed=3),
            {"top_k": 5, "top_p": 0.9, "temperature": 0.7, "seed": 3},
        ),
    ],
)
def test_every_sampling_parameter_is_told(
    loaded: LiteRTLM, engine: Engine, sampling: Sampling, told: dict[str, Any]
) -> None:
    ask(loaded, sampling=sampling)
    assert engine.sessions[0].told["sampler_config"] == told
    assert engine.sessions[0].told["apply_prompt_template"] is False


@pytest.mark.parametrize(
    "more",
    [
        {"sampling": Sampling(1.0, min_p=0.1)},
        {"sampling": Sampling(repetition_penalty=1.1)},
        {"sampling": Sampling(1.0, seed=2**31)},
        {"reuse_prefix": True},
    ],
)
def test_what_a_session_lacks_is_refused(
    loaded: LiteRTLM, engine: Engine, more: dict[str, Any]
) -> None:
    with pytest.raises(Unsupported):
        ask(loaded, **more)
    assert not engine.sessions


def test_bad_messages_are_rejected(loaded: LiteRTLM) -> None:
    for messages in ([], [{"role": "nobody", "content": "x"}]):
        with pytest.raises(Rejected):
            loaded.render(messages)


@pytest.mark.engine
def test_the_engine_conforms(
    own_python: Callable[[str], str], conformance_of: Callable[..., dict[str, str]]
) -> None:
    """On the real model: a tiny one with random weights writes broken characters, and a text tells
    no ids of those."""
    own_python("litert-torch")  # makes the file where it is not there yet, in minutes
    model = models.prepare(models.find("smollm2-135m-instruct", Path.cwd()), "litert-int8")
    checks = conformance_of("litert-lm", model.artifact.path)
    assert checks["tokens_one_at_a_time"] == checks["claims"] == "passed"
