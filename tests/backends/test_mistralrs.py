"""mistral.rs: what the adapter does with the engine, and what the engine does in its own
environment."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backends import mistralrs
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
from backends.mistralrs import MistralRs
from harness import environments

ROOT = Path(__file__).parents[2]
OPTIONS = LoadOptions(context=64, threads=2)
END = 514  # of the tiny model; 512 and 513 are special, too
WORDS = {5: b"one", 6: b" two", 7: b" \xf0\x9f", 8: b"\x98", 9: b"\x80"}


@dataclass
class Engine:
    """A Runner that makes the tokens of `script`; special ones in silence, as the real one does."""

    script: tuple[int, ...] = (5, 6, 7, 8, 9)
    reads_as: tuple[int, ...] | None = None  # what its tokenizer makes of any text
    adds: int = 0  # tokens to the prompt, as it counts them
    breaks: bool = False

    def __call__(self, **told: Any) -> Engine:
        self.told = told
        self.template = Path(told["jinja_explicit"]).read_text()
        return self

    def detokenize_text(self, ids: list[int], skip_special_tokens: bool) -> str:
        return " ".join(map(str, ids))

    def tokenize_text(self, text: str, add_special_tokens: bool, thinking: None) -> list[int]:
        return list(self.reads_as or map(int, text.split()))

    def send_chat_completion_request(self, asked: Any) -> Iterator[Any]:
        self.asked = asked
        prompt = len(asked.messages[0]["content"].split()) + self.adds
        for made, token in enumerate(self.script, 1):
            ended = token == END and not asked.ignore_eos
            done = made == asked.max_tokens or ended
            seen = None
            if token < 512:
                best = SimpleNamespace(token=token, logprob=-0.5)
                data = list(WORDS[token])
                seen = SimpleNamespace(token="?", bytes=data, logprob=-0.5, top_logprobs=[best])
            usage = SimpleNamespace(
                prompt_tokens=prompt,
                completion_tokens=made,
                total_prompt_time_sec=0.5,
                total_completion_time_sec=0.25,
                prompt_tokens_details=None,
            )
            if seen or done:
                choice = SimpleNamespace(logprobs=seen)
                yield SimpleNamespace(choices=[choice], usage=usage if done else None)
            if done:
                return
            if self.breaks:
                raise ValueError("the model broke")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    made = Engine()
    lib = SimpleNamespace(
        Runner=made,
        Which=SimpleNamespace(GGUF=SimpleNamespace),
        ModelDType=SimpleNamespace(F32="F32", F16="F16", BF16="BF16"),
        ChatCompletionRequest=SimpleNamespace,
    )
    monkeypatch.setattr(mistralrs, "_import", lambda: lib)
    monkeypatch.setattr(mistralrs, "_threads", None)
    for name in ("RAYON_NUM_THREADS", mistralrs.KV_F32):
        monkeypatch.setenv(name, "before")
    return made


@pytest.fixture
def backend(engine: Engine, tiny_for: Callable[[str], Artifact]) -> Iterator[MistralRs]:
    made = MistralRs()
    made.load(tiny_for("gguf"), OPTIONS)
    yield made
    made.close()


def test_a_link_to_a_file_of_another_name_is_opened_as_the_link(
    engine: Engine, tiny_for: Callable[[str], Artifact], tmp_path: Path
) -> None:
    """As in a cache of the Hugging Face hub."""
    link = tmp_path / "snapshots" / "model.gguf"
    link.parent.mkdir()
    link.symlink_to(tiny_for("gguf").path)
    made = MistralRs()
    made.load(replace(tiny_for("gguf"), path=link), OPTIONS)
    which = engine.told["which"]
    assert (which.quantized_model_id, which.quantized_filename) == (str(link.parent), link.name)
    made.close()


def ids(backend: MistralRs, request: Request) -> list[int]:
    return [token.id for token in backend.generate(request)]


def test_without_the_engine_it_says_in_one_line_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "mistralrs", None)
    found = MistralRs().probe()
    assert not found.available and "not installed" in str(found.reason)
    assert found.remedy == "bakeoff engines install mistralrs"
    with pytest.raises(Unavailable) as failure:
        MistralRs().load(Artifact("m", "a", "gguf", tmp_path), OPTIONS)
    assert failure.value.remedy == found.remedy


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"extra": {"bogus": 1}}, "bogus"),
        ({"extra": {"dtype": "q4"}}, "q4"),
        ({"extra": {"MISTRALRS_CPU_KV_F32": "yes"}}, "yes"),
        ({"device": "cuda"}, "cuda"),
        ({"mmap": True}, "mmap"),
        ({"context": 4096}, "made for 2048"),
    ],
)
def test_options_it_cannot_honour_are_refused(
    engine: Engine, tiny_for: Callable[[str], Artifact], change: dict[str, Any], said: str
) -> None:
    with pytest.raises(Unsupported, match=said):
        MistralRs().load(tiny_for("gguf"), replace(OPTIONS, **change))


def test_threads_and_cache_are_told_before_the_engine_starts(
    backend: MistralRs, engine: Engine, tiny_for: Callable[[str], Artifact]
) -> None:
    assert mistralrs.os.environ["RAYON_NUM_THREADS"] == "2"
    assert mistralrs.KV_F32 not in mistralrs.os.environ
    assert engine.told["prefix_cache_n"] == 0 and engine.told["max_seqs"] == 1
    assert engine.told["which"].dtype == "F32"
    assert engine.template == "{{ messages[0]['content'] }}"
    backend.load(tiny_for("gguf"), replace(OPTIONS, extra={mistralrs.KV_F32: True}))
    assert mistralrs.os.environ[mistralrs.KV_F32] == "1"
    with pytest.raises(Unsupported, match="with 2 already"):
        backend.load(tiny_for("gguf"), replace(OPTIONS, threads=1))


def test_a_panic_of_the_engine_is_a_load_that_failed(
    monkeypatch: pytest.MonkeyPatch, engine: Engine, tiny_for: Callable[[str], Artifact]
) -> None:
    class PanicException(BaseException):
        """What Rust's panics are in Python: no Exception."""

    def panic(self: Engine, **_: Any) -> None:
        raise PanicException("tensor not found")

    monkeypatch.setattr(Engine, "__call__", panic)
    with pytest.raises(LoadFailed, match=r"gguf\.gguf.* tensor not found"):
        MistralRs().load(tiny_for("gguf"), OPTIONS)


def test_ids_that_the_engine_reads_otherwise_are_refused_before_the_first_token(
    backend: MistralRs, engine: Engine
) -> None:
    assert ids(backend, Request((1, 2), 2)) == [5, 6]
    engine.reads_as = (1, 2, 3)
    with pytest.raises(Unsupported, match="these 2 ids as 3 others"):
        ids(backend, Request((1, 2), 2))


def test_the_engines_own_count_of_the_prompt_is_believed(
    backend: MistralRs, engine: Engine
) -> None:
    engine.adds = 1
    with pytest.raises(GenerationFailed, match="of 2 ids was 3 to the engine"):
        ids(backend, Request((1, 2), 2))


def test_a_token_made_in_silence_is_noticed(backend: MistralRs, engine: Engine) -> None:
    engine.script = (5, 512, 6)
    with pytest.raises(GenerationFailed, match="ended after 2 of 3"):
        ids(backend, Request((1,), 3))
    engine.script = (5, 512, 6, END)
    with pytest.raises(GenerationFailed, match="made 4 tokens, 3 came"):
        ids(backend, Request((1,), 9, force_length=False))


def test_special_tokens_are_forbidden_but_for_an_end_that_may_come(
    backend: MistralRs, engine: Engine
) -> None:
    ids(backend, Request((1,), 5))
    assert set(engine.asked.logit_bias) == {512, 513, 514} and engine.asked.ignore_eos is True
    engine.script = (5, END)
    assert ids(backend, Request((1,), 5, force_length=False)) == [5, END]
    assert set(engine.asked.logit_bias) == {512, 513} and engine.asked.ignore_eos is False


def test_stop_ids_are_seen_by_the_adapter_or_refused(backend: MistralRs) -> None:
    free = Request((1,), 5, force_length=False)
    assert ids(backend, replace(free, stop_ids=frozenset({6}))) == [5, 6]
    assert backend.claims() == {}
    with pytest.raises(Unsupported, match="512"):
        ids(backend, replace(free, stop_ids=frozenset({512})))


def test_text_comes_when_a_character_is_whole(backend: MistralRs) -> None:
    assert [token.text for token in backend.generate(Request((1,), 5))] == [
        "one", " two", " ", "", "\U0001f600",
    ]  # fmt: skip
    assert [token.text for token in backend.generate(Request((1,), 3))][-1] == " \ufffd"


@pytest.mark.parametrize(
    "sampling", [Sampling(temperature=1.0), Sampling(temperature=0.5, top_k=1, seed=3)]
)
def test_what_cannot_be_seeded_is_refused(backend: MistralRs, sampling: Sampling) -> None:
    with pytest.raises(Unsupported, match="seeded"):
        ids(backend, Request((1,), 2, sampling=sampling))


def test_the_engines_own_numbers_are_claims(backend: MistralRs) -> None:
    ids(backend, Request((1, 2, 3), 4))
    assert backend.claims() == {
        "prefill_tokens": 3.0,
        "prefill_ms": 500.0,
        "decode_tokens": 3.0,
        "decode_ms": 250.0,
    }


def test_an_error_of_the_engine_is_an_error_of_the_contract(
    backend: MistralRs, engine: Engine
) -> None:
    engine.breaks = True
    with pytest.raises(GenerationFailed, match="the model broke"):
        ids(backend, Request((1,), 3))


CHAT = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
PROGRAM = f"""
import json, sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from backends.api import *
from backends.mistralrs import MistralRs

backend = MistralRs()
seen = {{"probe": vars(backend.probe())}}
backend.load(Artifact("m", "a", "gguf", Path(sys.argv[1])), LoadOptions(context=256, threads=1))
chat = Request(tuple(backend.tokenize({CHAT!r})), 10)
ids = lambda request: [token.id for token in backend.generate(request)]
seen["prompt"] = chat.prompt_ids
seen["forced"] = ids(chat)
seen["claims"] = dict(backend.claims())
seen["free"] = ids(replace(chat, force_length=False))
try:
    ids(replace(chat, prompt_ids=(68, 255)))
except Unsupported as error:
    seen["refused"] = error.reason
counting = Request(tuple(backend.tokenize("one two three four" * 6)), 1)
strong = Sampling(repetition_penalty=10.0)
seen["penalty"] = [ids(counting), ids(replace(counting, sampling=strong)), counting.prompt_ids]
print("SEEN" + json.dumps(seen, default=dict))
"""


SEEDED = """
import json, sys
from mistralrs import Runner, Which

folder, _, name = sys.argv[1].rpartition("/")
try:
    Runner(Which.GGUF(quantized_model_id=folder, quantized_filename=name), seed=7)
except ValueError as error:
    print("SEEN" + json.dumps(str(error).splitlines()[0]))
"""


@pytest.fixture(scope="module")
def seen(seen_in: Callable[..., Any], artifact_for: Callable[[str], Artifact]) -> Any:
    """What the real engine did, in its own environment."""
    return seen_in("mistralrs", PROGRAM, artifact_for("gguf").path)


@pytest.mark.engine
def test_the_engine_says_what_it_is(seen: Any) -> None:
    installed = environments.find("mistralrs").installed["mistralrs"]
    assert seen["probe"]["version"] == installed and seen["probe"]["build"]["wheel"]


@pytest.mark.engine
def test_every_token_comes_with_its_id_also_where_the_model_would_end(seen: Any) -> None:
    free = seen["free"]
    assert free[-1] == 2 and 2 not in free[:-1] and len(free) < 10
    assert len(seen["forced"]) == 10 and seen["forced"][: len(free) - 1] == free[:-1]
    assert all(token > 16 for token in seen["forced"])
    assert seen["claims"]["prefill_tokens"] == len(seen["prompt"])
    assert seen["claims"]["decode_tokens"] == 9


@pytest.mark.engine
def test_ids_that_are_no_text_of_theirs_are_refused_by_the_real_tokenizer(seen: Any) -> None:
    assert "these 2 ids as 1 others" in seen["refused"]


@pytest.mark.engine
def test_the_repetition_penalty_sees_the_prompt(seen: Any) -> None:
    plain, punished, prompt = seen["penalty"]
    assert set(plain) <= set(prompt) and not set(punished) & set(prompt)


@pytest.mark.engine
def test_the_engine_still_cannot_be_seeded(
    seen_in: Callable[..., Any], tiny_for: Callable[[str], Artifact]
) -> None:
    assert "cannot seed the CPU rng" in seen_in("mistralrs", SEEDED, tiny_for("gguf").path)
