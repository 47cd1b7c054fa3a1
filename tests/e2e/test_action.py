"""action.yml: its shell steps, run as the runner runs them, with the real bakeoff on PATH."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
STEPS = {step.get("id", step["name"]): step for step in ACTION["runs"]["steps"]}
BIN = Path(sys.executable).parent

SCENARIO = """\
name: tiny
models: [tiny]
backends: [fake]
measures:
  - generate: {prompt_tokens: 8, output_tokens: 4}
plan: {requests: 1, warmup: 0, seed: 5, audit: false}
"""
#: So wide that two runs of the same fake engine pass at the first look, whatever the machine does.
POLICY = """\
metrics: [decode_tok_s]
margin: {ignorable: 0.9, interest: 9}
looks: {blocks: [6, 10], alpha: 0.1}
redo: 0
"""


class Runner:
    """What GitHub's runner gives a step: files, expressions in `env`, and bash with -eo pipefail."""

    def __init__(self, workplace, **inputs: str) -> None:
        self.workplace = workplace
        self.inputs = {k: str(v.get("default", "")) for k, v in ACTION["inputs"].items()} | inputs
        self.files = {
            name: workplace.folder / f"{name.lower()}.txt"
            for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_PATH")
        }
        for path in self.files.values():
            path.touch()
        (workplace.folder / "temp").mkdir(exist_ok=True)

    def run(self, step: str, path: str = "") -> subprocess.CompletedProcess[str]:
        given = {
            name: re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda m: self.inputs[m[1]], value)
            for name, value in STEPS[step].get("env", {}).items()
        }
        script = self.workplace.write(STEPS[step]["run"], "step.sh")
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=self.workplace.folder,
            env={
                **self.workplace.environment,
                **{name: str(file) for name, file in self.files.items()},
                "PATH": f"{path or BIN}:{os.environ['PATH']}",
                "RUNNER_TEMP": str(self.workplace.folder / "temp"),
                "GITHUB_ACTION_PATH": str(ROOT),
                **given,
            },
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    @property
    def outputs(self) -> dict[str, str]:
        lines = self.files["GITHUB_OUTPUT"].read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    @property
    def summary(self) -> str:
        return self.files["GITHUB_STEP_SUMMARY"].read_text()


def _runner(workplace, **inputs: str) -> Runner:
    workplace.write(SCENARIO)
    workplace.write(POLICY, "policy.yaml")
    given = {"scenario": "scenario.yaml", "policy": "policy.yaml", "candidate": "options.delay_s=0"}
    return Runner(workplace, **(given | inputs))


def _shell() -> list[str]:
    return [step["run"] for step in STEPS.values() if "run" in step]


def test_no_expression_is_pasted_into_a_script() -> None:
    assert len(_shell()) == 3
    for script in _shell():
        assert "${{" not in script


def test_every_input_is_used_and_every_output_comes_from_the_gate() -> None:
    text = (ROOT / "action.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"inputs\.(\w+)", text)) == set(ACTION["inputs"])
    printed = STEPS["gate"]["run"]
    for name, output in ACTION["outputs"].items():
        assert output["value"] == f"${{{{ steps.gate.outputs.{name} }}}}"
        assert f"{name}=" in printed


def test_the_recipes_are_yaml_and_say_only_what_the_action_knows() -> None:
    text = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    for name in (*ACTION["inputs"], *ACTION["outputs"]):
        assert f"`{name}`" in text, name
    github, gitlab = map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", text, re.S))
    (step,) = [s for s in github["jobs"]["gate"]["steps"] if s.get("id") == "gate"]
    assert set(step["with"]) <= set(ACTION["inputs"])
    assert not any("${{" in s.get("run", "") for s in github["jobs"]["gate"]["steps"])
    assert gitlab["gate"]["artifacts"]["reports"]["junit"] == "gate-run/gate.xml"


def test_other_actions_are_pinned_by_version_and_the_run_is_kept_whatever_happens() -> None:
    used = [step["uses"] for step in STEPS.values() if "uses" in step]
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", one) for one in used) and len(used) == 3
    kept = STEPS["Keep the run folder"]
    assert kept["if"].startswith("always()") and "upload-artifact" in kept["uses"]


def test_pips_cache_is_keyed_by_what_is_installed(workplace) -> None:
    runner = _runner(workplace)
    keys = set()
    for extras in ("", "llamacpp"):
        runner.inputs["extras"] = extras
        done = runner.run("pip")
        assert done.returncode == 0, done.stderr
        assert Path(runner.outputs["folder"]).is_absolute()
        keys.add(runner.outputs["key"])
    assert len(keys) == 2 and all(re.fullmatch("[0-9a-f]{16}", key) for key in keys)


@pytest.mark.parametrize("extras", ["", "llamacpp,onnx"])
def test_installing_asks_pip_for_this_checkout_and_shows_the_command_only(
    workplace, extras
) -> None:
    """With a python3 that makes a venv of notes: installing for real takes minutes."""
    fake = workplace.folder / "fake"
    fake.mkdir()
    pip, bakeoff = fake / "pip", fake / "bakeoff"
    pip.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$RUNNER_TEMP/asked"\n')
    bakeoff.write_text("#!/bin/sh\necho bakeoff here\n")
    (fake / "python3").write_text(  # asked for: -m venv FOLDER
        f'#!/bin/sh\nmkdir -p "$3/bin"; cp {pip} "$3/bin/python"; cp {bakeoff} "$3/bin/bakeoff"\n'
    )
    for path in fake.iterdir():
        path.chmod(0o755)
    runner = _runner(workplace, extras=extras)
    done = runner.run("install", path=str(fake))
    assert done.returncode == 0, done.stderr
    asked = (workplace.folder / "temp" / "asked").read_text().splitlines()
    assert asked[:3] == ["-m", "pip", "install"]
    assert asked[-1] == f"{ROOT}{f'[{extras}]' if extras else ''}"
    folder = Path(runner.files["GITHUB_PATH"].read_text().strip())
    assert [p.name for p in folder.iterdir()] == ["bakeoff"]
    assert subprocess.check_output([folder / "bakeoff"], text=True) == "bakeoff here\n"


def _outside(log: str) -> list[str]:
    """The lines that the runner reads as commands if they look like one."""
    token = re.search(r"^::stop-commands::(\w{32})$", log, re.M)[1]
    before, _, rest = log.partition(f"::stop-commands::{token}\n")
    _, _, after = rest.partition(f"\n::{token}::\n")
    assert after
    return [*before.splitlines(), *after.splitlines()]


def test_a_gate_that_passes(workplace) -> None:
    runner = _runner(workplace)
    done = runner.run("gate")
    assert done.returncode == 0, done.stdout + done.stderr
    assert runner.outputs["colour"] == "green" and runner.outputs["passed"] == "true"
    assert Path(runner.outputs["report"]).is_file()
    assert Path(runner.outputs["report"]).parent == Path(runner.outputs["run"])
    assert runner.summary.startswith("## GREEN")
    outside = _outside(done.stdout)
    assert outside == [line for line in outside if line.startswith("::notice title=bakeoff gate::")]
    assert len(outside) == 1 and done.stderr == ""


def test_a_gate_that_fails_is_summed_up_and_annotated_before_the_step_fails(workplace) -> None:
    runner = _runner(workplace, candidate="options.crash_at=1 options.chatter=true")
    done = runner.run("gate")
    assert done.returncode == 1, done.stdout
    assert runner.outputs["colour"] == "red" and runner.outputs["passed"] == "false"
    assert runner.summary.startswith("## RED")
    outside = _outside(done.stdout)
    assert outside[0].startswith("::error title=bakeoff gate::RED")
    assert all(re.match("::(error|warning|notice) title=", line) for line in outside)
    assert Path(runner.outputs["report"]).is_file()


def test_bad_input_is_exit_code_2_and_an_annotation(workplace) -> None:
    runner = _runner(workplace, scenario="no-such.yaml")
    done = runner.run("gate")
    assert done.returncode == 2
    assert runner.outputs["passed"] == "false" and runner.outputs["colour"] == ""
    assert "report" not in runner.outputs and runner.summary == ""
    said = "::error title=bakeoff gate::The gate could not judge (exit code 2). See the log."
    assert _outside(done.stdout) == [said]
    assert "no-such.yaml" in done.stdout


@pytest.mark.parametrize("name", ["scenario", "base", "candidate", "policy"])
def test_inputs_are_never_commands(workplace, name) -> None:
    runner = _runner(workplace, **{name: "$(touch pwned)`touch pwned`\"; touch pwned; 'x"})
    done = runner.run("gate")
    assert done.returncode == 2, done.stdout
    assert not (workplace.folder / "pwned").exists()


def test_inputs_are_never_options(workplace) -> None:
    runner = _runner(workplace, scenario="--help", base="--help", candidate="--help")
    done = runner.run("gate")
    assert done.returncode == 2 and "Usage: bakeoff gate [OPTIONS] [SCENARIO]" not in done.stdout


@pytest.mark.parametrize(
    ("script", "code", "colour"),
    [
        ("printf '::error::from an engine'", 1, ""),
        ("mkdir $4; echo '{\"colour\": \"green\", \"passed\": true}' > $4/gate.json; exit 9", 9, "green"),
        ("mkdir $4; echo '{\"colour\": \"x\\nred=1\", \"passed\": 1}' > $4/gate.json", 1, ""),
    ],
)  # fmt: skip
def test_only_a_whole_verdict_and_exit_code_0_pass(workplace, script, code, colour) -> None:
    fake = workplace.folder / "fake"
    fake.mkdir()
    (fake / "bakeoff").write_text(f"#!/bin/bash\nset -- $1 $2 $3 ${{4#--out=}}\n{script}\n")
    (fake / "bakeoff").chmod(0o755)
    runner = _runner(workplace)
    done = runner.run("gate", path=str(fake))
    assert done.returncode == code, done.stderr
    assert runner.outputs["passed"] == "false" and runner.outputs["colour"] == colour
    (said,) = _outside(done.stdout)
    assert said.startswith("::error title=bakeoff gate::The gate could not judge")
