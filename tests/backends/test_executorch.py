"""ExecuTorch: what needs no engine always runs; the engine's part wants its environment."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backends import executorch as adapter
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
from backends.executorch import ExecuTorch
from backends.executorch_program import facts, incomplete
from backends.executorch_text import Stream, Text
from harness import models

torch = pytest.importorskip("torch", reason="install it: pip install 'bakeoff[transformers]'")

VOCABULARY = 16
CONTEXT, PIECE, END = 40, 7, 5


class Program:
    """Of a language model that says, whatever it is given, the last id plus one."""

    def __init__(self, **changes: Any) -> None:
        self.calls: list[tuple[list[int], int]] = []
        self.constants: dict[str, list[Any]] = {
            "use_kv_cache": [True],
            "get_max_context_len": [CONTEXT],
            "get_max_seq_len": [PIECE + 1],
            "get_vocab_size": [VOCABULARY],
            "get_eos_ids": [END],
            **changes,
        }

    def load_method(self, name: str) -> Any:
        if name == "forward":
            return SimpleNamespace(execute=self.forward)
        return SimpleNamespace(execute=lambda _: self.constants[name])

    def forward(self, given: list[Any]) -> list[Any]:
        ids, position = given[0][0].tolist(), int(given[1][0])
        self.calls.append((ids, position))
        logits = torch.full((1, VOCABULARY), -1.0)
        logits[0, (ids[-1] + 1) % VOCABULARY] = 2.0
        return [logits]


class Letters:
    """A tokenizer that can't make text of a part of a character, as ExecuTorch's can't."""

    def decode(self, token: int, skip_special_tokens: bool) -> str:
        if token == VOCABULARY - 1:
            raise RuntimeError("DecodeFailure")
        parts = "é".encode()
        return parts[token : token + 1].decode() if token < 2 else chr(ord("a") + token)

    def encode(self, text: str, bos: int, eos: int) -> list[int]:
        return [ord(c) - ord("a") for c in text]


@pytest.fixture
def text() -> Text:
    made = Text.__new__(Text)
    made._tokenizer = Letters()
    return made


@pytest.fixture
def program() -> Program:
    return Program()


@pytest.fixture
def loaded(
    program: Program, text: Text, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ExecuTorch:
    pool = [2]
    library = SimpleNamespace(
        _unsafe_reset_threadpool=lambda count: pool.__setitem__(0, count),
        _threadpool_get_thread_count=lambda: pool[0],
    )
    runtime = SimpleNamespace(load_program=lambda _: program)
    monkeypatch.setattr(adapter, "_import", lambda: (torch, runtime, library))
    monkeypatch.setattr(adapter, "Text", lambda _: text)
    (tmp_path / "model.pte").write_bytes(head(100, 0, 0) + bytes(60))
    backend = ExecuTorch()
    backend.load(artifact(tmp_path), LoadOptions(context=CONTEXT - 2, threads=1))
    return backend


def artifact(path: Path) -> Artifact:
    return Artifact("m", "a", "pte", path)


def head(program: int, begin: int, segments: int) -> bytes:
    return bytes(4) + b"ET12" + struct.pack("<4sIQQQ", b"eh00", 32, program, begin, segments)


def ask(backend: ExecuTorch, prompt: tuple[int, ...], tokens: int, **more: Any) -> list[int]:
    return [token.id for token in backend.generate(Request(prompt, tokens, **more))]


def test_without_the_engine_probe_says_how_to_get_it() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); sys.modules['executorch'] = None\n"
        "from backends.executorch import ExecuTorch as B\n"
        "a = B().probe()\nassert not a.available and a.version is None\n"
        "print(a.reason)\nprint(a.remedy)"
    )
    root = str(Path(__file__).parents[2])
    told = [sys.executable, "-c", code, root]
    done = subprocess.run(told, capture_output=True, text=True, cwd="/", timeout=120, check=True)
    reason, remedy = done.stdout.splitlines()
    assert "not installed" in reason
    assert remedy == "bakeoff engines install executorch"


def test_without_the_engine_load_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "executorch", None)
    with pytest.raises(Unavailable) as error:
        ExecuTorch().load(artifact(tmp_path), LoadOptions(64, 1))
    assert error.value.remedy == "bakeoff engines install executorch"


@pytest.mark.parametrize(
    "options",
    [
        LoadOptions(64, 1, device="cuda"),
        LoadOptions(64, 1, mmap=True),
        LoadOptions(64, 1, mlock=False),
        LoadOptions(64, 1, extra={"dtype": "f16"}),
    ],
)
def test_options_that_the_runtime_lacks_are_refused(tmp_path: Path, options: LoadOptions) -> None:
    with pytest.raises(Unsupported):
        ExecuTorch().load(artifact(tmp_path), options)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no ExecuTorch program"),
        (b"a text, and no program at all" * 9, "no ExecuTorch program"),
        (bytes(4) + b"ET12" + bytes(40), "without an extended header"),
        (head(100, 0, 0) + bytes(59), "cut off: 99 of 100"),
        (head(48, 64, 50) + bytes(60), "cut off: 100 of 114"),
        (head(100, 0, 0) + bytes(60), None),
        (head(48, 64, 36) + bytes(60), None),
    ],
)
def test_a_file_that_is_no_whole_program_is_told(
    tmp_path: Path, content: bytes, reason: str | None
) -> None:
    path = tmp_path / "model.pte"
    path.write_bytes(content)
    found = incomplete(path)
    assert found is None if reason is None else found is not None and reason in found


def test_a_missing_file_is_a_load_failure(loaded: ExecuTorch, tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match=r"nowhere.*No such file"):
        loaded.load(artifact(tmp_path / "nowhere"), LoadOptions(8, 1))


def test_the_programs_constants_are_read() -> None:
    found = facts(Program(get_eos_ids=[2, 0]))
    assert (found.context, found.piece, found.vocabulary) == (CONTEXT, PIECE, VOCABULARY)
    assert found.ends == {0, 2}
    with pytest.raises(KeyError, match="use_kv_cache"):
        facts(Program(use_kv_cache=[False]))


def test_a_context_beyond_the_exported_one_is_refused(loaded: ExecuTorch, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=f"exported for {CONTEXT}"):
        loaded.load(artifact(tmp_path), LoadOptions(CONTEXT + 1, 1))


def test_every_token_goes_in_once_at_its_position(loaded: ExecuTorch, program: Program) -> None:
    prompt = (3, 1, 4, 1, 5, 9, 2, 6, 5)
    assert ask(loaded, prompt, 3) == [6, 7, 8]
    assert program.calls == [
        ([*prompt[:PIECE]], 0),
        ([*prompt[PIECE:]], PIECE),
        ([6], 9),
        ([7], 10),
    ]


def test_a_forced_length_goes_on_past_the_end_and_else_it_stops(loaded: ExecuTorch) -> None:
    assert ask(loaded, (3,), 4) == [4, END, 6, 7]
    assert ask(loaded, (3,), 4, force_length=False) == [4, END]
    assert ask(loaded, (7,), 4, force_length=False, stop_ids=frozenset({9})) == [8, 9]


def test_a_request_whose_cache_another_one_took_ends(loaded: ExecuTorch) -> None:
    first = loaded.generate(Request((3,), 4))
    assert next(iter(first)).id == 4
    assert ask(loaded, (8,), 1) == [9]
    with pytest.raises(GenerationFailed, match="taken the cache"):
        next(iter(first))


def test_too_much_and_foreign_ids_are_refused(loaded: ExecuTorch) -> None:
    for prompt, tokens in (((1,) * CONTEXT, 1), ((1, VOCABULARY), 1), ((1, -1), 1), ((), 1)):
        with pytest.raises(GenerationFailed):
            ask(loaded, prompt, tokens)
    with pytest.raises(GenerationFailed):
        loaded.logits([1, VOCABULARY])
    with pytest.raises(Unsupported):
        ask(loaded, (1,), 1, reuse_prefix=True)


def test_logits_are_one_row_per_id(loaded: ExecuTorch) -> None:
    rows = loaded.logits([3, 9, 1])
    assert (rows.shape, str(rows.dtype)) == ((3, VOCABULARY), "float32")
    assert rows.argmax(-1).tolist() == [4, 10, 2]


def test_draws_are_those_of_generate(loaded: ExecuTorch) -> None:
    hot = Sampling(temperature=3.0, top_k=9, repetition_penalty=1.2)
    drawn = loaded.draw((3, 4), hot, range(8))
    made = [
        ask(loaded, (3, 4), 1, sampling=Sampling(3.0, 9, repetition_penalty=1.2, seed=seed))[0]
        for seed in range(8)
    ]
    assert drawn == made
    assert len(set(drawn)) > 1


def test_a_character_is_held_back_until_it_is_whole(text: Text) -> None:
    stream = Stream(text)
    assert [stream.add(token, False) for token in (0, 1, 2)] == ["", "é", "c"]
    assert stream.add(0, True) == "\ufffd"
    assert text.decode([0, 1, 3]) == "éd"


def test_a_row_without_a_token_has_no_text(text: Text) -> None:
    assert text.decode([2, VOCABULARY - 1, 3]) == "cd"


@pytest.fixture(scope="module")
def tiny(own_python: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest for a model of two layers with random weights, exported by the script: about a
    minute."""
    source = models.prepare(models.find("tiny-chatml", Path.cwd()), "hf").artifact.path
    target = tmp_path_factory.mktemp("executorch") / "tiny"
    script = Path(models.__file__).parent / "convert" / "executorch_export.py"
    options = {"precision": "f32", "context": 512}
    job = json.dumps({"source": str(source), "target": str(target), "options": options})
    done = subprocess.run(
        [own_python("executorch"), str(script), job],
        capture_output=True,
        text=True,
        timeout=1800,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1])["versions"]["executorch"] != "missing"
    manifest = target.with_suffix(".yaml")
    artifacts = {
        name: {"format": name, "precision": "f32", "source": {"path": str(path)}}
        for name, path in (("hf", source), ("pte", target))
    }
    told = {
        "id": "tiny",
        "name": "Tiny",
        "license": "MIT",
        "context_length": 512,
        "tokenizer": "hf",
        "artifacts": artifacts,
    }
    manifest.write_text(json.dumps(told))  # YAML holds JSON
    return manifest


@pytest.mark.engine
def test_the_engine_conforms(conformance_of: Callable[..., dict[str, str]], tiny: Path) -> None:
    checks = conformance_of("executorch", tiny)
    assert checks["scores"] == checks["draws"] == checks["length_forced"] == "passed"
