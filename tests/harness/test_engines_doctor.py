"""What the doctor finds in an environment, and what it tells to do."""

from __future__ import annotations

import json
import venv
from dataclasses import asdict
from pathlib import Path

import pytest

from harness.engines_doctor import Checkup, checkups
from harness.environments import Environment
from harness.errors import BadInput


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BAKEOFF_DATA", str(tmp_path))
    return tmp_path / "engines"


def house(root: Path, one: Environment, packages: dict[str, tuple[str, list[str]]]) -> None:
    """An environment whose packages are names, versions and requirements only."""
    venv.create(root / one.name, symlinks=True)
    site = next((root / one.name).glob("lib/python*/site-packages"))
    for name, (version, requires) in packages.items():
        facts = site / f"{name}-{version}.dist-info"
        facts.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {text}" for text in requires]
        (facts / "METADATA").write_text("\n".join(lines) + "\n")
    (root / one.name / "engine.json").write_text(json.dumps(asdict(one)))


def the_old_server(installed: str = "1.2") -> Environment:
    return Environment(
        "xllamacpp-old", "openai", ("numpy", "xllamacpp==1.2"), {"xllamacpp": installed}, "2026",
        engine="xllamacpp", given="xllamacpp==1.2", links="/my wheels",
    )  # fmt: skip


def look(name: str) -> Checkup:
    (found,) = checkups([name])
    return found


def test_a_server_of_another_name_is_told_by_its_engine(root: Path) -> None:
    house(root, the_old_server("1.1"), {"xllamacpp": ("1.2", [])})
    found = look("xllamacpp-old")
    remedy = "bakeoff engines install xllamacpp==1.2 --as xllamacpp-old --find-links '/my wheels'"
    assert found.troubles == (("xllamacpp was 1.1 when it was made, now 1.2", remedy),)
    assert found.facts[-1] == (
        "a server, for `openai: {python: xllamacpp-old, options: {server: xllamacpp}}`"
    )
    assert look("xllamacpp") == found


def test_one_of_the_servers_own_name_is_used_unnamed(root: Path) -> None:
    one = Environment("xllamacpp", "openai", ("xllamacpp==1.2",), {}, "2026")
    house(root, one, {})
    facts = look("xllamacpp").facts
    assert facts[-1] == "a server, for `openai: {options: {server: xllamacpp}}`"
    assert facts[0].startswith("made with xllamacpp==1.2; its adapter names ")
    assert "numpy" in facts[0]


def test_requirements_that_are_not_met_are_troubles(root: Path) -> None:
    packages = {
        "xllamacpp": ("1.2", [
            "Num_Py>=2", "missing", "there>=1", "newer>=1.0",
            "elsewhere; sys_platform == 'beos'", "older; python_version < '3'", "extra; extra == 'x'",
            "not a requirement!", "unversioned>=1",
        ]),
        "num.py": ("1.9", []),
        "there": ("1.0+cpu", []),
        "newer": ("2.0.dev1", []),
        "unversioned": ("who knows", []),
    }  # fmt: skip
    house(root, the_old_server(), packages)
    found = look("xllamacpp-old")
    assert [trouble for trouble, _ in found.troubles] == [
        "xllamacpp requires Num_Py>=2, there is 1.9",
        "xllamacpp requires missing, there is none",
    ]
    assert {str(remedy)[:40] for _, remedy in found.troubles} == {
        "bakeoff engines install xllamacpp==1.2 -"
    }


def test_a_python_that_does_not_run_is_told(root: Path) -> None:
    house(root, the_old_server(), {})
    python = root / "xllamacpp-old" / "bin" / "python"
    for program, reason in (
        ("echo 'no library' >&2; exit 3", "no library"),
        ("exit 3", "exit code 3"),
        ("echo '[1]'", "it answered nonsense"),
        ("", "it answered nonsense"),
    ):
        python.unlink()
        python.write_text(f"#!/bin/sh\n{program}\n")
        python.chmod(0o755)
        ((trouble, remedy),) = look("xllamacpp-old").troubles
        assert trouble.startswith(f"its Python does not run: {reason}")
        assert remedy is not None and "--as xllamacpp-old" in remedy


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(BadInput, match="no such engine or environment, did you mean 'mlx'"):
        list(checkups(["mlxx"]))
