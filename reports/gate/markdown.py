"""Markdown for a pull-request comment and for GitHub's job summary.

GitHub refuses a comment of more than 65,536 characters, so each part has a share of `LIMIT` and
says what it left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from reports.gate import view
from reports.gate.view import ArmView, ExactView, FindingView, RowView, View
from reports.markdown import escape
from results.gate.outcome import Outcome

LIMIT = 60_000

_FINDINGS = 16_000
_ROWS = 20_000
_EXACT = 10_000
_ARMS = 8_000


def render(outcome: Outcome) -> str:
    """`gate.md`."""
    return "\n".join(_lines(view.build(outcome))).rstrip() + "\n"


def _lines(found: View) -> Iterator[str]:
    yield f"## {escape(found.headline)}"
    yield ""
    yield escape(found.consequence)
    yield ""
    yield from _section(map(_finding, found.findings), _FINDINGS, "finding")
    if found.rows:
        yield _cells(("task", "metric", "base", "candidate", "ratio, 90 % interval", "verdict"))
        yield _cells(("---", "---", "---:", "---:", "---:", "---"))
        yield from _section(map(_row, found.rows), _ROWS, "row")
    if found.exact:
        yield from _folded(_summary(found.exact), _checks(found.exact))
    about = f"Arms and machine; {found.effort}"
    yield from _folded(escape(about), _section(_about(found), _ARMS, "line"))


def _finding(one: FindingView) -> str:
    title = f" {escape(one.title)}" if one.title else ""
    text = f"- **{one.word}**{title}: {escape(one.sentence)}"
    return f"{text} → {escape(one.remedy)}" if one.remedy else text


def _row(row: RowView) -> str:
    shown = f"**{row.shown}**" if row.verdict == "regressed" else row.shown
    verdict = f"{shown}: {escape(row.note)}" if row.note else shown
    ratio = escape(f"{row.ratio} {row.interval}".rstrip())
    return _cells((escape(row.task), escape(row.metric), row.base, row.candidate, ratio, verdict))


def _summary(checks: Sequence[ExactView]) -> str:
    counts = {
        "same": sum(one.same is True for one in checks),
        "not the same": sum(one.same is False for one in checks),
        "not checked": sum(one.same is None for one in checks),
    }
    return f"Exact checks: {', '.join(f'{n} {what}' for what, n in counts.items() if n)}"


def _checks(checks: Sequence[ExactView]) -> Iterator[str]:
    yield _cells(("check", "task", "result", "detail"))
    yield _cells(("---",) * 4)
    rows = (_cells((escape(c.name), escape(c.task), c.shown, escape(c.detail))) for c in checks)
    yield from _section(rows, _EXACT, "check")


def _about(found: View) -> Iterator[str]:
    yield from (f"- {_arm(arm)}" for arm in found.arms)
    yield f"- {escape(found.effort)}"
    yield f"- machine: {escape(found.fingerprint)}"
    yield "- Both arms were run in this session, in blocks of one fresh process each."


def _arm(arm: ArmView) -> str:
    engines = f" ({escape(', '.join(arm.engines))})" if arm.engines else ""
    return f"**{arm.role}**: {escape(arm.overlay)}{engines}"


def _folded(summary: str, lines: Iterable[str]) -> Iterator[str]:
    # Without the blank lines GitHub takes what is inside for HTML.
    yield from (f"<details><summary>{summary}</summary>", "", *lines, "</details>", "")


def _section(lines: Iterable[str], limit: int, what: str) -> Iterator[str]:
    """The lines that fit into `limit` characters, a blank one, and how many did not fit."""
    size, left = 0, 0
    for line in lines:
        size += len(line) + 1
        if size > limit:
            left += 1
        else:
            yield line
    yield ""
    if left:
        yield f"… and {left} more {what}{'' if left == 1 else 's'}: see gate.html or gate.json."
        yield ""


def _cells(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
