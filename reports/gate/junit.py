"""JUnit XML: for GitLab, Jenkins and whatever else reads test results.

One test case per metric, per exact check, and per finding that neither of them shows. Regressed or
red is a failure, undecided is skipped with a message, incomparable is an error. A gate that fails
never leaves a file without a failure or an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree

from reports.gate import view
from reports.gate.view import ExactView, FindingView, RowView, Verdict, View
from results.gate.outcome import Colour, Kind, Outcome

Result = Literal["passed", "failure", "error", "skipped"]

_OF_COLOUR: dict[Colour, Result] = {
    "green": "passed",
    "yellow": "skipped",
    "red": "failure",
    "incomparable": "error",
}

_OF_VERDICT: dict[Verdict | None, Result] = {
    "regressed": "failure",
    "pass": "passed",
    "inconclusive": "skipped",
    "incomparable": "error",
    None: "skipped",
}

#: Kinds of finding that a row or an exact check shows, with the verdict or the check's name.
_BY_ROW: dict[Kind, str] = {"regressed": "regressed", "inconclusive": "inconclusive"}
_BY_CHECK: dict[Kind, str] = {
    "template": "templates",
    "tokens": "token_counts",
    "greedy": "greedy",
    "size": "size",
}


@dataclass(frozen=True)
class _Case:
    task: str
    name: str
    result: Result
    message: str
    kind: str
    more: tuple[str, ...] = ()


def render(outcome: Outcome) -> str:
    """`gate.xml`."""
    found = view.build(outcome)
    cases = list(_cases(found))
    counts = {
        name: str(sum(case.result == result for case in cases))
        for name, result in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped"))
    }
    total = {"tests": str(len(cases)), **counts}
    root = ElementTree.Element("testsuites", {"name": "bakeoff gate", **total})
    seconds = f"{outcome.minutes * 60:.1f}" if 0 <= outcome.minutes < 1e6 else "0.0"
    suite = ElementTree.SubElement(
        root, "testsuite", {"name": "bakeoff gate", **total, "time": seconds}
    )
    _properties(suite, found)
    names: dict[tuple[str, str], int] = {}
    for case in cases:
        name = case.name or case.kind  # readers drop a case without one
        count = names[case.task, name] = names.get((case.task, name), 0) + 1
        _append(suite, case, name if count == 1 else f"{name} ({count})")
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + (
        ElementTree.tostring(root, encoding="unicode") + "\n"
    )


def _cases(found: View) -> Iterator[_Case]:
    cases = [
        *(_of_row(row, found) for row in found.rows),
        *(_of_check(check, found) for check in found.exact),
        *(_of_finding(one) for one in found.findings if not _shown_elsewhere(one, found)),
    ]
    overall: Result = _OF_COLOUR[found.colour]
    if not found.passed and overall not in ("failure", "error"):
        overall = "failure"  # yellow, under a policy that blocks on it
    if not any(case.result == overall for case in cases):
        yield _Case("gate", "verdict", overall, found.headline, found.colour, (found.consequence,))
    yield from cases


def _of_row(row: RowView, found: View) -> _Case:
    message = f"{row.shown}: {row.ratio} {row.interval}".rstrip()
    if row.note:
        message += f" ({row.note})"
    values = f"base {row.base}, candidate {row.candidate}"
    result = _OF_VERDICT[row.verdict]
    kind = row.verdict or "not judged"
    return _Case(row.task, row.metric, result, message, kind, (values, *_said(row, found)))


def _said(row: RowView, found: View) -> Iterator[str]:
    for one in found.findings:
        if one.task == row.task and _BY_ROW.get(one.kind) == row.verdict is not None:
            yield _whole(one)


def _of_check(check: ExactView, found: View) -> _Case:
    about = [one for one in found.findings if _same_check(one, check)]
    result: Result = "skipped" if check.same is None else "passed"
    if check.same is False:
        colours = {one.colour for one in about} or {"red"}
        result = "skipped" if colours <= {"yellow", "green"} else "failure"
    message = f"{check.shown}: {check.detail}" if check.detail else check.shown
    more = tuple(map(_whole, about)) if check.same is False else ()
    kind = {True: "same", False: "differs", None: "not checked"}[check.same]
    return _Case(check.task, check.name, result, message, kind, more)


def _of_finding(one: FindingView) -> _Case:
    more = (f"→ {one.remedy}",) if one.remedy else ()
    return _Case(one.task, one.kind, _OF_COLOUR[one.colour], one.sentence, one.kind, more)


def _shown_elsewhere(one: FindingView, found: View) -> bool:
    if one.kind in _BY_ROW and one.colour != "incomparable":
        return any(r.task == one.task and r.verdict == _BY_ROW[one.kind] for r in found.rows)
    return any(check.same is False and _same_check(one, check) for check in found.exact)


def _same_check(one: FindingView, check: ExactView) -> bool:
    return one.task == check.task and _BY_CHECK.get(one.kind) == check.name


def _whole(one: FindingView) -> str:
    return f"{one.sentence} → {one.remedy}" if one.remedy else one.sentence


def _properties(suite: ElementTree.Element, found: View) -> None:
    parent = ElementTree.SubElement(suite, "properties")
    arms = [(arm.role, ", ".join((arm.overlay, *arm.engines))) for arm in found.arms]
    for name, value in (
        ("colour", found.colour),
        ("sentence", found.headline),
        ("fingerprint", found.fingerprint),
        ("effort", found.effort),
        *arms,
    ):
        ElementTree.SubElement(parent, "property", {"name": name, "value": value})


def _append(suite: ElementTree.Element, case: _Case, name: str) -> None:
    element = ElementTree.SubElement(
        suite, "testcase", {"classname": case.task or "gate", "name": name, "time": "0"}
    )
    if case.result == "passed":
        return
    attributes = {"message": case.message, "type": case.kind}
    child = ElementTree.SubElement(element, case.result, attributes)
    child.text = "\n".join((case.message, *case.more))
