"""MLX: what the adapter does with the engine, and what the engine does in its own environment."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from backends import mlx as adapter
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
from backends.mlx import MLX
from backends.transformers import Transformers

ROOT = Path(__file__).parents[2]
OPTIONS = LoadOptions(context=64, threads=1)
VOCABULARY = 32
END = 9


class Model:
    """Says, whatever it is given, the last id plus one. `fed` are the ids of each call."""

    def __init__(self) -> None:
        self.args = SimpleNamespace(rope_theta=10000)
        self.fed: list[list[int]] = []

    def __call__(self, ids: Any, cache: Any = None) -> Any:
        self.fed.append(ids[0].tolist())
        if cache is not None:
            cache[0].offset += ids.shape[1]
        return np.eye(VOCABULARY, dtype=np.float32)[(ids + 1) % VOCABULARY] * 9


def kept(scores: Any, least: Any) -> Any:
    return np.where(scores < least, -np.inf, scores)


def nucleus(scores: Any, top_p: float) -> Any:
    """Of log-probabilities that add up to 1, as mlx-lm's older versions took them to do."""
    assert np.exp(scores).sum() == pytest.approx(1)
    ranked = np.sort(scores, axis=-1)
    return kept(scores, ranked[np.cumsum(np.exp(ranked), axis=-1) > 1 - top_p].min())


def punished(ids: Any, logits: Any) -> Any:
    """As mlx-lm's own, it writes into what it is given."""
    logits[:, ids] /= 2
    return logits


SAMPLE_UTILS = SimpleNamespace(
    apply_top_k=lambda scores, k: kept(scores, np.sort(scores)[0, -k]),
    apply_top_p=nucleus,
    apply_min_p=lambda scores, p: kept(scores, scores.max() + np.log(p)),
    categorical_sampling=lambda scores, _: scores.argmax(axis=-1),
    make_repetition_penalty=lambda penalty, size: punished,
)


def engine(model: Model, **config: Any) -> Callable[[str], Any]:
    """The modules of MLX and mlx-lm as far as they are used, on numpy."""
    tokenizer = SimpleNamespace(
        eos_token_ids={END}, decode=lambda ids, **_: "".join(f" {i}" for i in ids)
    )
    facts = {"vocab_size": VOCABULARY, "max_position_embeddings": 256, **config}
    nothing = SimpleNamespace(seed=lambda _: None)
    core = SimpleNamespace(
        array=np.array,
        concatenate=np.concatenate,
        argmax=np.argmax,
        logsumexp=lambda x, **how: np.log(np.exp(x).sum(**how)),
        **dict.fromkeys(
            ("eval", "async_eval", "clear_cache", "synchronize", "set_default_device", "Device"),
            lambda *_: None,
        ),
        is_available=lambda device: device == "cpu",
        cpu="cpu",
        gpu="gpu",
        random=nothing,
        float32=np.float32,
    )
    modules = {
        "mlx.core": core,
        "mlx_lm": SimpleNamespace(load=lambda *_, **__: (model, tokenizer, facts)),
        "mlx_lm.models.cache": SimpleNamespace(
            make_prompt_cache=lambda _: [SimpleNamespace(offset=0, state=None)]
        ),
        "mlx_lm.sample_utils": SAMPLE_UTILS,
    }
    return modules.__getitem__


@pytest.fixture
def folder(tmp_path: Path) -> Artifact:
    (tmp_path / "config.json").write_text("{}")
    return Artifact("m", "a", "hf", tmp_path)


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def loaded(model: Model, folder: Artifact, monkeypatch: pytest.MonkeyPatch) -> MLX:
    monkeypatch.setattr(adapter, "import_module", engine(model))
    backend = MLX()
    backend.load(folder, OPTIONS)
    return backend


def test_without_the_engine_one_line_says_what_makes_it_there(
    folder: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(adapter, "import_module", missing)
    found = MLX().probe()
    assert not found.available and "not installed" in (found.reason or "")
    assert found.remedy == "bakeoff engines install mlx"
    with pytest.raises(Unavailable):
        MLX().load(folder, OPTIONS)


def test_a_broken_engine_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Any:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(adapter, "import_module", broken)
    assert "does not load: not allowed" in (MLX().probe().reason or "")


@pytest.mark.parametrize(
    "change",
    [{"mmap": True}, {"mlock": False}, {"extra": {"kv_bits": 4}}, {"device": "gpu"}],
    ids=lambda change: next(iter(change)),
)
def test_options_it_cannot_honour_are_refused(
    change: dict[str, Any], folder: Artifact, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "import_module", engine(model))
    with pytest.raises(Unsupported):
        MLX().load(folder, LoadOptions(**{"context": 64, "threads": 1, **change}))


def test_a_context_beyond_the_models_is_refused(
    folder: Artifact, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "import_module", engine(model, max_position_embeddings=63))
    with pytest.raises(Unsupported, match="made for 63"):
        MLX().load(folder, OPTIONS)


@pytest.mark.parametrize("config", [{"vocab_size": None}, {"vocab_size": "many"}])
def test_a_model_that_does_not_tell_its_vocabulary_is_refused(
    config: dict[str, Any], folder: Artifact, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "import_module", engine(model, **config))
    backend = MLX()
    with pytest.raises(LoadFailed, match="no vocab_size"):
        backend.load(folder, OPTIONS)
    assert backend._model is None
    told = {
        "vocab_size": None,
        "max_position_embeddings": None,
        "text_config": {"vocab_size": 9, "max_position_embeddings": 63},
    }
    monkeypatch.setattr(adapter, "import_module", engine(model, **told))
    with pytest.raises(Unsupported, match="made for 63"):
        backend.load(folder, OPTIONS)


def test_a_rope_base_that_mlx_lm_does_not_read_is_refused(
    folder: Artifact, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"rope_parameters": {"rope_theta": 100000.0}}
    monkeypatch.setattr(adapter, "import_module", engine(model, **config))
    with pytest.raises(LoadFailed, match="RoPE base of 10000, the model has 100000") as caught:
        MLX().load(folder, OPTIONS)
    assert "rope_theta" in (caught.value.remedy or "")
    model.args.rope_theta = 100000
    MLX().load(folder, OPTIONS)


def test_each_token_is_evaluated_once_and_none_beyond_the_last(loaded: MLX, model: Model) -> None:
    tokens = list(loaded.generate(Request((3, 4, 5), 4)))
    assert [token.id for token in tokens] == [6, 7, 8, 9]
    assert model.fed == [[3, 4], [5], [6], [7], [8]]
    assert loaded.claims() == {"prefill_tokens": 3.0}


def test_a_long_prompt_is_evaluated_in_pieces(
    loaded: MLX, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "PREFILL_STEP", 4)
    list(loaded.generate(Request(tuple(range(10, 20)), 1)))
    assert model.fed == [[10, 11, 12, 13], [14, 15, 16, 17], [18], [19]]


def test_it_ends_at_its_own_end_or_goes_on_past_it(loaded: MLX) -> None:
    free = [t.id for t in loaded.generate(Request((6,), 6, force_length=False))]
    stopped = Request((6,), 6, force_length=False, stop_ids=frozenset({8}))
    assert free == [7, 8, END]
    assert [t.id for t in loaded.generate(stopped)] == [7, 8]
    assert [t.id for t in loaded.generate(Request((6,), 6))] == [7, 8, 9, 10, 11, 12]


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_a_seed_beyond_the_engines_range_is_refused(loaded: MLX, model: Model, seed: int) -> None:
    request = Request((6,), 1, sampling=Sampling(temperature=1.0, seed=seed))
    with pytest.raises(Unsupported, match="seed"):
        next(loaded.generate(request))
    assert model.fed == []


def test_a_closed_backend_goes_on_with_no_request(loaded: MLX) -> None:
    tokens = loaded.generate(Request((6,), 6))
    next(tokens)
    loaded.close()
    with pytest.raises(GenerationFailed, match="no model"):
        list(tokens)


TOLD = [
    {"temperature": 0.7, "top_k": 10**6},
    {"temperature": 0.7, "top_k": 5},
    {"temperature": 1.6, "top_p": 0.6},
    {"temperature": 1.6, "min_p": 0.15},
    {"temperature": 1.0, "top_k": 8, "top_p": 0.6},
    {"temperature": 1.3, "top_k": 12, "top_p": 0.8, "min_p": 0.08},
]
ROW = np.random.default_rng(3).normal(0, 2.5, 200).astype(np.float32)


def shares(scores: Any) -> Any:
    found = np.exp(np.asarray(scores, np.float64))
    return found / found.sum()


@pytest.mark.parametrize("told", TOLD, ids=str)
def test_the_same_numbers_are_the_same_distribution_as_in_other_engines(
    model: Model, told: dict[str, Any]
) -> None:
    sampling = Sampling(**told)
    core = engine(model)("mlx.core")
    found = adapter._filtered(core, SAMPLE_UTILS, sampling, ROW[None])
    wanted = sampler.probabilities(np, sampling, [], ROW)
    assert shares(found[0]) == pytest.approx(wanted, abs=1e-5)


def test_a_penalty_is_applied_once_to_each_draw(
    loaded: MLX, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn_from: list[Any] = []

    def drawn(scores: Any, temperature: float) -> Any:
        drawn_from.append(scores.max())
        return scores.argmax(axis=-1)

    monkeypatch.setattr(SAMPLE_UTILS, "categorical_sampling", drawn)
    told = Sampling(temperature=1.0, repetition_penalty=2.0)
    assert loaded.draw((7, 6), told, (1, 2, 3)) == [7, 7, 7]
    assert drawn_from == [4.5, 4.5, 4.5]


@pytest.mark.parametrize("context", [1, 2])
def test_logits_fill_the_whole_context(loaded: MLX, context: int) -> None:
    loaded._limit = context
    assert loaded.logits(range(context)).shape == (context, VOCABULARY)
    with pytest.raises(GenerationFailed, match=f"exceed the context of {context}"):
        loaded.logits(range(context + 1))


PRELUDE = f"""
import json, sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from backends.api import *
from backends.mlx import MLX
backend = MLX()
options = LoadOptions(context=64, threads=1)
def ids(request):
    return [token.id for token in backend.generate(request)]
"""


@pytest.mark.engine
@pytest.mark.filterwarnings("default")
def test_the_engine_computes_the_models_logits(
    seen_in: Callable[..., Any], tiny_for: Callable[[str], Artifact], tmp_path: Path
) -> None:
    path, given = tiny_for("hf").path, [5, 90, 17, 33, 5, 61, 12]
    program = """
import numpy
backend.load(Artifact("m", "a", "hf", Path(sys.argv[1])), options)
rows = backend.logits(json.loads(sys.argv[2]))
numpy.save(sys.argv[3], rows)
print("SEEN" + json.dumps([backend.probe().version, ids(Request((5, 90, 17), 4)), rows.shape]))
"""
    rows = tmp_path / "rows.npy"
    version, made, shape = seen_in("mlx", PRELUDE + program, path, json.dumps(given), rows)
    reference = Transformers()
    reference.load(Artifact("m", "a", "hf", path), OPTIONS)
    wanted = reference.logits(given)
    assert version and tuple(shape) == wanted.shape
    assert np.abs(np.load(rows) - wanted).max() < 1e-3 * np.ptp(wanted)
    assert made == [token.id for token in reference.generate(Request((5, 90, 17), 4))]
    reference.close()


@pytest.mark.engine
def test_the_engine_is_told_of_a_rope_base_that_it_would_not_read(
    seen_in: Callable[..., Any], tiny_for: Callable[[str], Artifact], tmp_path: Path
) -> None:
    path = shutil.copytree(tiny_for("hf").path, tmp_path / "model")
    config = json.loads((path / "config.json").read_text())
    config.pop("rope_theta", None)
    config["rope_parameters"] = {"rope_type": "default", "rope_theta": 54321.0}
    (path / "config.json").write_text(json.dumps(config))
    program = """
try:
    backend.load(Artifact("m", "a", "hf", Path(sys.argv[1])), options)
    print("SEEN" + json.dumps("loaded"))
except LoadFailed as error:
    print("SEEN" + json.dumps(error.reason))
"""
    assert "RoPE base of 10000, the model has 54321" in seen_in("mlx", PRELUDE + program, path)


@pytest.mark.engine
def test_the_engines_sampler_is_seeded_per_request(
    seen_in: Callable[..., Any], tiny_for: Callable[[str], Artifact]
) -> None:
    program = """
from dataclasses import replace
backend.load(Artifact("m", "a", "hf", Path(sys.argv[1])), options)
long, strong = tuple(range(5, 60)), Sampling(temperature=0.7, repetition_penalty=1.5)
def drawn(seed, **more):
    return ids(Request((5, 90, 17), 5, sampling=Sampling(temperature=1.5, seed=seed, **more)))
print("SEEN" + json.dumps([
    [drawn(seed) for seed in (7, 7, 8)],
    [drawn(seed, top_k=10**6) for seed in (7, 7)],
    [ids(Request(long, 1, sampling=replace(strong, seed=seed)))[0] for seed in range(20)],
    backend.draw(long, strong, range(20)),
]))
"""
    plain, wide, firsts, draws = seen_in("mlx", PRELUDE + program, tiny_for("hf").path)
    assert plain[0] == plain[1] != plain[2]
    assert wide == [plain[0], plain[0]]
    assert firsts == draws


@pytest.mark.engine
def test_the_engines_own_filters_make_the_same_distribution_as_in_other_engines(
    seen_in: Callable[..., Any],
) -> None:
    program = """
from importlib import import_module
from backends import mlx
mx, made = import_module("mlx.core"), import_module("mlx_lm.sample_utils")
logits = mx.array([json.loads(sys.argv[1])])
found = [mlx._filtered(mx, made, Sampling(**told), logits) for told in json.loads(sys.argv[2])]
print("SEEN" + json.dumps([mx.softmax(scores, axis=-1)[0].tolist() for scores in found]))
"""
    found = seen_in("mlx", PRELUDE + program, json.dumps(ROW.tolist()), json.dumps(TOLD))
    for told, seen in zip(TOLD, found, strict=True):
        wanted = sampler.probabilities(np, Sampling(**told), [], ROW)
        assert seen == pytest.approx(wanted, abs=1e-5), told
