"""`bakeoff history` and `bakeoff export` on what `bakeoff run` made."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCENARIO = """\
name: nightly
models: [tiny]
backends: [fake]
measures:
  - generate: {prompt_tokens: 8, output_tokens: 4}
plan: {trials: 2, warmup: 0, requests: 2, threads: 1}
"""


@pytest.fixture
def nights(workplace):
    scenario = workplace.write(SCENARIO)
    for number in range(3):
        result = workplace.bakeoff("run", scenario, "--out", f"nights/{number}")
        assert result.returncode in (0, 3), result.stderr
    return workplace


def test_the_history_of_real_runs_is_shown_and_written(nights) -> None:
    result = nights.bakeoff("history", "nights", "--out", "trend")
    assert result.returncode == 0, result.stderr
    assert "3 runs" in result.stdout and "decode speed" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    page = (nights.folder / "trend" / "history.html").read_text()
    assert "<svg" in page and "<script" not in page
    rows = (nights.folder / "trend" / "history.csv").read_text().splitlines()
    assert len([row for row in rows if ",decode_tok_s," in row]) == 3


def test_a_broken_run_among_them_is_a_caveat(nights) -> None:
    (nights.folder / "nights" / "1" / "run.json").write_text("[" * 10_000)
    result = nights.bakeoff("history", "nights")
    assert result.returncode == 0 and "Traceback" not in result.stderr
    assert "2 runs" in result.stdout and "was left out" in result.stdout.replace("\n", " ")


@pytest.mark.parametrize(("arguments", "message"), [
    (("nowhere",), "neither a run nor a folder of runs"),
    (("models",), "no run in models"),
    (("models", "--metric", "speed"), "unknown metric 'speed'"),
])  # fmt: skip
def test_bad_input_is_exit_2_and_no_traceback(workplace, arguments, message) -> None:
    result = workplace.bakeoff("history", *arguments)
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert message in result.stderr


def test_a_run_is_exported_and_pytest_benchmark_reads_it(nights) -> None:
    result = nights.bakeoff("export", "nights/0", "--format", "pytest-benchmark")
    assert result.returncode == 0, result.stderr
    made = nights.folder / "nights" / "0" / "pytest-benchmark.json"
    assert {b["stats"]["rounds"] for b in json.loads(made.read_text())["benchmarks"]} == {2}
    shown = subprocess.run(
        [Path(sys.executable).parent / "pytest-benchmark", "compare", made],
        capture_output=True, text=True, check=True, cwd=nights.folder, timeout=60,
    )  # fmt: skip
    assert "ttft_ms" in shown.stdout
    other = nights.bakeoff("export", "nights/0", "--out", "deep/er/file.json")
    assert other.returncode == 0 and (nights.folder / "deep" / "er" / "file.json").is_file()
    wrong = nights.bakeoff("export", "nights/0", "--format", "junit")
    assert wrong.returncode == 2 and "formats: pytest-benchmark" in wrong.stderr
