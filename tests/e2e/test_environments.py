"""Engine environments: two versions beside each other, with nothing of ours in them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

SCENARIO = """\
name: environments
models: [tiny]
backends:
  - fake: {python: fake-old}
measures:
  - generate: {prompt_tokens: 8, output_tokens: 2}
plan: {trials: 1, warmup: 0, requests: 1, audit: false}
"""


def _installed(python: Path) -> set[str]:
    program = (
        "import importlib.metadata as m, json;"
        "print(json.dumps([f'{d.name}=={d.version}' for d in m.distributions()]))"
    )
    told = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)
    return {
        name for name in json.loads(told.stdout) if not name.startswith(("pip=", "setuptools="))
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def place(workplace: Any, data: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("BAKEOFF_DATA", str(data))
    return workplace


def test_two_versions_of_one_engine_are_an_arm_each(place: Any, data: Path) -> None:
    for version, name in (("2.0.0", "fake-old"), ("2.1.0", "fake-new")):
        result = place.bakeoff("engines", "install", f"fake=={version}", "--as", name)
        assert result.returncode == 0, result.stderr
        assert f"{name}: fake, iniconfig {version}" in result.stdout
        assert "runs: 1.2.3" in result.stdout
        # Nothing of ours, and nothing of the adapter's.
        assert _installed(data / "engines" / name / "bin" / "python") == {f"iniconfig=={version}"}

    result = place.bakeoff("run", place.write(SCENARIO), "--out", "out")
    assert result.returncode == 0, result.stderr
    record = json.loads((place.folder / "out" / "records.jsonl").read_text())
    assert record["case"]["settings"]["python"] == str(data / "engines/fake-old/bin/python")

    place.write("metrics: [peak_rss_bytes]\nredo: 0\n", "policy.yaml")
    result = place.bakeoff(
        "gate", "scenario.yaml", "--base", "python=fake-old", "--candidate", "python=fake-new",
        "--policy", "policy.yaml", "--out", "gated",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    gate = json.loads((place.folder / "gated" / "gate.json").read_text())
    assert [arm["overlay"] for arm in gate["arms"]] == ["python=fake-old", "python=fake-new"]

    listed = place.bakeoff("engines", "list").stdout
    assert "fake-new: fake, iniconfig 2.1.0" in listed
    assert place.bakeoff("engines", "remove", "fake-old").returncode == 0
    assert "fake-old" not in place.bakeoff("engines", "list").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("fke",), "unknown backend, did you mean 'fake'?"),
        (("silent",), "declares no extra 'silent'"),
        (("fake==",), "expected a backend, or backend==version"),
        (("fake==one two",), "is no version"),
        (("fake", "--as", "../x"), "expected letters, digits"),
        (("fake", "--installer", "conda"), "expected uv or pip"),
    ],
)
def test_what_cannot_be_installed_is_said(
    place: Any, data: Path, arguments: tuple[str, ...], said: str
) -> None:
    result = place.bakeoff("engines", "install", *arguments)
    assert result.returncode == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_a_failed_install_leaves_nothing(place: Any, data: Path) -> None:
    result = place.bakeoff("engines", "install", "fake==0.0.0.dev999", "--as", "broken")
    assert result.returncode == 2
    assert "failed" in result.stderr
    assert not (data / "engines" / "broken").exists()


def test_an_unknown_environment_is_said(place: Any) -> None:
    result = place.bakeoff("engines", "remove", "nowhere")
    assert result.returncode == 2
    assert "no such engine environment" in result.stderr
