"""The view model of what the numbers rest on: audits, memory, engines' claims, conditions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from reports import numbers
from reports.names import case_name
from reports.tables import Table
from reports.untrusted import one_line
from results import arms, claims, conditions, fidelity, memory
from results.records import Record
from results.summary import HARM, NO_TASK, TEMPLATES, CaseSummary

#: What the memory table shows; the metrics are in the CSV too.
MEMORY_METRICS = (
    "peak_load_pss_bytes", "peak_prefill_pss_bytes", "peak_decode_pss_bytes",
    "peak_anonymous_bytes", "peak_file_backed_bytes", "peak_swap_bytes", "sampler_cpu_share",
)  # fmt: skip

Mark = Literal["passed", "failed", "unknown", "missing"]


@dataclass(frozen=True)
class AuditRow:
    """One arm. `failed` and `unknown` are (check, what was seen); `missing` marks a check that
    another arm has and this one has not."""

    name: str
    summary: str
    marks: tuple[Mark, ...]
    failed: tuple[tuple[str, str], ...]
    unknown: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Audit:
    """All arms by all checks. Empty where nothing was audited."""

    checks: tuple[str, ...]
    rows: tuple[AuditRow, ...]

    @property
    def sentence(self) -> str:
        """One line for a run whose audits caught nothing; empty otherwise."""
        if not self.checks or any(row.failed for row in self.rows):
            return ""
        passed = [row for row in self.rows if set(row.marks) == {"passed"}]
        untold = [
            f"{', '.join(name for name, _ in row.unknown)} ({row.name})"
            for row in self.rows
            if row.unknown
        ]
        absent = [row.name for row in self.rows if "missing" in row.marks]
        many = "" if len(passed) == 1 else "s"
        parts = []
        if passed:
            parts = [f"all {len(self.checks)} checks passed for {len(passed)} arm{many}"]
        elif untold:
            parts = ["no check failed"]
        parts += [f"could not be told: {', '.join(untold)}"] if untold else []
        parts += [f"not audited to the end: {', '.join(absent)}"] if absent else []
        return "; ".join(parts)


@dataclass(frozen=True)
class MemoryRow:
    """One arm at the trial and the moment when its PSS was largest; phases over all trials.

    `explained` is the share of that PSS that anonymous and file-backed memory add up to.
    """

    name: str
    rss: str
    pss: str
    anonymous: str
    file_backed: str
    explained: str
    adds_up: bool
    swap: str
    phases: tuple[str, str, str]
    sampler: str


@dataclass(frozen=True)
class ClaimLine:
    """One claim that is not what was seen."""

    case: str
    task: str
    text: str


@dataclass(frozen=True)
class ConditionsRow:
    """What the trials of one case ran under; medians over its ok trials."""

    case: str
    task: str
    threads: str
    steal: str
    foreign: str
    pressure: str
    disturbed: str
    cache: str


def audit(summaries: Sequence[CaseSummary]) -> Audit:
    # What bakeoff adds by itself is audited only where it is an arm as well.
    added = (TEMPLATES, HARM, fidelity.REFERENCE)
    by_arm = _arms(s for s in summaries if s.case.measure not in added)
    found = {key: cases[0].evidence.checks for key, cases in by_arm.items()}
    names = tuple(dict.fromkeys(check.name for checks in found.values() for check in checks))
    if not any(cases[0].evidence.audits for cases in by_arm.values()):
        return Audit((), ())
    rows = [_audit_row(cases[0], names) for cases in by_arm.values()]
    return Audit(tuple(one_line(n, 60) for n in names), tuple(sorted(rows, key=lambda r: r.name)))


def _audit_row(summary: CaseSummary, names: Sequence[str]) -> AuditRow:
    evidence = summary.evidence
    marks: Mapping[bool | None, Mark] = {True: "passed", False: "failed", None: "unknown"}
    by_name = {check.name: check for check in evidence.checks}
    listed = {
        passed: tuple(
            (one_line(c.name, 60), one_line(c.detail, 400))
            for c in evidence.checks
            if c.passed is passed
        )
        for passed in (False, None)
    }
    bad = next((a for a in evidence.audits if a.status != "ok"), None)
    if listed[False]:
        said = f"{len(listed[False])} of {len(by_name)} checks failed"
    elif not evidence.audits:
        said = "not audited"
    elif bad is not None:
        said = one_line(f"the audit did not end well ({bad.status}): {bad.reason or ''}", 300)
    elif listed[None]:
        said = f"none failed, {len(listed[None])} of {len(by_name)} could not be told"
    else:
        said = f"all {len(by_name)} checks passed"
    return AuditRow(
        name=case_name(summary.case),
        summary=said,
        marks=tuple(marks[by_name[n].passed] if n in by_name else "missing" for n in names),
        failed=listed[False],
        unknown=listed[None],
    )


def memory_rows(summaries: Sequence[CaseSummary]) -> tuple[MemoryRow, ...]:
    """One row per arm that has a reading, by name. Trials that are no task do not count."""
    tasks = _arms(s for s in summaries if s.case.measure not in NO_TASK)
    several = len({cases[0].case.model for cases in tasks.values()}) > 1
    rows = (_memory_row(cases, with_model=several) for cases in tasks.values())
    return tuple(sorted((row for row in rows if row is not None), key=lambda row: row.name))


def _memory_row(cases: Sequence[CaseSummary], *, with_model: bool) -> MemoryRow | None:
    records = [record for case in cases for record in case.evidence.ok if memory.read(record)]
    if not records:
        return None

    def largest(record: Record) -> float:
        found = memory.read(record)
        return memory.peak_pss_bytes(found) or memory.peak_rss_bytes(found) or 0

    top = max(records, key=largest)
    point = memory.at_pss_peak(top.memory)
    parts = (point.anonymous, point.file_backed) if point else (None, None)
    whole = point.pss if point else None
    share = sum(p for p in parts if p is not None) / whole if whole and None not in parts else None
    known = [share for case in cases for share in case.values.get("sampler_cpu_share", ())]

    def phase(name: str) -> str:
        return _bytes(max((v for case in cases for v in case.values.get(name, ())), default=None))

    model = f"{one_line(cases[0].case.model, 80)}: " if with_model else ""
    return MemoryRow(
        name=model + case_name(cases[0].case),
        rss=_bytes(memory.peak_rss_bytes(top.memory)),
        pss=_bytes(whole),
        anonymous=_bytes(parts[0]),
        file_backed=_bytes(parts[1]),
        explained=_percent(share),
        adds_up=share is None or abs(share - 1) <= 0.01,
        swap=phase("peak_swap_bytes"),
        phases=(
            phase("peak_load_pss_bytes"),
            phase("peak_prefill_pss_bytes"),
            phase("peak_decode_pss_bytes"),
        ),
        sampler=_percent(median(known) if known else None),
    )


def claim_lines(tables: Sequence[Table]) -> tuple[tuple[ClaimLine, ...], int]:
    """The claims that are off, and how many agree with what was seen."""
    off, agree = [], 0
    for table in tables:
        for row in table.rows:
            for one in claims.check(row.summary):
                if one.agrees:
                    agree += 1
                    continue
                said, seen = (numbers.quantity(v, one.unit) for v in (one.claimed, one.observed))
                text = f"{one.name}: {row.backend} says {said}, bakeoff saw {seen} ({one.off * 100:+.0f} %)"
                off.append(ClaimLine(row.name, table.title, text))
    return tuple(off), agree


def condition_rows(tables: Sequence[Table]) -> tuple[ConditionsRow, ...]:
    """One row per case of which any condition was seen."""
    rows = (_conditions(table.title, row.summary) for table in tables for row in table.rows)
    return tuple(row for row in rows if row is not None)


def _conditions(task: str, summary: CaseSummary) -> ConditionsRow | None:
    busy = conditions.busy_threads(summary)
    steal, foreign, pressure = (
        conditions.disturbance(summary, f"{kind}_s")
        for kind in ("steal", "foreign_cpu", "pressure")
    )
    cache = conditions.resident(summary) if summary.case.measure == "load" else (None, None)
    if all(value is None for value in (busy, steal, foreign, pressure, *cache)):
        return None
    seen = [found for r in summary.evidence.ok if (found := conditions.disturbed(r)) is not None]
    told = summary.case.parameters.get("threads", "?")
    return ConditionsRow(
        case=case_name(summary.case),
        task=task,
        threads=numbers.MISSING if busy is None else one_line(f"{busy:g} of {told}", 40),
        steal=numbers.quantity(steal, "s"),
        foreign=numbers.quantity(foreign, "s"),
        pressure=numbers.quantity(pressure, "s"),
        disturbed=f"{sum(seen)} of {len(seen)}" if seen else numbers.MISSING,
        cache=numbers.MISSING if cache == (None, None) else " → ".join(map(_percent, cache)),
    )


def _arms(summaries: Iterable[CaseSummary]) -> dict[str, list[CaseSummary]]:
    found: dict[str, list[CaseSummary]] = {}
    for summary in summaries:
        found.setdefault(arms.key(summary.case), []).append(summary)
    return found


def _bytes(value: float | None) -> str:
    return numbers.quantity(value, "bytes")


def _percent(share: float | None) -> str:
    if share is None:
        return numbers.MISSING
    return f"{share:.2%}" if 0 < share < 0.01 else f"{share:.0%}"
