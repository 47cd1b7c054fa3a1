"""What trials really ran under, read from `Record.conditions`: None wherever nobody could tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

from results.records import Record
from results.summary import CaseSummary

#: A trial is disturbed if others took more than this share of the CPU time it could have had.
DISTURBED = 0.10

#: A page cache counts as cold, or as warm, if at most, or at least, this share is resident.
COLD, WARM = 0.05, 0.95


def number(data: object, *path: str) -> float | None:
    """The number at `path` in nested mappings; None where there is none."""
    for key in path:
        data = data.get(key) if isinstance(data, Mapping) else None
    return float(data) if isinstance(data, int | float) and not isinstance(data, bool) else None


def middle(summary: CaseSummary, of: Callable[[Record], float | None]) -> float | None:
    """The median over the ok trials that have a value."""
    values = [value for record in summary.evidence.ok if (value := of(record)) is not None]
    return median(values) if values else None


def busy_threads(summary: CaseSummary) -> float | None:
    """Threads that did the measured work: the median trial's."""
    return middle(summary, lambda record: number(record.conditions, "busy_threads"))


def disturbance(summary: CaseSummary, kind: str) -> float | None:
    """`steal_s`, `foreign_cpu_s` or `pressure_s` of the median trial."""
    return middle(summary, lambda record: number(record.conditions, "disturbance", kind))


def resident(summary: CaseSummary) -> tuple[float | None, float | None]:
    """The share of the artifact's pages in the page cache before and after, median trials'."""
    before, after = (
        middle(summary, lambda r, key=key: number(r.conditions, "page_cache", key))  # type: ignore[misc]
        for key in ("resident_before", "resident_after")
    )
    return before, after


def cache_as_asked(record: Record) -> bool | None:
    """Whether the page cache was as cold or as warm as the case asked for."""
    share = number(record.conditions, "page_cache", "resident_before")
    asked = record.case.parameters.get("page_cache")
    if share is None or asked not in ("cold", "warm"):
        return None
    return share <= COLD if asked == "cold" else share >= WARM


def taken_by_others(record: Record) -> float | None:
    """CPU time that others used or the hypervisor stole, as a share of the trial's wall time times
    the threads it was told."""
    found = [number(record.conditions, "disturbance", key) for key in ("steal_s", "foreign_cpu_s")]
    known = [seconds for seconds in found if seconds is not None]
    threads: Any = record.case.parameters.get("threads", 1)
    if not known or record.wall_s <= 0 or not isinstance(threads, int) or threads < 1:
        return None
    return sum(known) / (record.wall_s * threads)


def disturbed(record: Record) -> bool | None:
    share = taken_by_others(record)
    return None if share is None else share > DISTURBED
