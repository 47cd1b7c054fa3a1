"""GitHub's annotations: lines that a step prints to its log, one per finding.

The runner reads `::error title=T::message`. In a message `%` and line ends are escaped, in a
title `:` and `,` too; otherwise an engine's text could end the line and start a command of its
own. Text is made one line without control characters before.
"""

from __future__ import annotations

from collections.abc import Iterator

from reports.gate import view
from reports.gate.view import FindingView, View
from results.gate.outcome import Colour, Outcome

LIMIT = 10
"""GitHub shows ten errors, ten warnings and ten notices of a step and drops the others."""

_COMMANDS: dict[Colour, str] = {
    "green": "notice",
    "yellow": "warning",
    "red": "error",
    "incomparable": "error",
}


def render(outcome: Outcome) -> str:
    """`gate.github`: the verdict, then what led to it, worst first."""
    return "".join(f"{line}\n" for line in _lines(view.build(outcome)))


def _lines(found: View) -> Iterator[str]:
    command = _COMMANDS[found.colour] if found.passed else "error"
    yield _line(command, "bakeoff gate", f"{found.headline}\n{found.consequence}")
    room = LIMIT - 1
    shown = found.findings if len(found.findings) <= room else found.findings[: room - 1]
    yield from map(_finding, shown)
    if more := len(found.findings) - len(shown):
        yield _line("notice", "bakeoff gate", f"and {more} more findings, see the report")


def _finding(one: FindingView) -> str:
    text = f"{one.word}: {one.sentence}"
    text = f"{text} → {one.remedy}" if one.remedy else text
    return _line(_COMMANDS[one.colour], one.title or "bakeoff gate", text)


def _line(command: str, title: str, message: str) -> str:
    return f"::{command} title={_property(title)}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
