"""Fidelity on the real model: honest engines are acquitted, planted faults are not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import models
from harness.models import conversions
from results import fidelity, store
from results.fidelity import ArmFidelity

pytestmark = pytest.mark.engine

ROOT = Path(__file__).resolve().parents[2]
HONEST = """\
name: honest
models: [smollm2-135m-instruct]
backends:
  - llamacpp: {artifacts: [gguf-f32, gguf-q8_0, gguf-q4_1, gguf-q4_0]}
  - llamacpp: {artifacts: [gguf-f32], options: {type_k: f32, type_v: f32, flash_attn: false}}
  - onnx: {artifacts: [onnx-f32, onnx-int4]}
  - transformers: {artifacts: [hf-f32]}
measures: [fidelity: {items: 5, output_tokens: 8}]
plan: {trials: 1, threads: 2, audit: false}
"""
PLANTED = """\
name: planted
models: [./planted.yaml]
backends:
%s
measures:
  - fidelity: {items: 3, output_tokens: 12, reference: {backend: transformers, artifact: hf}}
plan: {trials: 1, threads: 2, audit: false}
"""


def run(folder: Path, scenario: str) -> dict[str, ArmFidelity]:
    (folder / "scenario.yaml").write_text(scenario)
    done = subprocess.run(
        [Path(sys.executable).parent / "bakeoff", "run", "scenario.yaml", "--out", "out"],
        cwd=folder,
        env={**os.environ, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = store.read(folder / "out")
    assert not (folder / "out" / "logits").exists()
    (model,) = fidelity.of(found)
    assert model.trouble is None
    return {arm.name: arm for arm in model.arms}


def mean_kl(arm: ArmFidelity) -> float:
    assert arm.kl is not None
    return arm.kl.mean


def test_honest_engines_are_as_true_as_their_bits(tmp_path: Path) -> None:
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


def wrong_rope(folder: Path) -> None:
    def change(data: dict[str, Any]) -> None:
        data["rope_theta"] = 10000.0
        data.setdefault("rope_parameters", {})["rope_theta"] = 10000.0

    edit(folder, "config.json", change)


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
def original() -> Path:
    found = models.find("smollm2-135m-instruct", Path.cwd())
    return models.prepare(found, "hf-f32").artifact.path


def test_planted_faults_are_found_and_a_copy_is_not(tmp_path: Path, original: Path) -> None:
    formats = {"hf": ("hf", str(original)), "copy": ("hf", str(copy(original, tmp_path / "copy")))}
    for name, (plant, _) in FAULTS.items():
        plant(copy(original, tmp_path / name))
        formats[name] = ("hf", f"./{name}")
    (tmp_path / "planted.yaml").write_text(manifest(formats))
    names = ", ".join(("copy", *FAULTS))
    arms = run(tmp_path, PLANTED % f"  - transformers: {{artifacts: [{names}]}}")
    assert arms["transformers copy"].verdict == "true to the weights"
    for name, (_, message) in FAULTS.items():
        arm = arms[f"transformers {name}"]
        assert arm.verdict == "fault", (name, arm.kl)
        assert any(message in fault for fault in arm.faults), (name, arm.faults)


def test_a_wrong_rope_theta_is_a_fault_on_every_engine(tmp_path: Path, original: Path) -> None:
    broken = copy(original, tmp_path / "rope")
    wrong_rope(broken)
    (tmp_path / "scratch").mkdir()
    made = {"gguf": ("hf-gguf", "rope.gguf"), "onnx": ("onnx-builder", "rope-onnx")}
    for conversion, target in made.values():
        known = conversions.CONVERSIONS[conversion]
        conversions.convert(
            known, broken, tmp_path / target,
            known.options("f32", {"pre": "smollm"} if conversion == "hf-gguf" else {}),
            scratch=tmp_path / "scratch", log=tmp_path / "log",
        )  # fmt: skip
    formats = {"hf": ("hf", str(original)), "rope": ("hf", "./rope")}
    formats |= {name: (name, f"./{target}") for name, (_, target) in made.items()}
    (tmp_path / "planted.yaml").write_text(manifest(formats))
    arms = run(
        tmp_path,
        PLANTED
        % "  - transformers: {artifacts: [rope]}\n  - llamacpp: {}\n  - onnx: {artifacts: [onnx]}",
    )
    assert {arm.verdict for arm in arms.values()} == {"fault"}, {n: a.kl for n, a in arms.items()}
    assert len(arms) == 3
    shutil.rmtree(tmp_path / "rope-onnx")
    (tmp_path / "rope.gguf").unlink()
