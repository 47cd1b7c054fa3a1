"""lm-eval through our adapters and through its own `hf` model: the same accuracy.

`BAKEOFF_LM_EVAL_PYTHON` names an interpreter that has lm-eval, if this one has not.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from harness import lm_eval_cli, models
from harness.errors import BakeoffError

TASKS = Path(__file__).parent.parent / "harness" / "lm_eval_tasks"
PYTHON = os.environ.get("BAKEOFF_LM_EVAL_PYTHON", sys.executable)
ENGINES = {
    "transformers": ("backends.transformers:Transformers", "hf-f32"),
    "llamacpp": ("backends.llamacpp:LlamaCpp", "gguf-f32"),
    "onnx": ("backends.onnx:OnnxGenAI", "onnx-f32"),
}


@cache
def has_lm_eval() -> bool:
    command = [PYTHON, "-c", "import importlib.util as u; assert u.find_spec('lm_eval')"]
    return subprocess.run(command, capture_output=True).returncode == 0


@cache
def everyday(engine: str) -> dict[str, Any]:
    manifest = models.find("smollm2-135m-instruct", Path.cwd())
    job: dict[str, Any] = {"tasks": ["everyday"], "context": 256, "threads": 1}
    if engine == "hf":
        path = models.prepare(manifest, "hf-f32").artifact.path
        job["hf"] = f"pretrained={path},dtype=float32,max_length=256"
    else:
        reference, name = ENGINES[engine]
        found = models.prepare(manifest, name).artifact
        job["reference"] = reference
        job["artifact"] = {"model": found.model, "name": name, "format": found.format,
                           "path": str(found.path)}  # fmt: skip
    return lm_eval_cli.run(job, TASKS, python=PYTHON)


def accuracy(found: dict[str, Any]) -> dict[str, float]:
    metrics = found["results"]["everyday"]
    return {name: metrics[f"{name},none"] for name in ("acc", "acc_norm")}


@pytest.mark.engine
@pytest.mark.parametrize("engine", list(ENGINES))
def test_accuracies_agree_with_lm_evals_own_model(engine: str) -> None:
    if not has_lm_eval():
        pytest.skip(f"lm-eval is not installed for {PYTHON}")
    own, ours = everyday("hf"), everyday(engine)
    assert accuracy(own)["acc"] > 0.5
    assert accuracy(ours) == accuracy(own)
    for (_, _, mine), (_, _, theirs) in zip(
        ours["samples"]["everyday"], own["samples"]["everyday"], strict=True
    ):
        for one, other in zip(mine, theirs, strict=True):
            assert float(one[0]) == pytest.approx(float(other[0]), abs=0.02)
            assert one[1] == other[1]


def test_a_child_without_lm_eval_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(BakeoffError, match="no such folder"):
        lm_eval_cli.run({}, tmp_path / "nothing")
    if not has_lm_eval():
        with pytest.raises(BakeoffError, match="lm_eval") as caught:
            lm_eval_cli.run({}, tmp_path, python=PYTHON)
        assert caught.value.remedy and "lm-eval" in caught.value.remedy
