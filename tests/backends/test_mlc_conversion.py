"""The conversion to MLC-LLM's folder, against the fake of its commands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backends.api import (
    Artifact,
    LoadOptions,
    Request,
)
from backends.mlc import MLC

pytestmark = pytest.mark.usefixtures("fake_mlc")


SCRIPT = Path(__file__).parents[2] / "harness/models/convert/mlc.py"


def convert(argument: object) -> subprocess.CompletedProcess[str]:
    said = argument if isinstance(argument, str) else json.dumps(argument)
    command = [sys.executable, str(SCRIPT), said]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def job(tmp_path: Path, config: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    source = tmp_path / "hf"
    source.mkdir(exist_ok=True)
    told = {"max_position_embeddings": 8192, "rope_theta": 1e5} if config is None else config
    (source / "config.json").write_text(json.dumps(told))
    return {"source": str(source), "target": str(tmp_path / "out"), "options": options}


def test_the_conversion_runs_the_three_commands_and_the_folder_loads(tmp_path: Path) -> None:
    asked = job(tmp_path, precision="bf16", conv_template="chatml", context_window_size=512)
    done = convert(asked)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["versions"] == {"mlc_llm": "unknown", "tvm": "unknown"}
    calls = dict(map(json.loads, (tmp_path / "out/calls.jsonl").read_text().splitlines()))
    assert list(calls) == ["convert_weight", "gen_config", "compile"]
    assert {call["quantization"] for call in calls.values()} == {"q0f32"}
    assert calls["gen_config"]["conv_template"] == "chatml"
    assert calls["gen_config"]["context_window_size"] == "512"
    assert calls["gen_config"]["prefill_chunk_size"] == "512"
    assert calls["compile"] == {"quantization": "q0f32", "device": "cpu", "opt": "O2"}
    backend = MLC()
    backend.load(Artifact("tiny", "mlc-bf16", "mlc", tmp_path / "out"), LoadOptions(256, 1))
    assert len(list(backend.generate(Request((72, 105), 8)))) == 8
    backend.close()


@pytest.mark.parametrize(
    ("config", "options", "said"),
    [
        (None, {"precision": "bf16"}, "conv_template"),
        (None, {"precision": "f32", "conv_template": "chatml"}, "expected one of bf16"),
        (None, {"precision": "f16", "conv_template": "chatml", "optt": 1}, "unknown options"),
        ({"max_position_embeddings": 1}, {"precision": "f16", "conv_template": "x"}, "rope_theta"),
    ],
)
def test_a_conversion_that_would_go_wrong_in_silence_is_refused(
    tmp_path: Path, config: dict[str, Any] | None, options: dict[str, Any], said: str
) -> None:
    done = convert(job(tmp_path, config, **options))
    assert done.returncode != 0 and said in done.stderr
    assert not (tmp_path / "out").exists()


def test_without_mlc_the_conversion_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PYTHONPATH")
    assert json.loads(convert("--versions").stdout)["versions"]["mlc_llm"] == "missing"
