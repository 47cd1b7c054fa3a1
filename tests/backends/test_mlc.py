"""The adapter of MLC-LLM, against a fake engine: the real one's wheels are on no package index.

What the fake holds the adapter to is in `mlc_fake/__init__.py`; docs/backends/mlc.md says what was
run against the real one.
"""

from __future__ import annotations

import importlib
import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends import mlc_folder
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
from backends.conformance_suite import ConformanceSuite
from backends.mlc import MLC

pytestmark = pytest.mark.usefixtures("fake_mlc")
OPTIONS = LoadOptions(context=256, threads=1)
PROMPT = tuple(b"The capital of France")


def made() -> list[int]:
    return importlib.import_module("mlc_llm.engine").made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    importlib.import_module("mlc_llm.model").write(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def backend(folder: Path) -> Iterator[MLC]:
    backend = MLC()
    backend.load(artifact(folder), OPTIONS)
    yield backend
    backend.close()


def artifact(path: Path) -> Artifact:
    return Artifact("fake", "mlc-fake", "mlc", path)


def ids(backend: MLC, prompt: tuple[int, ...] = PROMPT, **how: Any) -> list[int]:
    return [token.id for token in backend.generate(Request(prompt, **{"max_tokens": 8, **how}))]


class TestConformanceOnTheFake(ConformanceSuite):
    backend = MLC

    @classmethod
    def model(cls) -> Artifact:
        path = Path(cls._scratch.name) / "model"
        importlib.import_module("mlc_llm.model").write(path)
        return artifact(path)


def test_without_the_engine_one_line_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setitem(sys.modules, "mlc_llm", None)
    found = MLC().probe()
    assert not found.available and "mlc-llm is not installed" in str(found.reason)
    assert found.remedy == "bakeoff engines install mlc --find-links https://mlc.ai/wheels"
    with pytest.raises(Unavailable, match="not installed"):
        MLC().load(artifact(folder), OPTIONS)


def test_a_library_that_does_not_load_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(name: str, *_: object) -> object:
        raise RuntimeError("Cannot find libraries: libmlc_llm.so")

    monkeypatch.delitem(sys.modules, "mlc_llm")
    monkeypatch.setattr("builtins.__import__", fails)
    found = MLC().probe()
    monkeypatch.undo()
    assert found.reason == "mlc-llm does not load: Cannot find libraries: libmlc_llm.so"


def test_probe_says_version_and_the_devices_that_are_there() -> None:
    found = MLC().probe()
    assert found.version == "0.20.dev0+fake" and found.devices == ("cpu",)
    assert found.build["tvm"] == "0.0.fake"


def test_threads_are_told_before_the_engine_is_made(backend: MLC, folder: Path) -> None:
    threads = importlib.import_module("mlc_llm.engine").threads
    assert threads[-1] == "1"
    backend.load(artifact(folder), replace(OPTIONS, threads=3))
    assert threads[-1] == "3"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"extra": {"mode": "server"}}, "mode"),
        ({"device": "cuda"}, "TVM does not find it"),
        ({"device": "npu"}, "is run on cpu"),
        ({"mmap": True}, "mmap"),
        ({"context": 513}, "made for 512"),
    ],
)
def test_options_it_cannot_honour_are_refused(
    folder: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(Unsupported, match=said):
        MLC().load(artifact(folder), replace(OPTIONS, **change))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("mlc-chat-config.json", b"{}", "KeyError"),
        ("mlc-chat-config.json", b"no JSON", "JSONDecodeError"),
        ("params_shard_0.bin", b"cut", "3 bytes, tensor-cache.json says 65536"),
        (
            "tensor-cache.json",
            b'{"records": [{"dataPath": "../x", "nbytes": 1}]}',
            "is not in the folder",
        ),
        ("lib.so", b"\x7fELF cut", "file too short"),
        ("lib.so", None, "no compiled model library"),
        ("tensor-cache.json", None, "no tensor-cache.json"),
        ("tokenizer.json", None, "FileNotFoundError"),
    ],
)
def test_a_damaged_folder_is_refused_before_the_engine_sees_it(
    folder: Path, name: str, content: bytes | None, said: str
) -> None:
    """Else the fake raises WouldHang, as the real engine would wait for ever."""
    (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
    with pytest.raises(LoadFailed, match=said) as failure:
        MLC().load(artifact(folder), OPTIONS)
    assert failure.value.path == str(folder)


def test_a_sliding_window_is_refused(folder: Path) -> None:
    config = json.loads((folder / "mlc-chat-config.json").read_text())
    told = {**config, "context_window_size": -1, "sliding_window_size": 64}
    (folder / "mlc-chat-config.json").write_text(json.dumps(told))
    with pytest.raises(LoadFailed, match="sliding window"):
        MLC().load(artifact(folder), OPTIONS)


def test_the_older_name_of_the_index_is_read(folder: Path) -> None:
    (folder / "tensor-cache.json").rename(folder / "ndarray-cache.json")
    assert mlc_folder.read(folder).context == 512


@pytest.mark.parametrize(
    ("sampling", "said"),
    [
        (Sampling(temperature=1.0, top_k=5), "top_k"),
        (Sampling(temperature=1.0, min_p=0.1), "min_p"),
        (Sampling(repetition_penalty=1.1), "repetition_penalty"),
        (Sampling(temperature=1.0, seed=2**31), "seed"),
    ],
)
def test_sampling_that_it_lacks_is_refused_before_the_first_token(
    backend: MLC, sampling: Sampling, said: str
) -> None:
    before = len(made())
    with pytest.raises(Unsupported, match=said):
        ids(backend, sampling=sampling)
    assert len(made()) == before


def test_tokens_without_text_are_not_lost(backend: MLC) -> None:
    """MLC-LLM's own completions show no chunk for half a character."""
    tokens = list(backend.generate(Request(PROMPT, 64)))
    assert len(tokens) == 64
    assert [token.id for token in tokens] == made()[-64:]
    assert any(not token.text for token in tokens)


def test_the_stop_token_is_yielded_and_the_engine_stops(backend: MLC) -> None:
    free = ids(backend)
    stop = free[3]
    stopped = ids(backend, force_length=False, stop_ids=frozenset({stop}), max_tokens=200)
    assert stopped == free[: free.index(stop) + 1]
    after = len(made())
    assert ids(backend) == free
    assert len(made()) <= after + len(free) + 3, "the stopped request went on"


def test_a_closed_request_is_aborted_in_the_engine(backend: MLC) -> None:
    tokens = backend.generate(Request(PROMPT, 200))
    next(tokens)
    before = len(made())
    tokens.close()  # type: ignore[attr-defined]
    assert ids(backend, max_tokens=2) == ids(backend, max_tokens=2)
    assert len(made()) <= before + 2 + 4
    assert backend.claims()["decode_tokens"] == 1


def test_a_prompt_that_nearly_fills_the_context_is_admitted(backend: MLC) -> None:
    assert len(ids(backend, PROMPT * 12, max_tokens=4)) == 4
    assert len(ids(backend, (65,) * 255, max_tokens=1)) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_of_the_engine_that_dies_ends_the_request(backend: MLC) -> None:
    with pytest.raises(GenerationFailed, match="told to break"):
        ids(backend, (7, 8, 9))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_of_somebody_else_that_dies_ends_nothing(backend: MLC) -> None:
    tokens = backend.generate(Request(PROMPT, 20))
    next(tokens)
    other = threading.Thread(target=lambda: 1 / 0)
    other.start()
    other.join()
    assert len(list(tokens)) == 19


def test_closing_in_the_middle_ends_the_request(backend: MLC) -> None:
    tokens = backend.generate(Request(PROMPT, 50))
    next(tokens)
    backend.close()
    with pytest.raises(GenerationFailed, match="closed"):
        next(tokens)


def test_another_way_of_streaming_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = importlib.import_module("mlc_llm.engine").EngineState
    monkeypatch.delattr(state, "_async_request_stream_callback_impl")
    with pytest.raises(Unsupported, match="another way"):
        MLC().load(artifact(folder), OPTIONS)


def test_claims_are_the_engines_usage(backend: MLC) -> None:
    ids(backend, max_tokens=5)
    said = backend.claims()
    assert said["prefill_tokens"] == len(PROMPT) and said["decode_tokens"] == 4
    assert said["prefill_ms"] >= 1 and said["decode_ms"] >= 4
    ids(backend, max_tokens=1)
    assert backend.claims()["decode_tokens"] == 0


def test_special_tokens_are_left_out_of_text(backend: MLC) -> None:
    assert backend.tokenize("a<|end|>b") == [97, 256, 98]
    assert backend.detokenize([97, 256, 98]) == "ab"


def test_rendering_shows_text_ids_and_what_is_put_before_them(backend: MLC) -> None:
    found = backend.render([{"role": "user", "content": "Hi"}])
    assert found.text == "<user>Hi\n<assistant>"
    assert found.ids == (256, *found.text.encode()) and found.pieces[:2] == ("<|end|>", "<")
    with pytest.raises(Unsupported, match="variables"):
        backend.render([{"role": "user", "content": "Hi"}], variables={"date": "x"})


def test_memory_of_the_engine_is_given_back(backend: MLC) -> None:
    tvm = importlib.import_module("tvm")
    before = len(tvm.cleared)
    backend.close()
    backend.close()
    assert len(tvm.cleared) == before + 1


def test_spellings_follow_the_tokenizer(tmp_path: Path) -> None:
    vocabulary = {"\u0120the": 1, "<0x0A>": 2, "\u2581the": 3, "\u00e9": 4, "the": 5}
    added = [{"id": 9, "content": "<s>", "special": True}]
    told = {"added_tokens": added, "model": {"vocab": vocabulary}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(told))
    nothing: Any = {"library": tmp_path, "vocabulary": 10, "context": 1, "chunk": 1}
    common = {"path": tmp_path, **nothing, "ends": frozenset(), "special": frozenset()}
    byte_level = mlc_folder.spellings(mlc_folder.Folder(**common, byte_level=True))
    assert byte_level[b" the"] == 1 and byte_level[b"\xe9"] == 4 and byte_level[b"<s>"] == 9
    fallback = mlc_folder.spellings(mlc_folder.Folder(**common, byte_level=False))
    assert fallback[b"\n"] == 2 and fallback[b" the"] == 3 and fallback["é".encode()] == 4


def test_what_two_tokens_share_is_no_spelling(tmp_path: Path) -> None:
    pieces = [["<0x20>", 0.0], ["\u2581", 0.0], ["a\u2581", 0.0], ["a ", 0.0], ["b", 0.0]]
    told = {"added_tokens": [], "model": {"vocab": pieces}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(told))
    folder = mlc_folder.Folder(
        tmp_path, tmp_path, 5, 1, 1, frozenset(), frozenset(), byte_level=False
    )
    assert mlc_folder.spellings(folder) == {b" ": 1, b"b": 4}
