"""Fidelity on the real model: honest engines are acquitted, planted faults are not."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader

from harness import models
from results import fidelity, store
from results.fidelity import ArmFidelity

pytestmark = pytest.mark.engine

HONEST = """\
name: honest
models: [smollm2-135m-instruct]
backends:
  - llamacpp: {artifacts: [gguf-f32, gguf-q8_0, gguf-q4_1, gguf-q4_0]}
  - llamacpp: {artifacts: [gguf-f32], options: {type_k: f32, type_v: f32, flash_attn: false}}
  - onnx: {artifacts: [onnx-f32, onnx-int4]}
  - transformers: {artifacts: [hf-f32]}
measures: [fidelity: {items: 3, output_tokens: 8}]
plan: {trials: 1, threads: 1, audit: false}
"""
PLANTED = """\
name: planted
models: [./planted.yaml]
backends:
  - transformers: {artifacts: [%s]}
  - llamacpp: {}
  - onnx: {artifacts: [onnx]}
measures:
  - fidelity:
      texts: short.jsonl
      output_tokens: 10
      reference: {backend: transformers, artifact: hf}
plan: {trials: 1, threads: 1, audit: false}
"""
#: A gross fault shows in a few tokens.
SHORT: tuple[dict[str, Any], ...] = (
    {"name": "lamp", "text": "I bought this lamp three weeks ago and I have mixed feelings about it. The light is warm."},
    {"name": "tides", "text": "The tides follow the Moon more closely than the Sun, and the pull that raises"},
    {"name": "chat", "messages": [{"role": "user", "content": "What is the capital of France?"}]},
)  # fmt: skip
Run = Callable[[Path, str], dict[str, ArmFidelity]]


@pytest.fixture(scope="module")
def run(in_this_process: Callable[..., Any], warm_transformers: Path) -> Run:
    def run(folder: Path, scenario: str) -> dict[str, ArmFidelity]:
        (folder / "scenario.yaml").write_text(scenario)
        done = in_this_process(
            folder, "run", "scenario.yaml", "--out", "out", warm=warm_transformers
        )
        assert done.returncode == 0, done.stdout + done.stderr
        found = store.read(folder / "out")
        assert not (folder / "out" / "logits").exists()
        (model,) = fidelity.of(found)
        assert model.trouble is None
        return {arm.name: arm for arm in model.arms}

    return run


def mean_kl(arm: ArmFidelity) -> float:
    assert arm.kl is not None
    return arm.kl.mean


def test_honest_engines_are_as_true_as_their_bits(tmp_path: Path, run: Run) -> None:
    arms = run(tmp_path, HONEST)
    exact = "llamacpp gguf-f32 type_k=f32 type_v=f32 flash_attn=False"
    same = ("llamacpp gguf-f32", exact, "onnx onnx-f32", "transformers hf-f32")
    assert {name for name, arm in arms.items() if arm.verdict == "true to the weights"} == set(same)
    for name in same:
        assert mean_kl(arms[name]) < (1e-5 if name == "llamacpp gguf-f32" else 1e-9)
        top1 = arms[name].top1
        assert top1 is not None and top1.value >= 0.995
    for name in ("llamacpp gguf-q8_0", "llamacpp gguf-q4_1"):
        assert 0.001 < mean_kl(arms[name]) < 0.02
    for name in ("llamacpp gguf-q4_0", "onnx onnx-int4"):
        assert mean_kl(arms[name]) > 10 * mean_kl(arms["llamacpp gguf-q4_1"])
    assert not any(arm.faults for arm in arms.values())
    assert all(d.near_tie for arm in arms.values() for d in arm.divergences if arm.bits != 32)


def edit(folder: Path, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    data = json.loads((folder / name).read_text())
    change(data)
    (folder / name).write_text(json.dumps(data))


WRONG_THETA = 10000.0


def wrong_rope(folder: Path) -> None:
    def change(data: dict[str, Any]) -> None:
        data["rope_theta"] = WRONG_THETA
        data.setdefault("rope_parameters", {})["rope_theta"] = WRONG_THETA

    edit(folder, "config.json", change)


def wrong_rope_in_gguf(source: Path, target: Path) -> Path:
    """Where a converter writes the number that it found in config.json."""
    shutil.copy(source, target)
    theta = GGUFReader(target, "r+").fields["llama.rope.freq_base"].parts[-1]
    assert theta[0] > WRONG_THETA
    theta[0] = WRONG_THETA
    theta.flush()
    return target


def wrong_rope_in_onnx(source: Path, target: Path) -> Path:
    """The builder has made tables of cosines and sines of it."""
    import numpy
    import onnx

    copy(source, target)
    data = target / "model.onnx.data"
    data.unlink()
    shutil.copy(source / data.name, data)
    graph = onnx.load(target / "model.onnx", load_external_data=False).graph
    config = json.loads((source.parent / "hf-f32" / "config.json").read_text())
    right = config.get("rope_theta") or config["rope_parameters"]["rope_theta"]
    for name, function in {"cos_cache": numpy.cos, "sin_cache": numpy.sin}.items():
        (table,) = (one for one in graph.initializer if one.name == name)
        place = {entry.key: entry.value for entry in table.external_data}
        rows, columns = table.dims
        written = numpy.memmap(
            data, "float32", "r+", offset=int(place["offset"]), shape=(rows, columns)
        )
        powers = numpy.arange(columns, dtype="float64") / columns
        for theta in (right, WRONG_THETA):
            made = function(numpy.outer(numpy.arange(rows), theta**-powers)).astype("float32")
            if theta == right:
                assert numpy.allclose(written, made, atol=1e-3), "not the tables that were meant"
        written[:] = made
        written.flush()
    return target


def weights(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    from safetensors.numpy import load_file, save_file

    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    path.unlink()  # it may be a hard link
    save_file(tensors, path, metadata={"format": "pt"})


def swapped_layers(folder: Path) -> None:
    def change(tensors: dict[str, Any]) -> None:
        for name in [n for n in tensors if n.startswith("model.layers.10.")]:
            other = name.replace(".10.", ".11.", 1)
            tensors[name], tensors[other] = tensors[other], tensors[name]

    weights(folder, change)


def dead_head(folder: Path) -> None:
    def change(tensors: dict[str, Any]) -> None:
        name = "model.layers.5.self_attn.o_proj.weight"
        tensors[name] = tensors[name].copy()
        tensors[name][:, :64] = 0

    weights(folder, change)


def lost_tie(folder: Path) -> None:
    """The output layer is no longer tied to the embeddings, and nothing was stored for it."""
    import numpy

    edit(folder, "config.json", lambda data: data.update(tie_word_embeddings=False))

    def change(tensors: dict[str, Any]) -> None:
        shape = tensors["model.embed_tokens.weight"].shape
        rest = numpy.random.default_rng(1).standard_normal(shape, dtype=numpy.float32)
        tensors["lm_head.weight"] = 0.02 * rest

    weights(folder, change)


def wrong_eos(folder: Path) -> None:
    for name in ("config.json", "generation_config.json"):
        edit(folder, name, lambda data: data.update(eos_token_id=30))


def shifted_tokenizer(folder: Path) -> None:
    def change(data: dict[str, Any]) -> None:
        vocabulary = data["model"]["vocab"]
        plain = sorted(
            (token for token in vocabulary if vocabulary[token] >= 300), key=vocabulary.__getitem__
        )
        ids = [vocabulary[token] for token in plain]
        for token, number in zip(plain, [*ids[1:], ids[0]], strict=True):
            vocabulary[token] = number

    edit(folder, "tokenizer.json", change)


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "rope": (wrong_rope, "nats from the reference"),
    "layers": (swapped_layers, "nats from the reference"),
    "head": (dead_head, "nats from the reference"),
    "tie": (lost_tie, "nats from the reference"),
    "eos": (wrong_eos, "another end-of-sequence token"),
    "tokenizer": (shifted_tokenizer, "own tokenizer makes other ids"),
}


def copy(source: Path, target: Path) -> Path:
    """The weights are linked: 540 MB are not written unless they change."""
    shutil.copytree(source, target, copy_function=os.link)
    for path in target.glob("*.json"):
        text = path.read_text()
        path.unlink()
        path.write_text(text)
    return target


def manifest(formats: dict[str, tuple[str, str]]) -> str:
    head = "id: planted\nname: P\nlicense: mit\ncontext_length: 2048\ntokenizer: hf\nartifacts:\n"
    lines = [
        f"  {name}: {{format: {form}, precision: f32, source: {{path: {path}}}}}\n"
        for name, (form, path) in formats.items()
    ]
    return head + "".join(lines)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Iterator[dict[str, ArmFidelity]]:
    """Every fault in a copy of the model, one of them for every engine, in one run."""
    folder = tmp_path_factory.mktemp("planted")
    known = models.find("smollm2-135m-instruct", Path.cwd())
    paths = {
        name: models.prepare(known, name).artifact.path
        for name in ("hf-f32", "gguf-f32", "onnx-f32")
    }
    original = paths["hf-f32"]
    formats = {"hf": ("hf", str(original)), "copy": ("hf", str(copy(original, folder / "copy")))}
    for name, (plant, _) in FAULTS.items():
        plant(copy(original, folder / name))
        formats[name] = ("hf", f"./{name}")
    gguf = wrong_rope_in_gguf(paths["gguf-f32"], folder / "rope.gguf")
    onnx = wrong_rope_in_onnx(paths["onnx-f32"], folder / "rope-onnx")
    formats |= {"gguf": ("gguf", f"./{gguf.name}"), "onnx": ("onnx", f"./{onnx.name}")}
    (folder / "planted.yaml").write_text(manifest(formats))
    (folder / "short.jsonl").write_text("".join(json.dumps(item) + "\n" for item in SHORT))
    yield run(folder, PLANTED % ", ".join(("copy", *FAULTS)))
    shutil.rmtree(onnx)
    gguf.unlink()
    for path in folder.glob("*/model.safetensors"):
        path.unlink()


def test_planted_faults_are_found_and_a_copy_is_not(planted: dict[str, ArmFidelity]) -> None:
    assert planted["transformers copy"].verdict == "true to the weights"
    for name, (_, message) in FAULTS.items():
        arm = planted[f"transformers {name}"]
        assert arm.verdict == "fault", (name, arm.kl)
        assert any(message in fault for fault in arm.faults), (name, arm.faults)


def test_a_wrong_rope_theta_is_a_fault_on_every_engine(planted: dict[str, ArmFidelity]) -> None:
    for name in ("transformers rope", "llamacpp gguf", "onnx onnx"):
        arm = planted[name]
        assert arm.verdict == "fault", (name, arm.kl)
        assert any("nats from the reference" in fault for fault in arm.faults), (name, arm.faults)
