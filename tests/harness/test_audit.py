"""What the audit makes of an engine that says of itself that more threads work than it was told."""

from __future__ import annotations

from typing import Any

import pytest

from harness.worker import audit, threads

SAID = "never: a library of its own has threads that take turns"


class Declares:
    gaps = {"threads_as_told": SAID}  # noqa: RUF012


@pytest.mark.parametrize(
    ("backend", "worked", "passed"),
    [(object(), 3, False), (Declares(), 3, None), (Declares(), 2, True), (object(), 2, True)],
)
def test_declared_threads_are_no_lie_and_no_pass(
    monkeypatch: pytest.MonkeyPatch, backend: Any, worked: int, passed: bool | None
) -> None:
    monkeypatch.setattr(threads, "busy", lambda before, after: worked)
    found, detail = audit.Audit(backend, [(1,), (2,), (3,)], 2)._threads({})
    assert found is passed
    if worked == 3:
        assert "3 threads did the work, it was told 2" in detail
    assert (SAID in detail) is (passed is None)
