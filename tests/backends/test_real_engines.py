"""The built-in adapters against the real engines and the real model, one contract for all three.

Never asserted: equal text between engines. A near-tie may legitimately go either way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends.api import (
    Artifact,
    GenerationFailed,
    LoadFailed,
    LoadOptions,
    Request,
    Sampling,
    Scores,
    Token,
    Unsupported,
)
from backends.llamacpp import LlamaCpp
from backends.onnx import OnnxGenAI
from backends.transformers import Transformers

pytestmark = [
    pytest.mark.engine,
    # What engines' own imports warn of is not ours to mend.
    pytest.mark.filterwarnings("default"),
]
# One thread: with two, spinning threads lose much time on a machine that others use, too.
OPTIONS = LoadOptions(context=256, threads=1)
CHAT = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
EOS = 2
ADAPTERS: list[Callable[[], Any]] = [LlamaCpp, OnnxGenAI, Transformers]


@pytest.fixture(scope="module", params=ADAPTERS, ids=lambda adapter: adapter.name)
def engine(
    request: pytest.FixtureRequest, artifact_for: Callable[[str], Artifact]
) -> Iterator[Any]:
    backend = request.param()
    backend.load(artifact_for(*backend.formats), OPTIONS)
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def chat(engine: Any) -> Request:
    """A question that the model answers in a few words, then ends by itself."""
    return Request(prompt_ids=tuple(engine.tokenize(CHAT)), max_tokens=20)


def ids(engine: Any, request: Request, **sampling: float) -> list[int]:
    if sampling:
        request = replace(request, sampling=Sampling(**sampling))  # type: ignore[arg-type]
    return [token.id for token in engine.generate(request)]


def test_probe_knows_the_version_and_the_build(engine: Any) -> None:
    found = engine.probe()
    assert found.available and found.version and found.build and "cpu" in found.devices


def test_the_tokenizer_is_the_models_own(engine: Any) -> None:
    assert engine.tokenize("Hello world, 123") == [19556, 905, 28, 216, 33, 34, 35]
    assert engine.tokenize(CHAT)[:3] == [1, 4093, 198]
    text = "It's naïve:\n\n  def f(x): 漢字 😀"
    assert engine.detokenize(engine.tokenize(text)) == text
    assert engine.detokenize([1, 19556, 2]) == "Hello"
    assert engine.detokenize([]) == ""


def test_length_is_forced_past_the_end_of_sequence_which_is_not_forbidden(
    engine: Any, chat: Request
) -> None:
    free = ids(engine, replace(chat, force_length=False))
    assert free[-1] == EOS and EOS not in free[:-1] and len(free) < chat.max_tokens
    forced = ids(engine, chat)
    assert len(forced) == chat.max_tokens
    assert forced[: len(free)] == free
    assert len(set(forced[len(free) :])) > 5, "an engine that repeats EOS computes nothing"


def test_stop_ids_end_it_and_are_yielded(engine: Any, chat: Request) -> None:
    request = replace(chat, max_tokens=5)
    free = ids(engine, replace(request, force_length=False))
    stopped = replace(request, force_length=False, stop_ids=frozenset({free[2]}))
    assert ids(engine, stopped) == free[: free.index(free[2]) + 1]
    assert len(ids(engine, replace(stopped, force_length=True))) == request.max_tokens


def test_tokens_come_one_by_one_when_asked_for(engine: Any, chat: Request) -> None:
    ids(engine, replace(chat, max_tokens=2))
    tokens = engine.generate(chat)
    start = time.process_time()
    next(tokens)
    first = time.process_time() - start
    assert len(list(tokens)) == chat.max_tokens - 1
    assert first < 0.5 * (time.process_time() - start)


def test_closing_the_iterator_cancels_and_leaves_no_trace(engine: Any, chat: Request) -> None:
    request = replace(chat, max_tokens=6)
    whole = ids(engine, request)
    tokens = engine.generate(request)
    assert [next(tokens).id for _ in range(3)] == whole[:3]
    tokens.close()
    with pytest.raises(StopIteration):
        next(tokens)
    assert ids(engine, request) == whole


def test_a_split_character_arrives_whole(engine: Any) -> None:
    request = Request(tuple(engine.tokenize("漢字😀" * 8)), max_tokens=24)
    tokens: list[Token] = list(engine.generate(request))
    text = "".join(token.text for token in tokens)
    assert text == engine.detokenize([token.id for token in tokens])
    assert "漢字😀" in text and "\ufffd" not in text[:-1]
    assert any(not token.text for token in tokens)


def test_half_a_character_at_the_end_is_replaced(engine: Any) -> None:
    request = Request(tuple(engine.tokenize("漢字😀" * 8)), max_tokens=24)
    tokens = list(engine.generate(request))
    split = next(i for i, token in enumerate(tokens) if not token.text)
    short = list(engine.generate(replace(request, max_tokens=split + 1)))
    assert [token.id for token in short] == [token.id for token in tokens[: split + 1]]
    assert short[-1].text.endswith("\ufffd")


def test_the_seed_decides(engine: Any, chat: Request) -> None:
    request = replace(chat, max_tokens=6)
    runs = [ids(engine, request, temperature=1.5, seed=seed) for seed in (7, 7, 8, 9)]
    assert runs[0] == runs[1]
    assert len({tuple(run) for run in runs}) == 3


def test_sampling_parameters_are_honoured(engine: Any, chat: Request) -> None:
    request = replace(chat, max_tokens=6)
    greedy = ids(engine, request)
    hot = {"temperature": 1.5, "seed": 7}
    assert ids(engine, request) == greedy
    assert ids(engine, request, **hot) != greedy
    assert ids(engine, request, **hot, top_k=1) == greedy
    assert ids(engine, request, **hot, top_p=1e-6) == greedy
    assert ids(engine, request, temperature=1e-3, seed=7) == greedy
    assert ids(engine, request, repetition_penalty=3.0) != greedy


@pytest.mark.parametrize(("filter", "most"), [({"top_k": 3}, 3), ({"top_p": 0.5}, 7)])
def test_a_filter_alone_confines_the_draws(
    engine: Any, chat: Request, filter: dict[str, float], most: int
) -> None:
    """The nucleus of 0.5 has five tokens here. onnxruntime-genai drops top_p beside top_k 0."""
    request = replace(chat, max_tokens=1)
    drawn = {ids(engine, request, temperature=1.5, seed=s, **filter)[0] for s in range(14)}
    assert 1 < len(drawn) <= most


def test_the_repetition_penalty_sees_the_prompt(engine: Any) -> None:
    request = Request(
        tuple(engine.tokenize("one two three four" + " one two three four" * 5)), max_tokens=3
    )
    plain = ids(engine, request)
    assert set(plain) <= set(request.prompt_ids)
    assert ids(engine, request, repetition_penalty=10.0)[0] not in request.prompt_ids


def test_min_p_is_honoured_or_refused(engine: Any, chat: Request) -> None:
    request = replace(chat, max_tokens=6)
    sampling = Sampling(temperature=1.5, seed=7, min_p=0.9999)
    if engine.name == "onnx":
        with pytest.raises(Unsupported, match="min_p"):
            next(engine.generate(replace(request, sampling=sampling)))
    else:
        assert ids(engine, replace(request, sampling=sampling)) == ids(engine, request)


def test_a_seed_beyond_the_engines_range_is_refused(engine: Any, chat: Request) -> None:
    for seed in (-1, 2**63):
        with pytest.raises(Unsupported, match="seed"):
            ids(engine, chat, temperature=1.0, seed=seed)


@pytest.mark.parametrize(
    ("prompt", "new", "said"),
    [
        ((), 4, "empty"),
        ((5,) * 250, 7, "250 prompt tokens and 7 new .* context of 256"),
        ((5, 49152), 4, "49152 .* vocabulary of 49152"),
        ((-1, 5), 4, "-1 .* vocabulary"),
        ((5,), 0, "max_tokens"),
    ],
)
def test_impossible_requests_fail_before_the_first_token(
    engine: Any, chat: Request, prompt: tuple[int, ...], new: int, said: str
) -> None:
    with pytest.raises(GenerationFailed, match=said):
        next(engine.generate(Request(prompt, new)))
    assert len(ids(engine, replace(chat, max_tokens=2))) == 2


def test_the_whole_context_can_be_used(engine: Any) -> None:
    assert len(ids(engine, Request((5,) * 250, 6))) == 6


def test_every_prompt_token_is_evaluated_unless_reuse_is_asked_for(
    engine: Any, chat: Request
) -> None:
    request = replace(chat, max_tokens=4)
    plain = ids(engine, request)
    for _ in range(2):
        assert ids(engine, request) == plain
        assert engine.claims()["prefill_tokens"] == len(chat.prompt_ids)
    reuse = replace(request, reuse_prefix=True)
    if engine.name != "llamacpp":
        with pytest.raises(Unsupported, match="reuse_prefix"):
            next(engine.generate(reuse))
        return
    assert ids(engine, reuse) == plain
    assert engine.claims()["prefill_tokens"] == 1
    longer = replace(reuse, prompt_ids=(*chat.prompt_ids, *plain[:2], 198, 198, 198))
    ids(engine, longer)
    assert engine.claims()["prefill_tokens"] == 3
    ids(engine, request)
    assert engine.claims()["prefill_tokens"] == len(chat.prompt_ids)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_bad_model_names_its_path(adapter: Callable[[], Any], tmp_path: Path) -> None:
    backend = adapter()
    (format,) = backend.formats
    broken = tmp_path / "broken"
    if format == "gguf":
        broken.write_bytes(b"GGUF" + bytes(64))
    else:
        broken.mkdir()
        (broken / "config.json").write_text('{"model_type": "llama"}')
        (broken / "genai_config.json").write_text(
            '{"model": {"context_length": 256, "vocab_size": 4, "type": "llama"}}'
        )
    for path in (tmp_path / "missing", broken):
        with pytest.raises(LoadFailed, match=path.name) as failure:
            backend.load(Artifact("m", "a", format, path), OPTIONS)
        assert failure.value.path == str(path)
    with pytest.raises(GenerationFailed, match="no model"):
        next(backend.generate(Request((1,), 1)))
    backend.close()


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize(
    "change",
    [{"extra": {"bogus": 1}}, {"device": "tpu"}, {"context": 10**6}],
    ids=["extra", "device", "context"],
)
def test_options_it_cannot_honour_are_refused(
    adapter: Callable[[], Any], change: dict[str, Any], tiny_for: Callable[[str], Artifact]
) -> None:
    backend = adapter()
    with pytest.raises(Unsupported):
        backend.load(tiny_for(*backend.formats), replace(OPTIONS, **change))
    backend.close()


def test_mapping_is_a_choice_in_llamacpp_only(artifact_for: Callable[[str], Artifact]) -> None:
    for adapter in (OnnxGenAI, Transformers):
        backend: Any = adapter()
        for change in ({"mmap": False}, {"mlock": True}):
            with pytest.raises(Unsupported, match="mmap, mlock"):
                backend.load(artifact_for(*backend.formats), replace(OPTIONS, **change))
    artifact = artifact_for("gguf")
    mapped = {}
    for mmap in (True, False):
        llama = LlamaCpp()
        llama.load(artifact, replace(OPTIONS, mmap=mmap))
        mapped[mmap] = artifact.path.resolve().name in Path("/proc/self/maps").read_text()
        llama.close()
    assert mapped == {True: True, False: False}


def busy_threads(work: Callable[[], object]) -> int:
    """How many threads of this process did a fair share of the CPU time of `work`."""

    def ticks() -> dict[str, int]:
        stats = {
            task.name: (task / "stat").read_text() for task in Path("/proc/self/task").iterdir()
        }
        fields = {name: stat.rpartition(")")[2].split() for name, stat in stats.items()}
        return {name: int(field[11]) + int(field[12]) for name, field in fields.items()}

    before = ticks()
    work()
    used = [after - before.get(name, 0) for name, after in ticks().items()]
    return sum(each > 0.3 * max(used) for each in used)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_threads_asked_for_do_the_work(
    adapter: Callable[[], Any], artifact_for: Callable[[str], Artifact]
) -> None:
    backend = adapter()
    request = Request(tuple(range(5, 105)), 4)
    for threads in (1, 2):
        backend.load(artifact_for(*backend.formats), replace(OPTIONS, threads=threads))
        assert busy_threads(lambda: ids(backend, request)) == threads
    backend.close()


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_it_loads_again_after_close(
    adapter: Callable[[], Any], tiny_for: Callable[[str], Artifact]
) -> None:
    backend = adapter()
    runs = []
    for _ in range(2):
        backend.load(tiny_for(*backend.formats), OPTIONS)
        runs.append(ids(backend, Request((5, 6, 7), 3)))
        left = backend.generate(Request((5, 6, 7), 3))
        next(left)
        backend.close()
        backend.close()
        with pytest.raises(GenerationFailed):
            list(left)
    assert runs[0] == runs[1]


def test_it_renders_a_chat_and_feeds_what_it_wrote(engine: Any) -> None:
    asked = [{"role": "user", "content": "What is the capital of France?"}]
    found = engine.render(asked)
    assert found.text.endswith(CHAT)
    assert list(found.ids) == engine.tokenize(found.text)
    assert "".join(found.pieces) == found.text
    assert found.pieces[0] == "<|im_start|>"


def test_template_variables_are_taken_or_refused(engine: Any) -> None:
    asked = [{"role": "user", "content": "Hello"}]
    if engine.name == "transformers":
        assert engine.render(asked, variables={"unused": "x"}) == engine.render(asked)
    else:
        with pytest.raises(Unsupported, match="variables"):
            engine.render(asked, variables={"unused": "x"})


def test_logits_are_those_that_the_next_token_is_taken_from(engine: Any, chat: Request) -> None:
    assert isinstance(engine, Scores)
    request = replace(chat, max_tokens=8)
    made = ids(engine, request)
    rows = engine.logits([*chat.prompt_ids, *made[:-1]])
    assert rows.dtype.name == "float32" and rows.shape[0] == len(chat.prompt_ids) + len(made) - 1
    wanted = rows[len(chat.prompt_ids) - 1 :]
    best = wanted.argmax(axis=1)
    gaps = [row.max() - row[token] for row, token in zip(wanted, made, strict=True)]
    assert max(gaps) < 0.1, (best, made)
    assert ids(engine, request) == made
    with pytest.raises(GenerationFailed, match="outside the vocabulary"):
        engine.logits([1, 10**6, 2])
