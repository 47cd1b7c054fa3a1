"""What commands print of engines, run folders and hosts: nothing in it reaches the terminal as it is."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from harness import conform_cli, console, doctor_cli, engines_cli, environments_cli
from harness.doctor_finding import Finding
from harness.engines_doctor import Checkup
from harness.probe import Probe
from results.conformance import CheckResult, Conformance
from results.records import Case, Record

EVIL = "\x1b]0;owned\x07\x1b[2J[red]x[/nope]\u202e\x9b"


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What goes to the terminal by rich; it must be plain text."""
    file = io.StringIO()
    for name in ("out", "results"):
        monkeypatch.setattr(console, name, Console(file=file, width=80, highlight=False))
    return file


def harmless(said: str) -> bool:
    return "\\x1b" in said and "[red]x[/nope]" in said and not set(said) & set("\x1b\x07\u202e\x9b")


@pytest.mark.parametrize("reason", [None, EVIL])
def test_a_probe(screen: io.StringIO, reason: str | None) -> None:
    console.show_probe(
        Probe(EVIL, EVIL, "python", (EVIL,), EVIL, {EVIL: EVIL}, (EVIL,), (), reason, EVIL)
    )
    assert harmless(screen.getvalue())


@pytest.mark.parametrize("status", ["ok", "failed"])
def test_a_trial(screen: io.StringIO, status: str) -> None:
    shown = console.RunScreen()
    case = Case("m", EVIL, EVIL, "load")
    with shown.trials(1):
        shown.finished(Record(EVIL, case, 0, 1, status, "", 1.0, EVIL))  # type: ignore[arg-type]
    assert harmless(screen.getvalue())


def test_a_step_of_a_preparation(screen: io.StringIO) -> None:
    with console.RunScreen().preparation() as say:
        say(EVIL, None)
    assert harmless(screen.getvalue())


def test_lines_to_stderr_stay_lines(capsys: pytest.CaptureFixture[str]) -> None:
    console.say(f"one {EVIL}\ntwo")
    assert harmless(said := capsys.readouterr().err) and said.endswith("\ntwo\n")


def test_a_host(screen: io.StringIO) -> None:
    finding = Finding("other programs", "blurs", EVIL, ("load",), EVIL, EVIL)
    doctor_cli.show_findings(Console(file=screen, width=80), [finding])
    assert harmless(screen.getvalue())


def test_the_checks_of_an_adapter(screen: io.StringIO) -> None:
    checks = (CheckResult(EVIL, "failed", EVIL), CheckResult("scores", "not_applicable", "", EVIL))
    found = Conformance(EVIL, EVIL, EVIL, EVIL, EVIL, EVIL, EVIL, EVIL, EVIL, checks)
    conform_cli._show(found)
    assert harmless(screen.getvalue())
    table = engines_cli.table([found])
    assert not set(table) & set("\x1b\x07\u202e\x9b")
    assert table.splitlines()[1] == "| --- | --- |" and table.splitlines()[0].count("|") == 3


def test_an_environment(screen: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Checkup(EVIL, EVIL, (EVIL,), ((EVIL, EVIL),), absent=True)
    monkeypatch.setattr("harness.engines_doctor.checkups", lambda names: [found])
    environments_cli.doctor_command()
    assert harmless(screen.getvalue())


def test_a_listed_environment(screen: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.environments import Environment

    one = Environment("own", "fake", (), {EVIL: EVIL}, "")
    monkeypatch.setattr("harness.environments.find", lambda name: one)
    probe = Probe("fake", "fake", str(Path("python")), reason=EVIL, remedy=EVIL)
    monkeypatch.setattr("harness.probe.probe", lambda *_: probe)
    environments_cli._show("own")
    assert harmless(screen.getvalue())
