"""`kill -9` of bakeoff at random moments costs nothing that was recorded and repeats nothing."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest

from results import store

SCENARIO = """\
name: killed
models: [tiny]
backends: [fake: {options: {delay_s: 0.005}}]
measures:
  - generate: {prompt_tokens: [16, 24], output_tokens: 4}
plan: {trials: 12, warmup: 0, requests: 3, audit: false}
"""


def test_ten_kills_at_random_moments_then_exactly_the_planned_trials(workplace) -> None:
    path = workplace.write(SCENARIO)
    out = workplace.folder / "out"
    moment = random.Random(20)
    process = workplace.start("run", path, "--out", "out")
    while not (out / "run.json").exists():
        time.sleep(0.01)
    for _ in range(10):
        time.sleep(moment.uniform(0.05, 1.2))
        process.kill()
        process.wait()
        process = workplace.start("run", "--resume", "out")
    process.wait(timeout=120)
    run = store.read(out)
    assert not run.missing
    lines = (out / "records.jsonl").read_text().splitlines()
    counts = Counter(json.loads(line)["trial"] for line in lines)
    assert counts == {trial.id: 1 for trial in run.info.trials}
    assert len(counts) == 24
    for record in run.records:
        # A trial that two kills happened to hit says so; every other one is whole.
        assert record.status == "ok" or "killed 2 times" in str(record.reason)
        assert record.status != "ok" or len(record.samples) == 3


@pytest.fixture(scope="module")
def once(make):
    def work(workplace) -> None:
        path = workplace.write(SCENARIO)
        assert workplace.bakeoff("run", path, "--trials", "1", "--out", "out").returncode == 0

    return make(work)


@pytest.fixture
def finished(once):
    """A workplace with a finished run of one trial per case, in `out`."""
    return once.again()


def test_a_finished_run_resumes_to_itself(finished) -> None:
    before = (finished.folder / "out" / "records.jsonl").read_bytes()
    assert finished.bakeoff("run", "--resume", "out").returncode == 0
    assert (finished.folder / "out" / "records.jsonl").read_bytes() == before


def test_a_cut_off_record_is_made_again(finished) -> None:
    records = finished.folder / "out" / "records.jsonl"
    records.write_bytes(records.read_bytes()[:-50])
    assert len(store.read(finished.folder / "out").records) == 1
    assert finished.bakeoff("run", "--resume", "out").returncode == 0
    run = store.read(finished.folder / "out")
    assert len(run.records) == 2
    assert not run.caveats


def test_a_trial_that_kills_bakeoff_twice_is_given_up(finished) -> None:
    out = finished.folder / "out"
    poison = store.read(out).info.trials[0].id
    (out / "records.jsonl").write_text("")
    attempt = json.dumps({"trial": poison, "attempt": 0}) + "\n"
    (out / "attempts.jsonl").write_text(attempt * 2)
    assert finished.here("run", "--resume", "out").returncode == 3
    records = {record.trial: record for record in store.read(out).records}
    assert records[poison].status == "crashed"
    assert "killed 2 times during this trial" in str(records[poison].reason)
    assert len(records) == 2


def test_resume_refuses_other_weights(finished) -> None:
    weights = finished.folder / "models" / "weights.bin"
    weights.write_bytes(b"other weights")
    result = finished.here("run", "--resume", "out")
    assert result.returncode == 2
    assert "the artifact fake of tiny has changed" in result.stderr


def test_a_run_folder_of_another_machine_is_refused(finished) -> None:
    described = finished.folder / "out" / "run.json"
    info = json.loads(described.read_text())
    described.write_text(json.dumps({**info, "fingerprint": "0" * 12}))
    result = finished.here("run", "--resume", "out")
    assert result.returncode == 2
    assert "another machine" in result.stderr


def test_two_bakeoffs_do_not_write_one_run(finished) -> None:
    from filelock import FileLock

    with FileLock(finished.folder / "out" / ".lock"):
        result = finished.bakeoff("run", "--resume", "out")
    assert result.returncode == 2
    assert "another bakeoff is writing" in result.stderr


def test_an_existing_folder_is_never_written_over(workplace) -> None:
    path = workplace.write(SCENARIO)
    (workplace.folder / "out").mkdir()
    result = workplace.here("run", path, "--out", "out")
    assert result.returncode == 2
    assert "out exists" in result.stderr
    assert not list(Path(workplace.folder / "out").iterdir())


def test_a_run_without_its_scenario_file_still_resumes(finished) -> None:
    """The scenario's text is in the run; only its folder must be there, for its models."""
    (finished.folder / "scenario.yaml").unlink()
    shutil.rmtree(finished.folder / "out" / "outputs")
    (finished.folder / "out" / "outputs").mkdir()
    assert finished.here("run", "--resume", "out").returncode == 0
