"""The fixture `bakeoff_gate`: a regression gate as a test.

    def test_the_new_build_is_no_slower(bakeoff_gate):
        bakeoff_gate("gate", candidate="python=/opt/new-build/bin/python", policy="strict")

The gate runs as the command does, in a process of its own: pytest's plugins, threads and garbage
collector stay out of the measurement. pytest imports this module wherever bakeoff is installed,
so it imports the standard library only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROOT = str(Path(__file__).resolve().parent.parent)
_COMMAND = (
    sys.executable,
    "-P",  # a `results` or `reports` of the user's must not shadow bakeoff's own
    "-c",
    f"import sys; sys.path.insert(0, {_ROOT!r}); from harness.cli import main; main()",
)


class BakeoffGateWarning(pytest.PytestWarning):
    """A gate passed, yet something could not be decided."""


@pytest.fixture
def bakeoff_gate(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Run `bakeoff gate`; fail the test where the gate fails, warn where it is yellow.

    `bakeoff_gate(scenario, *, base="", candidate, policy=None, out=None)`: arguments are those of the
    command, the run folder is `out` or lies in the test's tmp_path. Returns what gate.json holds.
    """
    count = 0

    def run(
        scenario: str | os.PathLike[str],
        *,
        base: str | os.PathLike[str] = "",
        candidate: str | os.PathLike[str],
        policy: str | os.PathLike[str] | None = None,
        out: str | os.PathLike[str] | None = None,
    ) -> dict[str, Any]:
        nonlocal count
        count += 1
        folder = Path(out) if out is not None else tmp_path / f"bakeoff-gate-{count}"
        arguments = [f"--base={os.fspath(base)}", f"--candidate={os.fspath(candidate)}"]
        if policy is not None:
            arguments.append(f"--policy={os.fspath(policy)}")
        arguments += [f"--out={folder}", "--", os.fspath(scenario)]
        return _judge(folder, *_gate(arguments))

    return run


def _gate(arguments: Sequence[str]) -> tuple[int, list[str]]:
    """The exit code, and the last lines of what it told on the way (which is printed, too)."""
    told: deque[str] = deque(maxlen=40)
    with subprocess.Popen(
        [*_COMMAND, "gate", *arguments],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                sys.stderr.write(line)
                told.append(line.rstrip())
        except BaseException:
            process.terminate()  # bakeoff ends its trial and keeps what it has
            raise
    return process.returncode, list(told)


def _judge(folder: Path, code: int, told: list[str]) -> dict[str, Any]:
    try:
        found = json.loads((folder / "gate.json").read_text(encoding="utf-8"))
        said = _said(found, folder)
        judged = found["passed"] is (code == 0)
    except (OSError, ValueError, KeyError, TypeError):
        found, said, judged = {}, "", False
    if not judged:
        reason = "\n".join(_complaint(told))
        said = f"bakeoff gate could not judge (exit code {code})\n{reason}\n{said}".rstrip()
    if not judged or code:
        pytest.fail(said, pytrace=False)
    if found["colour"] != "green":
        warnings.warn(BakeoffGateWarning(said), stacklevel=3)
    return dict(found)


def _said(found: dict[str, Any], folder: Path) -> str:
    """gate.json's text is free of control characters."""
    lines = [f"{found['colour'].upper()}: {found['sentence']}"]
    for one in found["findings"]:
        remedy = f" → {one['remedy']}" if one["remedy"] else ""
        lines.append(f"  {one['colour'].upper()} {one['task']}: {one['sentence']}{remedy}")
    return "\n".join([*lines, f"  report: {folder / 'gate.html'}"])


def _complaint(told: list[str]) -> list[str]:
    """From the last `error:` on; without one, the end."""
    starts = [number for number, line in enumerate(told) if line.startswith("error: ")]
    return told[starts[-1] :] if starts else told[-10:]
