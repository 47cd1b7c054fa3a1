"""Conformance in pytest: a class with a backend and an artifact, and one test per check.

    from backends.conformance_suite import ConformanceSuite
    from my_package.adapter import MyBackend

    class TestMyBackend(ConformanceSuite):
        backend = MyBackend
        artifact = Path("models/tiny.bin")

A check that does not apply is skipped with its reason. All run in pytest's own process: an engine
that crashes takes pytest with it, and `bakeoff conform` is the one that survives it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from backends.api import Artifact, Backend, LoadOptions
from backends.conformance import CHECKS, FAILED, PASSED, Check, Result, Subject


class ConformanceSuite:
    """Subclass it. `artifact` is a path, read in the backend's own format, or an Artifact."""

    backend: ClassVar[Callable[[], Backend]]
    artifact: ClassVar[Artifact | Path]
    options: ClassVar[LoadOptions] = LoadOptions(context=256, threads=1)
    prompts: ClassVar[list[tuple[int, ...]] | None] = None

    _subject: ClassVar[Subject]
    _scratch: ClassVar[Any]

    @classmethod
    def model(cls) -> Artifact:
        """The artifact, made once per class: override it where it must be prepared first."""
        if isinstance(cls.artifact, Artifact):
            return cls.artifact
        (format_,) = cls.backend().formats
        return Artifact("conformance", cls.artifact.name, format_, cls.artifact)

    @classmethod
    def setup_class(cls) -> None:
        cls._scratch = tempfile.TemporaryDirectory(prefix="bakeoff-conformance-")
        scratch = Path(cls._scratch.name)
        cls._subject = Subject(cls.backend, cls.model(), cls.options, scratch, cls.prompts)

    @classmethod
    def teardown_class(cls) -> None:
        cls._subject.release()
        cls._scratch.cleanup()

    def pytest_generate_tests(self, metafunc: Any) -> None:
        if "check" in metafunc.fixturenames:
            metafunc.parametrize("check", CHECKS, ids=[check.name for check in CHECKS])

    def test_conforms(self, check: Check) -> None:
        judge(check, check.run(self._subject))


def judge(check: Check, result: Result) -> None:
    """pytest's words for a result. pytest is imported late: an adapter's users don't need it."""
    import pytest

    if result.status == FAILED:
        pytest.fail(f"{result.detail}\n\n{check.name} asks: {check.reason}", pytrace=False)
    if result.status != PASSED:
        pytest.skip(result.gap or result.detail)
