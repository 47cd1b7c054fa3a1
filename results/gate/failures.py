"""What went wrong: cases that are missing, trials that failed, engines caught in a lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from results.arms import arm
from results.certificate import Certificate, certify
from results.gate.description import Description
from results.gate.family import task
from results.gate.outcome import Finding
from results.records import Record
from results.store import Run
from results.summary import AUDIT, NO_TASK, CaseSummary, summarise


def findings(run: Run, gate: Description) -> Iterator[Finding]:
    """Failures of the candidate are red; those of the base leave nothing to compare with."""
    by_case: dict[str, list[Record]] = {}
    for record in run.records:
        by_case.setdefault(record.case.key, []).append(record)
    for base, candidate in gate.pairs:
        if candidate is None:
            yield Finding(
                "missing",
                "red",
                task(base),
                f"the candidate has no case for {task(base)}",
                "let the candidate's artifacts cover the base's, or leave the case out of the scenario",
            )
            continue
        failed = _first_bad(by_case.get(candidate.key, ()))
        if failed is not None:
            yield _failed(failed, "candidate")
        lost = _first_bad(by_case.get(base.key, ()))
        if lost is not None and failed is None:
            yield _failed(lost, "base")
    yield from _audits(run)


def of_run(run: Run) -> Iterator[Finding]:
    """The same for a plain run, which is then the candidate."""
    failed: dict[str, Record] = {}
    for record in run.records:
        if record.status != "ok":
            failed.setdefault(record.case.key, record)
    yield from (_failed(record, "candidate") for record in failed.values())
    yield from _audits(run)


def refused(run: Run, gate: Description) -> Mapping[str, Certificate]:
    """By the candidate's case the pairs that both ran, and whose certificate forbids a ratio."""
    summaries: dict[str, CaseSummary] = {s.case.key: s for s in summarise(run)}
    found: dict[str, Certificate] = {}
    for base, candidate in gate.pairs:
        if candidate is None or base.measure in NO_TASK:
            continue
        mine, theirs = summaries.get(candidate.key), summaries.get(base.key)
        if mine is None or theirs is None or not (mine.values and theirs.values):
            continue
        certificate = certify(mine, theirs)
        if certificate.grade == "refused":
            found[candidate.key] = certificate
    return found


def unfair(gate: Description, refused: Mapping[str, Certificate]) -> Iterator[Finding]:
    """Where both arms ran, but not the same work under the same conditions."""
    for _, candidate in gate.pairs:
        if candidate is None or candidate.key not in refused:
            continue
        deciding = refused[candidate.key].deciding
        said = [item.detail for item in deciding if item.name != "audit"]  # findings of their own
        if said:
            yield Finding(
                "incomparable", "incomparable", task(candidate), "; ".join(said),
                "make both arms do the same work",
            )  # fmt: skip


def _first_bad(records: Sequence[Record]) -> Record | None:
    return next((record for record in records if record.status != "ok"), None)


def _failed(record: Record, role: str) -> Finding:
    reason = " ".join((record.reason or "").split())[:300]
    what = task(record.case)
    never = record.status == "unsupported" or not record.wall_s
    hows = {"crashed": "crashed", "timeout": "did not end in time"}
    how = "can't run" if never else hows.get(record.status, "failed") + " in"
    sentence = f"the {role} {how} {what}: {reason}"
    if role == "base":
        return Finding("incomparable", "incomparable", what, sentence, record.remedy)
    return Finding("missing" if never else "crashed", "red", what, sentence, record.remedy)


def _audits(run: Run) -> Iterator[Finding]:
    for record in run.records:
        case, role = record.case, record.case.arm or "candidate"
        if case.measure != AUDIT:
            continue
        for check in record.checks:
            if check.passed is False:
                sentence = f"the {role} fails the check {check.name}: {check.detail}"
                if role == "candidate":
                    yield Finding("audit", "red", arm(case), sentence, "see docs/liars.md")
                else:
                    yield Finding("incomparable", "incomparable", arm(case), sentence, None)
        if record.status != "ok" and case.arm == "candidate":
            yield _failed(record, role)
