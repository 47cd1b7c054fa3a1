"""pytest-benchmark reads what `bakeoff export` writes, and shows the numbers that bakeoff shows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from reports import pytest_benchmark
from results.summary import summarise

COMPARE = Path(sys.executable).parent / "pytest-benchmark"


@pytest.fixture(scope="module")
def data(run):
    return json.loads(pytest_benchmark.render(run))


def _compare(folder: Path, *arguments: str | Path) -> str:
    result = subprocess.run(
        [COMPARE, "compare", *arguments],
        capture_output=True, text=True, check=True, cwd=folder, timeout=60,
    )  # fmt: skip
    assert "Failed to load" not in result.stdout + result.stderr
    return result.stdout


def test_each_case_and_time_is_a_benchmark_whose_rounds_are_the_trials(run, data):
    found = {(b["extra_info"]["case"], b["extra_info"]["metric"]): b for b in data["benchmarks"]}
    summaries = {s.case.key: s for s in summarise(run)}
    wanted = {
        (key, name)
        for key, s in summaries.items()
        for name in s.values
        if name.endswith(("_s", "_ms")) and not name.endswith("tok_s")
    }
    assert set(found) == wanted
    for (key, name), one in found.items():
        factor = 1 if name.endswith("_s") else 1e-3
        values = [v * factor for v in summaries[key].values[name]]
        assert one["stats"]["data"] == values
        assert one["stats"]["rounds"] == len(values)


def test_names_are_unique_so_that_a_dashboard_can_follow_them(data):
    names = [b["fullname"] for b in data["benchmarks"]]
    assert len(names) == len(set(names))
    assert "Generate 32 → 24 tokens, greedy: ttft_ms [llamacpp gguf-f32]" in names


def test_statistics_are_those_that_pytest_benchmark_itself_works_out():
    from pytest_benchmark.stats import Stats

    values = [0.5, 0.1, 0.4, 0.2, 0.3, 9.0, 0.25]
    theirs = Stats()
    for value in values:
        theirs.update(value)
    ours = pytest_benchmark.benchmark("n", "g", values, {})["stats"]
    for name in ("min", "max", "mean", "stddev", "rounds", "median", "total", "ops", "ld15iqr",
                 "hd15iqr", "stddev_outliers", "iqr_outliers", "outliers"):  # fmt: skip
        assert ours[name] == pytest.approx(getattr(theirs, name)), name
    assert set(theirs.as_dict()) <= set(ours)


def test_pytest_benchmark_compares_it(data, run, tmp_path):
    path = tmp_path / "run.json"
    path.write_text(pytest_benchmark.render(run))
    shown = _compare(tmp_path, path)
    assert "Generate 32 → 24 tokens, greedy: ttft_ms" in shown
    for one in data["benchmarks"]:
        assert one["name"][:40] in shown
    assert _compare(tmp_path, path, "--csv=out.csv", "--group-by=fullname")
    assert len((tmp_path / "out.csv").read_text().splitlines()) == len(data["benchmarks"]) + 1


def test_two_runs_are_compared_benchmark_by_benchmark(run, tmp_path):
    for name in ("one.json", "two.json"):
        (tmp_path / name).write_text(pytest_benchmark.render(run))
    shown = _compare(tmp_path, "--between=mean", tmp_path / "one.json", tmp_path / "two.json")
    assert "Δ" in shown or "Mean" in shown


def test_what_dashboards_take_is_there(data):
    """github-action-benchmark reads `fullname` and these of `stats`; others read the two infos."""
    for one in data["benchmarks"]:
        for name in ("ops", "stddev", "mean", "rounds"):
            assert isinstance(one["stats"][name], int | float)
    assert {"id", "time", "branch", "dirty"} <= set(data["commit_info"])
    assert {"cpu", "system", "python_version"} <= set(data["machine_info"])
    assert data["datetime"] and data["version"]


def test_a_case_without_a_value_has_no_benchmark(data):
    assert not [b for b in data["benchmarks"] if "mlx" in b["name"]]
