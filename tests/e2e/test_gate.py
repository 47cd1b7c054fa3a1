"""`bakeoff gate` as a user runs it, on the fake engine: what is red, over what, and how it says so."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

import pytest

from results import store

SCENARIO = """\
name: gated
models: [tiny]
backends:
  - fake
measures:
  - generate: {prompt_tokens: 16, output_tokens: 6}
plan: {warmup: 0, requests: 3, audit: false}
"""
#: The machine may be noisy: what is not about memory is left out, and nothing is run again.
POLICY = "metrics: [decode_tok_s]\nredo: 0\n"


def _gate(
    workplace, candidate: str, *, scenario: str = SCENARIO, base: str = "", command: bool = False
) -> Any:
    """In this process, or as the command that a user starts; the trials have theirs either way."""
    workplace.write(POLICY, "policy.yaml")
    return (workplace.bakeoff if command else workplace.here)(
        "gate", workplace.write(scenario), "--base", base, "--candidate", candidate,
        "--policy", "policy.yaml", "--out", "out",
    )  # fmt: skip


@pytest.fixture(scope="module")
def slower(make) -> tuple[Any, Any]:
    """A gate whose candidate is slower: what the command said, and the workplace after it."""
    said = []

    def work(workplace) -> None:
        said.append(_gate(workplace, "options.delay_s=0.01", command=True))

    made = make(work)
    return said[0], made.workplace


def _outcome(workplace, folder: str = "out") -> dict[str, Any]:
    return dict(json.loads((workplace.folder / folder / "gate.json").read_text()))


def _first_line(result: subprocess.CompletedProcess[str]) -> str:
    return result.stdout.splitlines()[0]


def test_a_slower_candidate_is_red_after_ten_blocks(slower) -> None:
    result, workplace = slower
    assert result.returncode == 1, result.stdout + result.stderr
    assert _first_line(result).startswith("RED: the candidate is worse: decode speed")
    found = _outcome(workplace)
    assert (found["blocks"], found["rows"][0]["verdict"]) == (10, "regressed")
    assert found["rows"][0]["high"] < 0.5
    run = store.read(workplace.folder / "out")
    assert not run.missing
    assert len(run.records) == 20
    assert {record.case.arm for record in run.records} == {"base", "candidate"}


def test_blocks_are_interleaved_by_a_coin(slower) -> None:
    _, workplace = slower
    arms = [r.case.arm for r in store.read(workplace.folder / "out").records]
    blocks = [tuple(arms[i : i + 2]) for i in range(0, len(arms), 2)]
    assert set(blocks) == {("base", "candidate"), ("candidate", "base")}


def test_a_faster_candidate_passes(workplace) -> None:
    result = _gate(workplace, "", base="options.delay_s=0.01")
    assert result.returncode == 0, result.stdout
    assert _first_line(result).startswith("GREEN: no regression")
    assert _outcome(workplace)["blocks"] == 6


@pytest.mark.parametrize(
    ("candidate", "said"),
    [
        ("options.crash_at=5", "RED: the candidate crashed in fake fake, generate 16→6"),
        ("options.raise_at=5", "RED: the candidate failed in fake fake, generate 16→6"),
        ("options.short=1", "RED: the candidate failed in fake fake, generate 16→6"),
        ("options.nonsense=1", "RED: the candidate can't run fake fake, generate 16→6"),
        ("backend=fake-missing", "RED: the candidate can't run fake-missing fake"),
    ],
)
def test_a_candidate_that_fails_is_red_for_its_own_reason(workplace, candidate, said) -> None:
    result = _gate(workplace, candidate)
    assert result.returncode == 1, result.stderr
    assert _first_line(result).startswith(said)
    assert _outcome(workplace)["blocks"] <= 1  # one block is enough to see it


def test_a_base_that_fails_leaves_nothing_to_compare_with(workplace) -> None:
    result = _gate(workplace, "", base="options.crash_at=5")
    assert result.returncode == 1
    assert _first_line(result).startswith("INCOMPARABLE: the base crashed")


def test_a_missing_case_is_red(workplace) -> None:
    manifest = workplace.folder / "models" / "tiny.yaml"
    manifest.write_text(
        manifest.read_text()
        + "  other: {format: fake, precision: f32, source: {path: weights.bin}}\n"
    )
    scenario = SCENARIO.replace("- fake\n", "- fake: {artifacts: [fake, other]}\n")
    result = _gate(workplace, "artifact=fake", scenario=scenario)
    assert result.returncode == 1
    assert _first_line(result).startswith("RED: the candidate has no case for fake other")


def test_what_cannot_be_told_is_yellow_and_blocks_where_the_policy_says_so(workplace) -> None:
    limit = "time_limit_s: 0.001\n"
    workplace.write(POLICY + limit, "quick.yaml")
    path = workplace.write(SCENARIO)
    result = workplace.here("gate", path, "--policy", "quick.yaml", "--out", "out")
    assert result.returncode == 0
    assert _first_line(result).startswith("YELLOW: ")
    assert "pass" not in {row["verdict"] for row in _outcome(workplace)["rows"]}
    workplace.write(POLICY + limit + "yellow: fail\n", "quick.yaml")
    result = workplace.here("gate", path, "--policy", "quick.yaml", "--out", "out2")
    assert result.returncode == 1


def test_a_missed_budget_is_red(workplace) -> None:
    scenario = SCENARIO + "budgets: {ttft_ms: {max: 0.001}}\n"
    result = _gate(workplace, "", base="options.delay_s=0.01", scenario=scenario)
    assert result.returncode == 1
    assert _first_line(result).startswith("RED: time to first token of fake fake, generate 16→6 is")


def test_a_model_of_another_path_can_be_the_candidate(workplace) -> None:
    """Its greedy ids may differ: it holds other weights."""
    folder = workplace.folder / "models"
    (folder / "weights2.bin").write_bytes(b"other weights")
    manifest = (folder / "tiny.yaml").read_text()
    (folder / "changed.yaml").write_text(
        manifest.replace("id: tiny", "id: changed").replace("weights.bin", "weights2.bin")
    )
    result = _gate(workplace, "model=models/changed.yaml", base="options.delay_s=0.01")
    assert result.returncode == 0, result.stderr
    greedy = next(one for one in _outcome(workplace)["exact"] if one["name"] == "greedy")
    assert (greedy["same"], greedy["detail"]) == (None, "other weights, or stored otherwise")


def test_an_interrupted_gate_goes_on_and_ends_the_same(workplace) -> None:
    workplace.write(POLICY, "policy.yaml")
    path = workplace.write(SCENARIO)
    process = workplace.start(
        "gate", path, "--candidate", "options.delay_s=0.01", "--policy", "policy.yaml",
        "--out", "out",
    )  # fmt: skip
    records = workplace.folder / "out" / "records.jsonl"
    while not (records.exists() and records.read_text().count("\n") >= 5):
        time.sleep(0.02)
    process.kill()
    process.wait()
    result = workplace.here("gate", "--resume", "out")
    assert result.returncode == 1, result.stderr
    assert _first_line(result).startswith("RED: the candidate is worse")
    run = store.read(workplace.folder / "out")
    assert len({r.trial for r in run.records}) == len(run.records) == 20
    text = (workplace.folder / "out" / "run.json").read_text()
    described = json.loads(text)
    described["plan"]["gate"]["rules"]["looks"] = "often"
    (workplace.folder / "out" / "run.json").write_text(json.dumps(described))
    result = workplace.here("gate", "--resume", "out")
    assert result.returncode == 2
    assert "run.json: not the description of a gate" in " ".join(result.stderr.split())


def test_a_run_and_a_gate_are_gone_on_with_by_their_own_commands(workplace) -> None:
    path = workplace.write(SCENARIO.replace("audit: false", "audit: false, trials: 1"))
    assert workplace.here("run", path, "--out", "plain").returncode == 0
    before = (workplace.folder / "plain" / "records.jsonl").read_bytes()
    result = workplace.here("gate", "--resume", "plain")
    assert result.returncode == 2
    assert "go on with: bakeoff run --resume plain" in " ".join(result.stderr.split())
    assert (workplace.folder / "plain" / "records.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("arm", "said"),
    [
        ("options", "'options' is no file and no field=value"),
        ("colour=red", "colour"),
        ("backend=fke", "unknown backend 'fke', did you mean 'fake'?"),
        ("artifact=nope", "tiny has no artifact 'nope'"),
        ("threads=many", "threads"),
        ("options.a='", "can't be read"),
        ("nowhere.yaml", "no such file"),
    ],
)
def test_a_bad_arm_is_refused_before_anything_is_written(workplace, arm: str, said: str) -> None:
    result = _gate(workplace, arm, command=arm == "colour=red")
    assert result.returncode == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert not (workplace.folder / "out").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("metrics: [speed]", "policy.yaml:1: metrics.0: unknown metric"),
        ("margin: {ignorable: 0.1, interest: 0.05}", "expected interest above ignorable"),
        ("looks: {blocks: [6, 4, 20]}", "expected rising numbers"),
        ("looks: {blocks: [4, 6]}", "expected a last look at 10 blocks or more"),
        ("yellow: maybe", "policy.yaml:1: yellow"),
        ("colour: red", "policy.yaml:1"),
    ],
)
def test_a_bad_policy_is_refused_with_its_line(workplace, text: str, said: str) -> None:
    workplace.write(text + "\n", "policy.yaml")
    gate = workplace.bakeoff if said.startswith("policy.yaml:1: metrics") else workplace.here
    result = gate("gate", workplace.write(SCENARIO), "--policy", "policy.yaml")
    assert result.returncode == 2
    assert said in result.stderr
