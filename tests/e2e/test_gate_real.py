"""The gate on llama.cpp and real files: a broken candidate is red for its own reason, before any timing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness import models, places

pytestmark = pytest.mark.engine

BAKEOFF = Path(sys.executable).parent / "bakeoff"
SCENARIO = """\
name: gated
models: [%s]
backends:
  - llamacpp: {artifacts: [%s]}
measures:
  - generate: {prompt_tokens: 16, output_tokens: 8}
  - templates: {harm: false}
  - fidelity: {texts: short.jsonl, output_tokens: 4}
plan: {warmup: 0, requests: 2, threads: 1, audit: false}
"""
SHORT = """\
{"name": "tides", "text": "The tides follow the Moon more closely than the Sun, and the pull that raises"}
{"name": "chat", "messages": [{"role": "user", "content": "What is the capital of France?"}]}
"""


def _artifact(model: str, name: str) -> Path:
    return models.prepare(models.find(model, places.SCENARIOS), name).artifact.path


def _gate(
    folder: Path, model: str, artifact: str, candidate: Path
) -> tuple[int, str, dict[str, object]]:
    (folder / "scenario.yaml").write_text(SCENARIO % (model, artifact))
    (folder / "short.jsonl").write_text(SHORT)
    result = subprocess.run(
        [BAKEOFF, "gate", "scenario.yaml", "--candidate", f"model={candidate}", "--out", "out"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.stdout, result.stderr
    outcome = json.loads((folder / "out" / "gate.json").read_text())
    return result.returncode, result.stdout.splitlines()[0], outcome


def test_a_candidate_with_the_wrong_rope_theta_is_red_over_fidelity(tmp_path: Path) -> None:
    base = ("smollm2-135m-instruct", "gguf-q4_1")
    wrong = tmp_path / "rope.gguf"
    shutil.copy(_artifact(*base), wrong)
    set_value = Path(sys.executable).parent / "gguf-set-metadata"
    subprocess.run(
        [set_value, wrong, "llama.rope.freq_base", "1000", "--force"],
        check=True,
        capture_output=True,
    )
    code, first, outcome = _gate(tmp_path, *base, wrong)
    assert code == 1
    assert first.startswith("RED: the candidate is not true to the base: its distributions are")
    assert [f["kind"] for f in outcome["findings"]] == ["fidelity"]  # type: ignore[attr-defined]
    assert outcome["blocks"] == 0


def test_a_candidate_with_a_broken_template_is_red_over_its_prompts(tmp_path: Path) -> None:
    base = ("tiny-chatml", "gguf")
    data = _artifact(*base).read_bytes()
    good, broken = b"<|im_start|>assistant", b"<|im_start|>assistent"
    assert data.count(good) == 1
    wrong = tmp_path / "template.gguf"
    wrong.write_bytes(data.replace(good, broken))
    code, first, outcome = _gate(tmp_path, *base, wrong)
    assert code == 1
    assert first.startswith("RED: the chat prompts of llamacpp gguf, templates differ")
    assert [f["kind"] for f in outcome["findings"]] == ["template"]  # type: ignore[attr-defined]
