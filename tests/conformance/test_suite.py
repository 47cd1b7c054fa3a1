"""The pytest suite, as an adapter's author uses it, and bakeoff's own fake engine under it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from bakeoff_fake.adapter import Fake
from toys.adapter import Toy
from toys.model import table

from backends.api import Artifact, LoadOptions
from backends.conformance import CHECKS, Subject
from backends.conformance_suite import ConformanceSuite

HERE = Path(__file__).parent


class TestToy(ConformanceSuite):
    backend = Toy
    folder: ClassVar[Any]

    @classmethod
    def setup_class(cls) -> None:
        cls.folder = tempfile.TemporaryDirectory(prefix="bakeoff-toy-")
        cls.artifact = Path(cls.folder.name) / "table.toy"
        cls.artifact.write_bytes(table())
        super().setup_class()

    @classmethod
    def teardown_class(cls) -> None:
        super().teardown_class()
        cls.folder.cleanup()


def test_the_fake_engine_conforms(tmp_path: Path) -> None:
    weights = tmp_path / "weights.bin"
    weights.write_bytes(b"the weights")
    artifact = Artifact("tiny", "fake", "fake", weights)
    subject = Subject(Fake, artifact, LoadOptions(context=256, threads=1), tmp_path)
    found = [check.run(subject) for check in CHECKS]
    failed = {result.check: result.detail for result in found if result.status == "failed"}
    assert not failed, failed


AUTHORS_TEST = """
from pathlib import Path
from backends.conformance_suite import ConformanceSuite
from toys.{module} import {name}

class TestMine(ConformanceSuite):
    backend = {name}
    artifact = Path({path!r})
"""


def authors_run(module: str, name: str, model: Path, folder: Path) -> tuple[int, str]:
    file = folder / "test_mine.py"
    file.write_text(AUTHORS_TEST.format(module=module, name=name, path=str(model)))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rsf", "-v", str(file)]
    done = subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": str(HERE)}, capture_output=True, text=True
    )
    return done.returncode, done.stdout


def test_an_authors_dozen_lines_give_one_test_per_check(toy_model: Path, tmp_path: Path) -> None:
    code, said = authors_run("adapter", "Toy", toy_model, tmp_path)
    assert code == 0, said
    for check in CHECKS:
        assert f"test_conforms[{check.name}]" in said
    assert "notimpl: the adapter draws by temperature and top_k only" in said


def test_a_failure_says_what_is_asked(toy_model: Path, tmp_path: Path) -> None:
    code, said = authors_run("broken", "IgnoresStops", toy_model, tmp_path)
    assert code == 1
    assert "1 failed" in said
    assert "stop_ids_honoured asks: Without `force_length` the first stop id is" in said
