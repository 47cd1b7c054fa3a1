"""The main job on real input: three real engines, one real model, float32 everywhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import results
from results import store

SCENARIO = """\
name: f32
models: [smollm2-135m-instruct]
backends:
  - llamacpp: {artifacts: [gguf-f32]}
  - onnx: {artifacts: [onnx-f32]}
  - transformers: {artifacts: [hf-f32]}
measures:
  - load
  - generate: {prompt_tokens: 24, output_tokens: 8}
plan: {trials: 1, warmup: 0, requests: 2, threads: 1}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> store.Run:
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("real")
    (folder / "scenario.yaml").write_text(SCENARIO)
    result = subprocess.run(
        [Path(sys.executable).parent / "bakeoff", "run", "scenario.yaml", "--out", "out"],
        cwd=folder,
        env={**os.environ, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert max(map(len, result.stdout.splitlines())) <= 120
    return store.read(folder / "out")


pytestmark = pytest.mark.engine


def test_every_engine_did_every_case(run: store.Run) -> None:
    done = {(r.case.backend, r.case.measure) for r in run.records if r.status == "ok"}
    engines = ("llamacpp", "onnx", "transformers")
    measures = ("audit", "load", "generate")
    assert done == {(engine, measure) for engine in engines for measure in measures}
    assert all(r.engine and r.engine.version for r in run.records)


def test_all_engines_got_the_same_ids_and_wrote_as_many(run: store.Run) -> None:
    frame = results.load(run.path)
    generated = frame[frame["measure"] == "generate"]
    assert len(generated) == 6
    for _, rows in generated.groupby("sample"):
        assert len(rows) == 3
        assert len({tuple(ids) for ids in rows["prompt_ids"]}) == 1
        assert {len(ids) for ids in rows["prompt_ids"]} == {24}
        assert {len(ids) for ids in rows["output_ids"]} == {8}


def test_every_engine_evaluated_the_whole_prompt_by_its_own_count(run: store.Run) -> None:
    for record in run.records:
        for sample in record.samples:
            assert sample.claims["prefill_tokens"] == sample.prompt_tokens, record.trial


def test_no_real_engine_is_accused_of_a_lie(run: store.Run) -> None:
    checks = {
        (record.case.backend, check.name): check
        for record in run.records
        for check in record.checks
    }
    assert len(checks) == 3 * 20
    assert [key for key, check in checks.items() if check.passed is False] == []
    # The one thing that an engine openly can't do.
    assert [key for key, check in checks.items() if check.passed is None] == [
        ("onnx", "min_p_honoured")
    ]


def test_every_engine_used_the_threads_it_was_told(run: store.Run) -> None:
    told = {record.case.parameters["threads"] for record in run.records}
    assert len(told) == 1
    for record in run.records:
        if record.case.measure == "generate":
            assert record.conditions["busy_threads"] == min(told), record.trial


def test_the_f32_artifacts_hold_the_same_weights(run: store.Run) -> None:
    assert {(a.weights, a.precision) for a in run.info.artifacts} == {
        ("smollm2-135m-instruct/gguf-q4_1", "f32")
    }


def test_memory_was_seen_and_is_at_least_the_weights(run: store.Run) -> None:
    sizes = {a.artifact: a.bytes for a in run.info.artifacts}
    for record in run.records:
        assert record.memory is not None and record.memory.points
        peak = max(point.rss for point in record.memory.points)
        assert peak > 0.9 * sizes[record.case.artifact], record.trial
        assert (record.memory.peak_rss or 0) >= 0.95 * peak


def test_the_reports_hold_every_engine(run: store.Run) -> None:
    for name in ("report.html", "report.csv", "report.md"):
        text = (run.path / name).read_text()
        for engine in ("llamacpp", "onnx", "transformers"):
            assert engine in text, (name, engine)
