"""The overhead benchmark itself, once, on an engine that costs nothing. Asserts no timing."""

from __future__ import annotations

import importlib.util
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent

MANIFEST = """\
id: tiny
name: Tiny
license: apache-2.0
context_length: 4096
tokenizer: fake
artifacts:
  fake: {format: fake, precision: f32, source: {path: weights.bin}}
"""
SCENARIO = """\
name: overhead
models: [tiny]
backends:
  - fake: {artifacts: [fake], options: {delay_s: 0.002}}
measures:
  - generate: {prompt_tokens: 16, output_tokens: 8}
plan: {trials: 2, warmup: 1, requests: 2, threads: 1, audit: false}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("overhead")
    (folder / "models").mkdir()
    (folder / "models" / "tiny.yaml").write_text(MANIFEST)
    (folder / "models" / "weights.bin").write_bytes(b"the weights")
    (folder / "scenario.yaml").write_text(SCENARIO)
    return folder


def program(name: str, *arguments: str | Path, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, str(HERE / name), *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "BAKEOFF_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_two_pairs_then_the_runs_own_share(folder: Path) -> None:
    table = program("overhead.py", "scenario.yaml", "--out", "runs/1-latency", folder=folder)
    rows = [line for line in table.splitlines() if "decode tok/s" in line or "TTFT ms" in line]
    assert len(rows) == 2
    for line in rows:
        assert re.search(r" 2 +[\d.]+ +[\d.]+ +\d\.\d{3} +[\d.]+–[\d.]+ +\d\.\d{3} +≥ 0\.98$", line)
    shown = program("own_share.py", folder=folder)
    assert re.search(r"bakeoff's own share: \d+\.\d\d% \(target: at most 5%\)", shown)
    parts = [float(found) for found in re.findall(r"([\d.]+) s  ", shown)]
    wall = re.search(r": ([\d.]+) s, 2 trials", shown)
    assert wall and sum(parts) == pytest.approx(float(wall[1]), abs=0.1)


def test_below_one_means_that_bakeoff_is_slower() -> None:
    spec = importlib.util.spec_from_file_location("overhead", HERE / "overhead.py")
    assert spec and spec.loader
    overhead = importlib.util.module_from_spec(spec)
    sys.modules["overhead"] = overhead  # dataclasses look their module up
    spec.loader.exec_module(overhead)
    slow, fast = ({"decode tok/s": 90.0, "TTFT ms": 12.0}, {"decode tok/s": 100.0, "TTFT ms": 10.0})
    pair = overhead.Pair(bakeoff=slow, bare=fast, same_ids=True)
    assert math.exp(pair.log_ratio("decode tok/s")) == pytest.approx(0.9)
    assert math.exp(pair.log_ratio("TTFT ms")) == pytest.approx(10 / 12)


def test_without_a_latency_run_it_says_how_to_make_one(tmp_path: Path) -> None:
    assert "bakeoff run latency" in program("own_share.py", folder=tmp_path)
