"""Fidelity, quality and sampling as a user runs them: one scenario, real engines, a tiny model."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from results import fidelity, quality, sampling, store

Ended = subprocess.CompletedProcess[str]
BAKEOFF = Path(sys.executable).parent / "bakeoff"
SCENARIO = """\
name: all
models: [tiny-chatml]
backends:
  - llamacpp: {}
  - onnx: {}
measures:
  - fidelity: {items: 12, output_tokens: 4}
  - quality: {items: 6, output_tokens: 6, seeds: 1}
  - sampling: {draws: 60, items: 1, settings: [{temperature: 1.0, top_k: 3}]}
plan: {trials: 1, threads: 1, audit: false}
"""


def bakeoff(folder: Path, *arguments: str) -> Ended:
    return subprocess.run(
        [str(BAKEOFF), *arguments],
        cwd=folder,
        env={**os.environ, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.engine
def test_one_scenario_measures_all_three(
    tmp_path: Path, in_this_process: Callable[..., Ended], warm_transformers: Path
) -> None:
    (tmp_path / "all.yaml").write_text(SCENARIO)
    done = in_this_process(
        tmp_path, "run", "all.yaml", "--out", "out",
        variables={"COLUMNS": "80"}, warm=warm_transformers,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    run = store.read(tmp_path / "out")
    assert {r.case.measure for r in run.records} == {"reference", "fidelity", "quality", "sampling"}
    assert run.records[0].case.measure == "reference"
    (model,) = fidelity.of(run)
    assert {arm.case.backend for arm in model.arms} == {"llamacpp", "onnx"}
    assert all(arm.positions > 300 and arm.kl is not None for arm in model.arms)
    (group,) = quality.groups(run)
    assert len(run.info.items["quality"]) == 6
    assert group is not None
    assert [arm.trouble for arm in sampling.table(run)] == [None, None]
    page = (tmp_path / "out" / "report.html").read_text()
    for heading in ("Fidelity", "Answers to tasks", "Samplers"):
        assert heading in page and heading in done.stdout
    for name in ("fidelity.csv", "quality.csv", "sampling.csv"):
        assert (tmp_path / "out" / name).stat().st_size > 100
    assert max(map(len, done.stdout.splitlines())) <= 120


@pytest.mark.parametrize(
    ("measure", "text", "message"),
    [
        ("quality: {tasks: mine.jsonl}", "", "mine.jsonl:1: is empty"),
        ("quality: {tasks: mine.jsonl}", '{"name": "a", "text": "x"}\n', "expected a check"),
        ("fidelity: {texts: mine.jsonl}", '{"name": "a"}\n', "mine.jsonl:1: expected `text`"),
        ("fidelity: {texts: nothing}", "", "s.yaml:4: measures.0.fidelity.texts: unknown set"),
        ("fidelity: {reference: {backend: onx}}", "", "did you mean 'onnx'"),
        ("sampling: {draws: 1}", "", "greater than or equal to 50"),
    ],
)
def test_bad_input_is_refused(
    tmp_path: Path, in_this_process: Callable[..., Ended], measure: str, text: str, message: str
) -> None:
    (tmp_path / "mine.jsonl").write_text(text)
    (tmp_path / "s.yaml").write_text(
        f"name: s\nmodels: [tiny-chatml]\nbackends: [onnx]\nmeasures: [{measure}]\n"
    )
    by_command = measure.startswith(("fidelity: {texts: nothing", "sampling"))
    done = (bakeoff if by_command else in_this_process)(tmp_path, "run", "s.yaml", "--out", "out")
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert not (tmp_path / "out").exists()
