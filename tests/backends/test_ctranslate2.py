"""CTranslate2: what the adapter does with the engine, and what the engine does in its own
environment."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from backends import ctranslate2 as adapter
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
from backends.ctranslate2 import CTranslate2
from backends.transformers import Transformers
from harness.models import conversions

ROOT = Path(__file__).parents[2]
OPTIONS = LoadOptions(context=64, threads=2)
TOKENS = [f"t{i}" for i in range(32)]
END = 9


class Generator:
    """Says the last id plus one, in a thread of its own, until the callback or the length ends it.

    `computed` are the ids it has made; `breaks` is what it raises after the first.
    """

    compute_type = "int8_float32"

    def __init__(self, path: str, **told: Any) -> None:
        self.path, self.told, self.computed = path, told, list[int]()
        self.breaks: Exception | None = None
        self.given: dict[str, Any] = {}

    def generate_batch(self, prompts: list[list[str]], **given: Any) -> list[Future[None]]:
        self.given = {"prompts": prompts, **given}
        done: Future[None] = Future()

        def run() -> None:
            token = TOKENS.index(prompts[0][-1])
            for _ in range(given["max_length"]):
                token += 1
                self.computed.append(token)
                if given["callback"](SimpleNamespace(token_id=token)):
                    break
                if self.breaks:
                    return done.set_exception(self.breaks)
            return done.set_result(None)

        threading.Thread(target=run, daemon=True).start()
        return [done]


@pytest.fixture
def folder(tmp_path: Path) -> Artifact:
    (tmp_path / "config.json").write_text(json.dumps({"eos_token": TOKENS[END]}))
    (tmp_path / "vocabulary.json").write_text(json.dumps(TOKENS))
    return Artifact("m", "a", "ctranslate2", tmp_path)


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    tokenizer = SimpleNamespace(decode=lambda ids, **_: "".join(f" {i}" for i in ids))
    modules = {
        "ctranslate2": SimpleNamespace(Generator=Generator),
        "tokenizers": SimpleNamespace(Tokenizer=SimpleNamespace(from_file=lambda _: tokenizer)),
    }
    monkeypatch.setattr(adapter, "import_module", modules.__getitem__)


@pytest.fixture
def loaded(folder: Artifact) -> Iterator[CTranslate2]:
    backend = CTranslate2()
    backend.load(folder, OPTIONS)
    yield backend
    backend.close()


def test_without_the_engine_one_line_says_what_makes_it_there(
    folder: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(adapter, "import_module", missing)
    found = CTranslate2().probe()
    assert not found.available and "not installed" in (found.reason or "")
    assert found.remedy == "bakeoff engines install ctranslate2"
    with pytest.raises(Unavailable):
        CTranslate2().load(folder, OPTIONS)


@pytest.mark.parametrize(
    "change",
    [
        {"mmap": True},
        {"mlock": False},
        {"device": "cuda"},
        {"extra": {"beam_size": 4}},
        {"extra": {"compute_type": "float32"}},
        {"extra": {"compute_type": "auto"}},
    ],
    ids=str,
)
def test_options_it_cannot_honour_are_refused(folder: Artifact, change: dict[str, Any]) -> None:
    with pytest.raises(Unsupported):
        CTranslate2().load(folder, LoadOptions(**{"context": 64, "threads": 1, **change}))


def test_every_choice_is_told_to_the_engine(loaded: CTranslate2, folder: Artifact) -> None:
    told = loaded._generator.told
    assert (told["intra_threads"], told["inter_threads"], told["device"]) == (2, 1, "cpu")
    assert told["compute_type"] == "default"
    loaded.load(folder, LoadOptions(64, 1, extra={"compute_type": "int8"}))
    assert loaded._generator.told["compute_type"] == "int8"


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("vocabulary.json", json.dumps(["a", "b", "a"])),
        ("vocabulary.json", "[]"),
        ("vocabulary.json", "{"),
        ("config.json", "{}"),
        ("config.json", None),
    ],
)
def test_a_folder_that_does_not_tell_the_ids_is_refused(
    folder: Artifact, file: str, text: str | None
) -> None:
    path = folder.path / file
    path.unlink()
    if text is not None:
        path.write_text(text)
    with pytest.raises(LoadFailed, match=folder.path.name):
        CTranslate2().load(folder, OPTIONS)


def test_ids_go_in_as_their_strings_and_no_end_is_told(loaded: CTranslate2) -> None:
    made = [token.id for token in loaded.generate(Request((3, 4, 6), 5))]
    assert made == [7, 8, 9, 10, 11]
    given = loaded._generator.given
    assert given["prompts"] == [["t3", "t4", "t6"]]
    assert (given["end_token"], given["include_prompt_in_result"]) == ([], False)


def test_it_ends_at_its_own_end_or_at_a_stop_id(loaded: CTranslate2) -> None:
    assert [t.id for t in loaded.generate(Request((6,), 6, force_length=False))] == [7, 8, END]
    stopped = Request((6,), 6, force_length=False, stop_ids=frozenset({8}))
    assert [t.id for t in loaded.generate(stopped)] == [7, 8]


def test_nothing_is_computed_before_it_is_asked_for(loaded: CTranslate2) -> None:
    generator = loaded._generator
    tokens = loaded.generate(Request((6,), 6))
    for count in (1, 2, 3):
        next(tokens)
        assert not generator.given["callback"].__self__._result.done()
        assert len(generator.computed) == count
    tokens.close()
    assert generator.computed == [7, 8, 9]
    assert generator.given["callback"].__self__._result.done()


def test_what_breaks_in_the_engine_is_told(loaded: CTranslate2) -> None:
    loaded._generator.breaks = RuntimeError("out of memory")
    tokens = loaded.generate(Request((6,), 6))
    next(tokens)
    with pytest.raises(GenerationFailed, match="out of memory"):
        next(tokens)


def test_a_closed_backend_goes_on_with_no_request(loaded: CTranslate2) -> None:
    tokens = loaded.generate(Request((6,), 6))
    next(tokens)
    loaded.close()
    with pytest.raises(GenerationFailed):
        list(tokens)
    with pytest.raises(GenerationFailed, match="no model"):
        next(loaded.generate(Request((6,), 6)))


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (Request((6,), 1, sampling=Sampling(temperature=0.5)), "temperature"),
        (Request((6,), 1, sampling=Sampling(repetition_penalty=1.1)), "repetition_penalty"),
        (Request((6,), 1, reuse_prefix=True), "reuse_prefix"),
    ],
    ids=["temperature", "penalty", "prefix"],
)
def test_what_the_engine_cannot_do_is_refused_before_it_begins(
    loaded: CTranslate2, request_: Request, said: str
) -> None:
    with pytest.raises(Unsupported, match=said):
        next(loaded.generate(request_))
    assert loaded._generator.given == {}


PROGRAM = f"""
import json, sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
import numpy
from backends.api import *
from backends.ctranslate2 import CTranslate2
backend = CTranslate2()
backend.load(Artifact("m", "a", "ctranslate2", Path(sys.argv[1])), LoadOptions(64, 1))
ids = json.loads(sys.argv[2])
numpy.save(sys.argv[3], backend.logits(ids))
made = [token.id for token in backend.generate(Request(tuple(ids), 12))]
end = frozenset(made[:1])
again = [token.id for token in backend.generate(Request(tuple(ids), 12, stop_ids=end))]
ended = [token.id for token in backend.generate(Request(tuple(ids), 12, False, stop_ids=end))]
compute_type = backend._generator.compute_type
backend.close()
print("SEEN" + json.dumps([backend.probe().version, compute_type, made, again, ended]))
"""


@pytest.mark.engine
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("precision", "compute_type", "within"),
    [("f32", "float32", 1e-4), ("int8", "int8_float32", 0.1)],
)
def test_the_engine_computes_the_logits_of_the_model_it_converted(
    seen_in: Callable[..., Any],
    tiny_for: Callable[[str], Artifact],
    tmp_path: Path,
    precision: str,
    compute_type: str,
    within: float,
) -> None:
    source, target, rows = tiny_for("hf").path, tmp_path / "model", tmp_path / "rows.npy"
    given = [5, 90, 17, 33, 5, 61, 12]
    conversions.convert(
        conversions.CONVERSIONS["hf-ctranslate2"],
        source,
        target,
        {"precision": precision},
        scratch=tmp_path,
        log=tmp_path / "log",
    )
    seen = seen_in("ctranslate2", PROGRAM, target, json.dumps(given), rows)
    version, got, made, again, ended = seen
    assert version and got == compute_type
    assert len(made) == 12 and again == made and ended == made[:1]
    reference = Transformers()
    reference.load(Artifact("m", "a", "hf", source), OPTIONS)
    wanted = reference.logits(given)
    found = np.load(rows)
    assert found.shape == wanted.shape and found.dtype == np.float32
    assert np.abs(found - wanted).max() < within * np.ptp(wanted)
    if precision == "f32":
        assert made == [t.id for t in reference.generate(Request(tuple(given), 12))]
    reference.close()
