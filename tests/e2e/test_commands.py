"""The other commands, as a user calls them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import results
from harness import plan, registry, scenario
from results import store

TWO = """\
name: two
models: [tiny]
backends: [fake, fake-missing]
measures:
  - load
  - generate: {prompt_tokens: [8, 12], output_tokens: 4}
plan: {trials: 3, requests: 2, seed: 5, audit: false}
"""


@pytest.fixture(scope="module")
def two(make):
    """A workplace with a finished run of the fake engine's cases of `TWO`, in `out`."""

    def work(workplace) -> None:
        path = workplace.write(TWO)
        done = workplace.bakeoff("run", path, "--backend", "fake", "--out", "out")
        assert done.returncode == 0, done.stderr

    return make(work)


@pytest.fixture(scope="module")
def backends() -> tuple[str, list[str]]:
    """What `bakeoff backends` prints, and the engines that it has imported itself."""
    program = (
        "import sys; sys.argv = ['bakeoff', 'backends']\n"
        "from harness.cli import main\n"
        "try: main()\n"
        "except SystemExit as ended: assert ended.code == 0\n"
        "names = 'torch transformers llama_cpp onnxruntime_genai bakeoff_fake'.split()\n"
        "print([m for m in names if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    shown, _, imported = result.stdout.rstrip("\n").rpartition("\n")
    return shown, json.loads(imported.replace("'", '"'))


def test_backends_lists_adapters_of_other_packages_and_what_to_do(backends) -> None:
    shown, _ = backends
    text = " ".join(shown.split())
    assert "fake 1.2.3 reads fake bakeoff-fake 1.2.3" in text
    assert "fake-missing can't run: the package no-such-engine is not installed" in text
    assert "→ pip install no-such-engine" in text
    assert "fake-broken can't run: the adapter could not be loaded: ModuleNotFoundError" in text
    for name in ("llamacpp", "onnx", "transformers"):
        assert f"{name} " in text
    assert max(map(len, shown.splitlines())) <= 80


def test_backends_imports_no_engine_and_no_adapter_into_the_parent(backends) -> None:
    assert backends[1] == []


def test_the_plan_tells_what_is_skipped_and_why(workplace) -> None:
    result = workplace.bakeoff("plan", workplace.write(TWO))
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("skipped") == 3
    assert "fake-missing can't run: the package no-such-engine is not installed" in result.stdout
    assert "9 trials" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_trials_are_interleaved_in_a_drawn_and_logged_order(two) -> None:
    workplace = two.again()
    path = workplace.folder / "scenario.yaml"
    orders = []
    for seed in (5, 6):
        path.write_text(TWO.replace("seed: 5", f"seed: {seed}"))
        planned = plan.make(
            scenario.load(path, lambda: list(registry.adapters())), plan.Overrides(("fake",))
        )
        orders.append([trial.id for trial in planned.trials])
    run = store.read(workplace.folder / "out")
    assert run.info.seed == 5
    drawn = [trial.id for trial in run.info.trials]
    assert [record.trial for record in run.records] == drawn
    assert orders[0] == drawn != orders[1]
    assert set(orders[0]) == set(orders[1])
    # Each round holds every case once: drift hits all cases alike.
    for start in (0, 3, 6):
        assert len({name.rsplit("-", 1)[0] for name in drawn[start : start + 3]}) == 3
    assert len({tuple(n.rsplit("-", 1)[0] for n in drawn[s : s + 3]) for s in (0, 3, 6)}) > 1


def test_no_prompt_is_repeated_within_a_trial(two) -> None:
    out = two.again().folder / "out"
    generated = [r for r in store.read(out).records if r.case.measure == "generate"]
    assert len(generated) == 6
    for record in generated:
        assert len({s.prompt for s in record.samples}) == len(record.samples) == 3
    frame = results.load(out)
    sent = frame[frame["sample"].notna()]
    assert (sent["prompt_ids"].map(len) == sent["prompt_tokens"]).all()


def test_overrides_reach_the_run_and_its_record(workplace) -> None:
    path = workplace.write(TWO)
    result = workplace.bakeoff("run", path, "-b", "fake", "--trials", "1", "--out", "out")
    assert result.returncode == 0, result.stderr
    run = store.read(workplace.folder / "out")
    assert len(run.records) == 3
    assert {r.case.backend for r in run.records} == {"fake"}
    unknown = workplace.here("run", path, "-b", "fakee")
    assert unknown.returncode == 2
    assert "unknown backend 'fakee', did you mean 'fake'?" in unknown.stderr


def test_arms_are_called_as_the_scenario_names_them(workplace) -> None:
    """Two of them may even be the same: that is how noise is looked at."""
    arms = "\n  - fake\n  - fake: {name: again}\n  - fake: {name: late, options: {delay_s: 0.001}}"
    path = workplace.write(TWO.replace("[fake, fake-missing]", arms).replace("[8, 12]", "8"))
    result = workplace.here("run", path, "--trials", "1", "--out", "out")
    assert result.returncode == 0, result.stderr
    assert "fake again" in result.stdout and "fake late" in result.stdout
    assert "delay_s" not in result.stdout
    settings = [r.case.settings for r in store.read(workplace.folder / "out").records]
    assert len(settings) == 6
    assert sorted(s.get("name", "none given") for s in settings) == [
        "again", "again", "late", "late", "none given", "none given",
    ]  # fmt: skip
    assert [s["options"] for s in settings if s.get("name") == "late"] == [{"delay_s": 0.001}] * 2


def test_every_arm_is_audited_once(workplace) -> None:
    path = workplace.write(TWO.replace(", audit: false", ""))
    assert workplace.here("run", path, "-b", "fake", "--out", "out").returncode == 0
    run = store.read(workplace.folder / "out")
    audits = [record for record in run.records if record.case.measure == "audit"]
    assert len(audits) == 1
    checks = {check.name: check.passed for check in audits[0].checks}
    assert len(checks) == 20
    assert set(checks.values()) == {True}


def test_a_reused_prefix_is_another_task_with_another_metric(workplace) -> None:
    path = workplace.write(
        "name: reuse\nmodels: [tiny]\nbackends: [fake]\nmeasures:\n"
        "  - generate: {prompt_tokens: 400, output_tokens: 2}\n"
        "  - generate: {prompt_tokens: 400, output_tokens: 2, reuse_prefix: true}\n"
        "plan: {trials: 1, warmup: 1, requests: 3, audit: false}\n"
    )
    assert workplace.here("run", path, "--out", "out").returncode == 0
    frame = results.load(workplace.folder / "out").query("not warmup")
    fresh, reused = frame[~frame["reuse_prefix"]], frame[frame["reuse_prefix"]]
    assert fresh["ttft_ms"].notna().all()
    assert reused["ttft_ms"].isna().all()
    assert reused["ttft_reused_prefix_ms"].notna().all()
    shared = {tuple(ids[:350]) for ids in reused["prompt_ids"]}
    assert len(shared) == 1
    assert len({tuple(ids) for ids in reused["prompt_ids"]}) == 3
    evaluated = {
        (r.case.parameters["reuse_prefix"], s.claims["prefill_tokens"])
        for r in store.read(workplace.folder / "out").records
        for s in r.samples
        if not s.warmup
    }
    assert {count for reuse, count in evaluated if not reuse} == {400.0}
    assert all(count <= 51 for reuse, count in evaluated if reuse)


def test_the_page_cache_is_dropped_or_filled_and_looked_at(workplace) -> None:
    (workplace.folder / "models" / "weights.bin").write_bytes(os.urandom(1 << 20))
    path = workplace.write(
        "name: cache\nmodels: [tiny]\nbackends: [fake]\nmeasures:\n"
        "  - load: {page_cache: [cold, warm]}\nplan: {trials: 1, audit: false}\n"
    )
    assert workplace.here("run", path, "--out", "out").returncode == 0
    for record in store.read(workplace.folder / "out").records:
        cache = record.conditions["page_cache"]
        assert cache["asked"] == record.case.parameters["page_cache"]
        assert (cache["resident_before"] > 0.95) == (cache["asked"] == "warm")
        assert cache["resident_after"] > 0.95


def test_what_others_did_and_what_the_worker_used_is_recorded(two) -> None:
    for record in store.read(two.again().folder / "out").records:
        assert record.conditions["disturbance"]["foreign_cpu_s"] >= 0
        assert record.conditions["busy_threads"] == 1
        assert record.conditions["affinity"]
        assert record.conditions["nice"] == os.getpriority(os.PRIO_PROCESS, 0)


def test_workers_run_on_the_cpus_that_the_plan_names(workplace) -> None:
    cpu = max(os.sched_getaffinity(0))
    path = workplace.write(TWO.replace("seed: 5", f"seed: 5, cpus: [{cpu}], threads: 1"))
    arguments = ("-b", "fake", "--trials", "1", "--out", "out")
    assert workplace.here("run", path, *arguments).returncode == 0
    for record in store.read(workplace.folder / "out").records:
        assert record.conditions["affinity"] == [cpu]
    path.write_text(TWO.replace("seed: 5", f"cpus: [{cpu}, 9999]"))
    refused = workplace.here("plan", path)
    assert refused.returncode == 2
    assert "plan.cpus.1: CPU 9999 is not usable here" in refused.stderr


def test_an_engines_chatter_goes_to_the_log(workplace) -> None:
    path = workplace.write(TWO.replace("[fake, fake-missing]", "[fake: {options: {chatter: 1}}]"))
    assert workplace.here("run", path, "--trials", "1", "--out", "out").returncode == 0
    logs = list((workplace.folder / "out" / "logs").iterdir())
    assert len(logs) == 3
    for log in logs:
        assert "chatter on stdout" in log.read_text()


def test_a_run_can_be_reported_again_in_every_format(two) -> None:
    workplace = two.again()
    for name in ("report.html", "report.csv", "report.md"):
        (workplace.folder / "out" / name).unlink()
    result = workplace.bakeoff("report", "out", "--format", "html,csv,md,samples")
    assert result.returncode == 0, result.stderr
    for name in ("report.html", "report.csv", "report.md", "samples.csv"):
        assert (workplace.folder / "out" / name).stat().st_size > 0
        assert f"out/{name}" in result.stdout
    assert workplace.here("report", "out", "--format", "pdf").returncode == 2


def test_the_time_limit_of_a_run_leaves_it_resumable(workplace) -> None:
    path = workplace.write(
        TWO.replace("[fake, fake-missing]", "[fake: {options: {delay_s: 0.1}}]").replace(
            "seed: 5", "seed: 5, run_time_limit_s: 0.5"
        )
    )
    result = workplace.bakeoff("run", path, "--out", "out")
    assert result.returncode == 3
    assert "time limit is over; go on with: bakeoff run --resume out" in result.stderr
    left = len(store.read(workplace.folder / "out").missing)
    assert 0 < left < 9


def test_a_worker_runs_under_another_interpreter_without_our_dependencies(
    workplace, tmp_path_factory
) -> None:
    bare = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    python = bare / "bin" / "python"
    path = workplace.write(TWO.replace("[fake, fake-missing]", f"[fake: {{python: {python}}}]"))
    result = workplace.bakeoff("run", path, "--trials", "1", "--out", "out")
    assert result.returncode == 0, result.stdout + result.stderr
    run = store.read(workplace.folder / "out")
    assert {r.status for r in run.records} == {"ok"}
    assert run.info.engines[f"fake ({python})"]["interpreter"] == str(python)


def test_secrets_do_not_reach_the_worker(workplace, monkeypatch) -> None:
    from harness import environment

    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    assert "HF_TOKEN" not in environment.for_worker(2)
    assert environment.for_worker(2)["OMP_NUM_THREADS"] == "2"


def test_the_schema_describes_what_is_accepted(workplace) -> None:
    result = workplace.bakeoff("schema")
    schema = json.loads(result.stdout)
    assert set(schema["required"]) == {"name", "models", "backends", "measures"}
    measures = schema["$defs"]["MeasureEntry"]["properties"]
    assert {"load", "generate", "templates", "fidelity", "quality", "sampling"} == set(measures)


def test_a_policy_has_a_schema_too(workplace) -> None:
    schema = json.loads(workplace.here("schema", "policy").stdout)
    assert {"metrics", "margin", "looks", "yellow", "budgets"} <= set(schema["properties"])
    result = workplace.here("schema", "policies")
    assert result.returncode == 2 and "expected scenario or policy" in result.stderr


def test_every_shipped_scenario_is_valid() -> None:
    from harness import registry
    from harness.places import SCENARIOS
    from harness.scenario import load

    names = sorted(path.stem for path in Path(SCENARIOS).glob("*.yaml"))
    assert names == [
        "engines", "fidelity", "gate", "latency", "load", "memory", "quality", "quickstart", "sampling",
        "smoke", "templates", "throughput",
    ]  # fmt: skip
    for name in names:
        loaded = load(SCENARIOS / f"{name}.yaml", lambda: list(registry.adapters()))
        assert loaded.scenario.name == name
