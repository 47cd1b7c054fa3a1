"""Runs that are kept: baselines of what is deterministic, and runs side by side."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

SCENARIO = """\
name: kept
models: [tiny]
backends:
  - fake
measures:
  - generate: {prompt_tokens: 16, output_tokens: 6}
plan: {warmup: 0, requests: 3, audit: false, trials: 3}
budgets: {ttft_ms: {max: 10000}}
"""


@pytest.fixture(scope="module")
def kept(make) -> Any:
    """Two runs of one scenario, in `one` and `two`, and the baseline of the first."""

    def work(workplace) -> None:
        path = workplace.write(SCENARIO)
        for out in ("one", "two"):
            assert workplace.here("run", path, "--out", out).returncode == 0
        saved = workplace.bakeoff("baseline", "save", "one", "--out", "base.json")
        assert saved.returncode == 0, saved.stderr

    return make(work)


def _first_line(result: subprocess.CompletedProcess[str]) -> str:
    return result.stdout.splitlines()[0]


def test_a_stored_run_is_no_base(kept) -> None:
    workplace = kept.again()
    result = workplace.here("gate", "scenario.yaml", "--base", "one", "--out", "out")
    assert result.returncode == 2
    assert "is a stored run or baseline, expected an arm to run now" in result.stderr
    assert "incomparable" in result.stderr
    assert not (workplace.folder / "out").exists()


def test_a_baseline_holds_what_is_deterministic(kept) -> None:
    workplace = kept.again()
    assert "greedy ids of 3" in workplace.here("baseline", "show", "base.json").stdout
    result = workplace.bakeoff("baseline", "check", "two", "base.json")
    assert result.returncode == 0, result.stdout
    assert _first_line(result).startswith("GREEN: no regression: 3 exact checks the same")

    _change(workplace.folder / "base.json", ids=True)
    result = workplace.here("baseline", "check", "two", "base.json")
    assert result.returncode == 1
    assert _first_line(result).startswith("RED: the greedy ids of fake fake, generate 16→6 differ")


def test_another_machines_baseline_is_incomparable_and_never_green(kept) -> None:
    workplace = kept.again()
    _change(workplace.folder / "base.json", ids=False)
    result = workplace.here("baseline", "check", "one", "base.json")
    assert result.returncode == 1
    assert _first_line(result).startswith("INCOMPARABLE: the baseline is another machine's (cpu ")
    assert "GREEN" not in result.stdout
    assert "bakeoff baseline save" in " ".join(result.stdout.split())
    only = workplace.here("baseline", "check", "one", "base.json", "--only", "token_counts,size")
    assert only.returncode == 0  # the same on every machine


def _change(path: Path, *, ids: bool) -> None:
    data = json.loads(path.read_text())
    if ids:
        outputs = data["cases"][0]["outputs"]
        outputs[next(iter(outputs))][0] += 1
    else:
        data["fingerprint"] = "0123456789ab"
        data["host"]["cpu"] = "Another CPU"
    path.write_text(json.dumps(data))


@pytest.mark.parametrize("text", ["", "[]", '{"kind": "bakeoff baseline"}', "\x00", "{" * 100_000])
def test_a_damaged_baseline_is_refused(kept, text: str) -> None:
    workplace = kept.again()
    workplace.write(text, "base.json")
    result = workplace.here("baseline", "check", "one", "base.json")
    assert result.returncode == 2
    assert "base.json" in result.stderr
    assert "Traceback" not in result.stderr


def test_compare_describes_and_does_not_judge_timings(kept) -> None:
    workplace = kept.again()
    result = workplace.bakeoff("compare", "one", "two", "--markdown", "comparison.md")
    assert result.returncode == 0, result.stderr
    assert _first_line(result) == "Described, not judged: the runs are of two sessions"
    assert "two sessions: the machine may have changed" in result.stdout
    assert "same: greedy" in result.stdout
    assert "decode speed" in (workplace.folder / "comparison.md").read_text()
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


def test_compare_of_two_machines_shows_no_ratio(kept) -> None:
    workplace = kept.again()
    file = workplace.folder / "two" / "run.json"
    info = json.loads(file.read_text())
    info["fingerprint"] = "0123456789ab"
    info["host"]["cpu"] = "Another CPU"
    file.write_text(json.dumps(info))
    result = workplace.here("compare", "one", "two")
    assert _first_line(result) == "Incomparable timings: the runs are of two machines"
    assert "other machine: cpu" in result.stdout
    assert "×" not in result.stdout
