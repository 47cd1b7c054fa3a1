"""Engine environments: two versions beside each other, with nothing of ours in them."""

from __future__ import annotations

import json
import subprocess
import tarfile
import zipfile
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
        (("fke",), "unknown engine, did you mean 'fake'?"),
        (("silent",), "has nothing to install for 'silent'"),
        (("fake==",), "expected an engine, or engine==version"),
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


def test_a_failed_install_leaves_what_was_there(place: Any, data: Path) -> None:
    broken = ("engines", "install", "fake==0.0.0.dev999", "--as")
    result = place.bakeoff(*broken, "broken")
    assert result.returncode == 2
    assert "failed" in result.stderr
    assert not (data / "engines" / "broken").exists()
    assert place.bakeoff("engines", "install", "fake==2.0.0", "--as", "whole").returncode == 0
    assert place.bakeoff(*broken, "whole").returncode == 2
    assert "iniconfig==2.0.0" in _installed(data / "engines" / "whole" / "bin" / "python")
    assert [path.name for path in (data / "engines").glob(".*.old")] == []


def test_the_engines_own_environment_is_used_unnamed_and_the_doctor_looks_at_it(
    place: Any, data: Path
) -> None:
    plain = SCENARIO.replace("fake: {python: fake-old}", "fake")
    place.write(plain)
    assert place.bakeoff("run", "scenario.yaml", "--out", "before").returncode == 0
    assert place.bakeoff("engines", "install", "fake==2.0.0").returncode == 0
    assert place.bakeoff("run", "scenario.yaml", "--out", "after").returncode == 0
    pythons = [
        json.loads((place.folder / run / "records.jsonl").read_text())["case"]["settings"]["python"]
        for run in ("before", "after")
    ]
    assert pythons == [None, str(data / "engines/fake/bin/python")]

    told = place.bakeoff("engines", "doctor", "fake")
    assert told.returncode == 0, told.stderr
    assert "✓ fake" in told.stdout and "1.2.3, runs on cpu" in told.stdout
    facts = data / "engines/fake/engine.json"
    facts.write_text(facts.read_text().replace('"iniconfig": "2.0.0"', '"iniconfig": "1.9"'))
    told = place.bakeoff("engines", "doctor", "fake")
    assert told.returncode == 1
    assert "iniconfig was 1.9 when it was made, now 2.0.0" in told.stdout
    assert "bakeoff engines install fake==2.0.0 --as fake" in " ".join(told.stdout.split())
    (data / "engines/fake/bin/python").unlink()
    told = place.bakeoff("engines", "doctor", "fake")
    assert told.returncode == 1 and "its Python does not run" in told.stdout


def test_an_environment_that_is_not_there_names_the_command_that_makes_it(place: Any) -> None:
    result = place.bakeoff("plan", place.write(SCENARIO))
    assert "bakeoff engines install fake --as fake-old" in " ".join(result.stdout.split())


def test_an_unknown_environment_is_said(place: Any) -> None:
    result = place.bakeoff("engines", "remove", "nowhere")
    assert result.returncode == 2
    assert "no such engine environment" in result.stderr


def test_wheels_beyond_the_index_can_be_named(place: Any, data: Path, tmp_path: Path) -> None:
    """A build of one's own, or an engine that is on no index."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    facts = "iniconfig-99.0.0.dev1.dist-info"
    with zipfile.ZipFile(wheels / "iniconfig-99.0.0.dev1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("iniconfig/__init__.py", "")
        wheel.writestr(
            f"{facts}/METADATA", "Metadata-Version: 2.1\nName: iniconfig\nVersion: 99.0.0.dev1\n"
        )
        wheel.writestr(
            f"{facts}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{facts}/RECORD", "")
    result = place.bakeoff("engines", "install", "fake", "--as", "own", "--find-links", wheels)
    assert result.returncode == 0, result.stderr
    assert "own: fake, iniconfig 99.0.0.dev1" in result.stdout


BUILDS = """\
import json, os, zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    facts = "iniconfig-99.0.0.dist-info"
    name = "iniconfig-99.0.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        wheel.writestr("iniconfig/stolen.json", json.dumps(dict(os.environ)))
        wheel.writestr(f"{facts}/METADATA", "Metadata-Version: 2.1\\nName: iniconfig\\nVersion: 99.0.0\\n")
        wheel.writestr(f"{facts}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{facts}/RECORD", "")
    return name
"""


def test_a_packages_own_build_sees_no_secrets(
    place: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = {
        "builds.py": BUILDS,
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "builds"\nbackend-path = ["."]\n',
        "PKG-INFO": "Metadata-Version: 2.1\nName: iniconfig\nVersion: 99.0.0\n",
    }
    (tmp_path / "sources").mkdir()
    with tarfile.open(tmp_path / "sources" / "iniconfig-99.0.0.tar.gz", "w:gz") as archive:
        for name, text in source.items():
            (tmp_path / name).write_text(text)
            archive.add(tmp_path / name, f"iniconfig-99.0.0/{name}")
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_CUDA=on")
    sources = tmp_path / "sources"
    result = place.bakeoff("engines", "install", "fake", "--as", "built", "--find-links", sources)
    assert result.returncode == 0, result.stderr
    stolen = next((data / "engines" / "built").glob("lib/*/site-packages/iniconfig/stolen.json"))
    environment = json.loads(stolen.read_text())
    assert environment["CMAKE_ARGS"] == "-DGGML_CUDA=on"
    assert "secret" not in environment.values()
