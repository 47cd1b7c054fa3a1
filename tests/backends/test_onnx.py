"""ONNX Runtime GenAI: what a folder may tell the engine. The rest is in test_real_engines.py."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends import onnx
from backends.api import Artifact, LoadFailed, LoadOptions, Request

MODEL = {"context_length": 64, "vocab_size": 9}


def described(folder: Path, content: str) -> Path:
    (folder / "genai_config.json").write_text(content)
    return folder


def decoder(**told: Any) -> dict[str, Any]:
    return {"model": {**MODEL, "decoder": told}}


def test_what_the_builder_writes_is_taken(tmp_path: Path) -> None:
    own = {"log_id": "onnxruntime-genai", "provider_options": [{"cuda": {}}]}
    told = decoder(session_options={**own, "intra_op_num_threads": 3}, run_options={})
    assert onnx._described(described(tmp_path, json.dumps(told))) == (64, 9)


@pytest.mark.parametrize(
    ("told", "option"),
    [
        (decoder(session_options={"custom_ops_library": "x.so"}), "decoder.session_options.custom"),
        (decoder(session_options={"enable_profiling": "x"}), "enable_profiling"),
        (decoder(session_options={"graph_optimization_level": "ORT_DISABLE_ALL"}), "graph_opt"),
        (
            decoder(session_options={"log_id": "x", "session.intra_op.allow_spinning": "0"}),
            "session_options.session.intra_op.allow_spinning",
        ),
        (decoder(run_options={"gpu_graph_id": "1"}), "decoder.run_options.gpu_graph_id"),
        (
            decoder(pipeline=[{"a": {"session_options": {"provider_options": []}}}]),
            "decoder.pipeline.a.session_options.provider_options",
        ),
        ({"model": {**MODEL, "vision": {"session_options": {"log_id": "x"}}}}, "model.vision"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_option_that_no_folder_may_bring_is_named(
    tmp_path: Path, told: dict[str, Any], option: str
) -> None:
    with pytest.raises(LoadFailed, match="which is taken from no folder") as failure:
        onnx._described(described(tmp_path, json.dumps(told)))
    assert option in failure.value.reason and failure.value.remedy == "remove it from the file"


def test_only_the_beginning_of_a_large_description_is_read(tmp_path: Path) -> None:
    folder = described(tmp_path, json.dumps({"model": MODEL, "more": "x" * onnx.DESCRIBED}))
    with pytest.raises(LoadFailed, match="larger than 1048576 bytes"):
        onnx._described(folder)


@pytest.mark.parametrize(
    "content",
    [
        '{"model": {"context_length": 64, "vocab_size": 9, "vocab_size": 9}}',
        "[" * 100_000,
        '{"model": {"context_length": 64, "vocab_size": null}}',
        "[1]",
    ],
    ids=["twice", "deep", "null", "list"],
)
def test_a_description_that_is_none_is_a_load_failure(tmp_path: Path, content: str) -> None:
    with pytest.raises(LoadFailed, match=r"no usable genai_config\.json"):
        onnx._described(described(tmp_path, content))


@pytest.mark.engine
def test_a_folder_built_for_another_provider_runs_and_one_that_profiles_does_not(
    tiny_for: Callable[[str], Artifact], tmp_path: Path
) -> None:
    path = shutil.copytree(tiny_for("onnx").path, tmp_path / "model")
    told = json.loads((path / "genai_config.json").read_text())
    options = told["model"]["decoder"]["session_options"]
    artifact, backend = Artifact("m", "a", "onnx", path), onnx.OnnxGenAI()
    options["provider_options"] = [{"cuda": {"enable_cuda_graph": "0"}}]
    described(path, json.dumps(told))
    backend.load(artifact, LoadOptions(64, 1))
    assert len(list(backend.generate(Request((5, 6), 2)))) == 2
    options["enable_profiling"] = str(tmp_path / "profile")
    described(path, json.dumps(told))
    with pytest.raises(LoadFailed, match="enable_profiling"):
        backend.load(artifact, LoadOptions(64, 1))
    assert not list(tmp_path.glob("profile*"))
