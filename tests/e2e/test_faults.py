"""Whatever a worker does, the run goes on and the record says what happened."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

import results
from results import store

FAULTS = """\
name: faults
models: [tiny]
backends:
  - fake
  - fake: {options: {crash_at: 9}}
  - fake: {options: {crash_at: 9, exit_code: 7}}
  - fake: {options: {hang_at: 9}}
  - fake: {options: {raise_at: 9}}
  - fake: {options: {short: 1}}
  - fake: {options: {load: fail}}
  - fake: {options: {nonsense: 1}}
  - fake-missing
  - fake-broken
measures:
  - generate: {prompt_tokens: 16, output_tokens: 4}
plan: {trials: 1, warmup: 1, requests: 3, trial_time_limit_s: 10, audit: false}
"""


def _by_fault(run: store.Run) -> dict[str, store.Record]:
    found = {}
    for record in run.records:
        options = record.case.settings["options"]
        names = [record.case.backend] if record.case.backend != "fake" else sorted(options)
        found["+".join(names) or "none"] = record
    return found


def test_every_fault_becomes_a_record_and_the_run_goes_on(workplace) -> None:
    result = workplace.bakeoff("run", workplace.write(FAULTS), "--out", "out")
    assert result.returncode == 3, result.stderr
    run = store.read(workplace.folder / "out")
    assert run.missing == ()
    records = _by_fault(run)

    assert records["none"].status == "ok"
    assert len(records["none"].samples) == 4

    crashed = records["crash_at"]
    assert (crashed.status, crashed.signal, crashed.exit_code) == ("crashed", "SIGSEGV", None)
    assert "SIGSEGV while generating, after 2 requests" in str(crashed.reason)
    assert [s.index for s in crashed.samples] == [0, 1]

    exited = records["crash_at+exit_code"]
    assert (exited.status, exited.signal, exited.exit_code) == ("crashed", None, 7)

    hung = records["hang_at"]
    assert hung.status == "timeout"
    assert 10 <= hung.wall_s < 60
    assert len(hung.samples) == 2

    raised = records["raise_at"]
    assert (raised.status, raised.reason) == ("failed", "told to raise")
    assert len(raised.samples) == 2

    assert "asked for exactly 4 tokens, the engine gave 3" in str(records["short"].reason)
    assert records["load"].status == "failed"
    assert "weights.bin: told to fail" in str(records["load"].reason)
    assert records["nonsense"].status == "unsupported"

    missing = records["fake-missing"]
    assert (missing.status, missing.remedy) == ("unsupported", "pip install no-such-engine")
    assert records["fake-broken"].status == "unsupported"
    assert "a_module_that_nobody_has" in str(records["fake-broken"].reason)

    # Cases that differ only in how the engine was set are told apart by name.
    assert "fake fake crash_at=9 exit_code=7" in " ".join(result.stdout.split())

    page = (workplace.folder / "out" / "report.html").read_text()
    for words in ("SIGSEGV", "told to raise", "pip install no-such-engine", "killed after"):
        assert words in page, words
        assert words in result.stdout.replace("\n", " ") or words == "killed after"


def test_kill_9_of_a_worker_keeps_its_samples(workplace) -> None:
    path = workplace.write(
        "name: slow\nmodels: [tiny]\nbackends: [fake: {options: {delay_s: 0.05}}, fake]\n"
        "measures: [generate: {prompt_tokens: 16, output_tokens: 4}]\n"
        "plan: {trials: 1, warmup: 0, requests: 100, audit: false}\n"
    )
    process = workplace.start("run", path, "--out", "out")
    texts = workplace.folder / "out" / "outputs"
    slow = _eventually(
        lambda: next((t for t in texts.glob("*") if _lines(t) in range(3, 90)), None)
    )
    worker = _eventually(lambda: next(iter(_workers(process.pid)), None))
    os.kill(worker, signal.SIGKILL)
    assert process.wait(timeout=60) == 3
    run = store.read(workplace.folder / "out")
    killed = next(r for r in run.records if r.trial == slow.stem)
    assert (killed.status, killed.signal) == ("crashed", "SIGKILL")
    assert 3 <= len(killed.samples) < 100
    assert len(killed.samples) == _lines(slow)
    assert all(len(s.token_ids) == len(s.token_ns) == 4 for s in killed.samples)
    assert [r.status for r in run.records if r.trial != slow.stem] == ["ok"]


def test_no_worker_outlives_a_killed_bakeoff(workplace) -> None:
    path = workplace.write(
        "name: hang\nmodels: [tiny]\nbackends: [fake: {options: {hang_at: 0}}]\n"
        "measures: [generate: {prompt_tokens: 16, output_tokens: 4}]\nplan: {trials: 1, audit: false}\n"
    )
    process = workplace.start("run", path, "--out", "out")
    logs = workplace.folder / "out" / "logs"
    _eventually(lambda: logs.is_dir() and any(logs.iterdir()))
    worker = _eventually(lambda: next(iter(_workers(process.pid)), None))
    process.kill()
    process.wait()
    _eventually(lambda: not psutil.pid_exists(worker) or _is_zombie(worker))


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_valid_and_goes_on(workplace, how: signal.Signals) -> None:
    path = workplace.write(
        "name: stop\nmodels: [tiny]\nbackends: [fake: {options: {delay_s: 0.02}}]\n"
        "measures: [generate: {prompt_tokens: 16, output_tokens: 4}]\nplan: {trials: 6, requests: 3, audit: false}\n"
    )
    process = workplace.start("run", path, "--out", "out")
    records = workplace.folder / "out" / "records.jsonl"
    _eventually(lambda: records.exists() and records.read_text().count("\n") >= 2)
    process.send_signal(how)
    assert process.wait(timeout=30) == 130
    before = store.read(workplace.folder / "out")
    assert 2 <= len(before.records) < 6
    result = workplace.here("run", "--resume", "out")
    assert result.returncode == 0, result.stderr
    after = store.read(workplace.folder / "out")
    assert len(after.records) == 6
    assert after.records[: len(before.records)] == before.records
    assert list(results.load(workplace.folder / "out")["trial"].unique()) == [
        trial.id for trial in after.info.trials
    ]


def _eventually(condition, limit_s: float = 30.0):
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError("it never happened")


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")


def _workers(pid: int) -> list[int]:
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        try:
            if any(part.endswith("worker/__main__.py") for part in child.cmdline()):
                found.append(child.pid)
        except psutil.Error:
            continue
    return found


def _is_zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
