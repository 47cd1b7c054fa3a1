"""`bakeoff conform` and `bakeoff engines matrix`, as commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from backends.conformance import CHECKS
from results import conformance

BAKEOFF = Path(sys.executable).parent / "bakeoff"
TOY = (Path(__file__).parent / "toys" / "adapter.py").read_text()
CRASHES = """

class Crashes(Toy):
    def load(self, artifact, options):
        if not artifact.path.exists():
            import os, signal
            os.kill(os.getpid(), signal.SIGSEGV)
        super().load(artifact, options)


class Hangs(Toy):
    def generate(self, request):
        if not request.prompt_ids:
            import time
            time.sleep(3600)
        yield from super().generate(request)


class NotHere(Toy):
    def probe(self):
        return Availability(reason="the toy shop is closed", remedy="come back tomorrow")
"""


@pytest.fixture
def folder(tmp_path: Path, toy_model: Path) -> Path:
    (tmp_path / "mine.py").write_text(TOY + CRASHES)
    (tmp_path / "table.toy").write_bytes(toy_model.read_bytes())
    return tmp_path


def bakeoff(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "COLUMNS": "80", "BAKEOFF_CACHE": str(folder / "cache")}
    return subprocess.run(
        [BAKEOFF, *arguments], cwd=folder, env=env, capture_output=True, text=True, timeout=120
    )


def conform(folder: Path, name: str, *more: str) -> subprocess.CompletedProcess[str]:
    return bakeoff(folder, "conform", f"mine.py:{name}", "--model", "table.toy", *more)


def test_a_file_and_a_model_are_enough(folder: Path) -> None:
    done = conform(folder, "Toy", "--json", "toy.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "Toy 1.0 conforms" in done.stdout
    found = conformance.read(folder / "toy.json")
    assert [result.check for result in found.checks] == [check.name for check in CHECKS]
    assert (found.engine, found.version, found.artifact) == ("Toy", "1.0", "table.toy")


def test_a_crash_fails_its_check_and_loses_no_other(folder: Path) -> None:
    done = conform(folder, "Crashes", "--json", "crash.json")
    assert done.returncode == 1
    found = conformance.read(folder / "crash.json")
    assert [(r.check, r.detail) for r in found.failed] == [
        ("missing_model_refused", "the process crashed with SIGSEGV")
    ]
    assert len(found.checks) == len(CHECKS)


def test_a_hang_fails_its_check_and_loses_no_other(folder: Path) -> None:
    done = conform(folder, "Hangs", "--limit-s", "20", "--json", "hang.json")
    assert done.returncode == 1
    found = conformance.read(folder / "hang.json")
    assert [result.check for result in found.failed] == ["empty_prompt_handled"]
    assert "no answer in time" in found.failed[0].detail
    assert len(found.checks) == len(CHECKS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nobody"], "unknown engine 'nobody'"),
        (["no.py:Toy"], "no such adapter"),
        (["mine.py:NotHere"], "the toy shop is closed\n  → come back tomorrow"),
        (["mine.py:Toy"], "has no artifact in a format that Toy reads: toy"),
        (["mine.py:Toy", "--json", "no/folder.json"], "there is no such folder"),
        (["mine.py:Toy", "--model", "table.toy", "--artifact", "gguf"], "reads toy, not gguf"),
    ],
)
def test_what_cannot_be_asked_is_bad_input(folder: Path, arguments: list[str], said: str) -> None:
    done = bakeoff(folder, "conform", *arguments)
    assert done.returncode == 2, done.stdout
    assert said in done.stderr and "→" in done.stderr


def result(engine: str, *checks: tuple[str, str, str, str | None]) -> conformance.Conformance:
    return conformance.Conformance(
        engine, "shop 1.0", "1.0", "3.11.9", "tiny", "tiny-q4", "toy", "Linux x86_64",
        "2026-11-21T18:00:00+00:00", tuple(conformance.CheckResult(*check) for check in checks),
    )  # fmt: skip


def test_the_matrix_shows_what_was_verified_and_why_the_rest_is_not(tmp_path: Path) -> None:
    one = result(
        "one",
        ("top_k_honoured", "passed", "", None),
        ("scores", "failed", "bad | `row`\n<b>", None),
    )
    two = result(
        "two",
        ("top_k_honoured", "not_applicable", "refused: no", "never: the engine has none"),
        ("draws", "not_applicable", "not claimed", None),
    )
    for found in (one, two):
        conformance.write(found, tmp_path / f"{found.engine}.json")
    done = bakeoff(tmp_path, "engines", "matrix", "one.json", "two.json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:7] == [
        "| check | one 1.0 | two 1.0 |",
        "| --- | --- | --- |",
        "| `top_k_honoured` | ✓ | never (1) |",
        "| `scores` | ✗ (2) | not run |",
        "| `draws` | not run | – (3) |",
        "",
        "✓ verified by running, – does not apply, ✗ fails; gaps are named as declared.",
    ]
    assert "1. never: the engine has none" in done.stdout
    assert "2. bad \\| \\`row\\`�\\<b\\>" in done.stdout
    assert bakeoff(tmp_path, "engines", "matrix", "one.json", "--out", "m.md").returncode == 0
    assert (tmp_path / "m.md").read_text().startswith("| check | one 1.0 |")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("{}", "not a conformance result of the schema"),
        (json.dumps({"schema": conformance.SCHEMA, "checks": [{"x": 1}]}), "unexpected 'x'"),
        (json.dumps({"schema": conformance.SCHEMA, "checks": []}), "missing"),
    ],
)
def test_a_file_that_is_no_result_is_bad_input(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "bad.json").write_text(text)
    for file in ("bad.json", "missing.json"):
        done = bakeoff(tmp_path, "engines", "matrix", file)
        assert done.returncode == 2
        assert file in done.stderr
        assert file == "missing.json" or said in done.stderr


def test_options_of_the_engine_are_passed_on_and_named(folder: Path) -> None:
    result = conform(folder, "Toy", "--option", "colour=red", "--json", "toy.json")
    assert result.returncode == 1
    found = conformance.read(folder / "toy.json")
    assert found.engine == "Toy colour=red"
    assert any("colour" in check.detail for check in found.checks if check.status == "failed")
    result = conform(folder, "Toy", "--option", "colour")
    assert result.returncode == 2 and "expected NAME=VALUE" in result.stderr
