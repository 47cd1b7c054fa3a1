"""Memory over time, with the phases: per arm the trial that needed most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from reports import numbers, svg
from reports.panels import Axis, Panels
from reports.plots import Plot
from reports.tables import Row, Table
from reports.untrusted import one_line
from results import arms, memory, samples
from results.records import MemoryPoint, Record

#: Strength of the strip's colour in each phase.
_PHASES = {"load": 0.85, "prefill": 0.5, "decode": 0.2}


@dataclass(frozen=True)
class Series:
    """One trial: seconds since its process started, bytes; `phases` are (name, from, to)."""

    row: Row
    name: str
    at_s: tuple[float, ...]
    file_backed: tuple[float, ...]
    pss: tuple[float, ...]
    phases: tuple[tuple[str, float, float], ...]


def plot(tables: Sequence[Table], colors: Mapping[str, int]) -> Plot | None:
    """A panel per arm that has at least two readings; None where none has."""
    found = _series(tables)
    if not found:
        return None
    high = max(max(one.pss) for one in found)
    last = max(one.at_s[-1] for one in found)
    factor, unit = numbers.scale(high, "bytes")
    drawn = Panels(
        [(one.name, f"peak {numbers.quantity(max(one.pss), 'bytes')}") for one in found],
        x=Axis(last, "seconds since the process started"),
        y=Axis(high * factor * 1.12, f"{unit}, proportional set"),
    )
    for panel, one in enumerate(found):
        color = svg.series(colors[one.row.backend])
        _draw(drawn, panel, one, factor, color)
    said = (f"{one.name}: peak {numbers.quantity(max(one.pss), 'bytes')}" for one in found)
    return Plot(
        "Memory over time",
        "Of each engine and artifact the trial that needed most. Pale: mapped from files; strong: "
        "anonymous. The strip above: loading (dark), evaluating prompts, decoding (light). Memory "
        "is read when it changes: between readings it is drawn as it was.",
        drawn.inline("memory-lines", "memory over time", "; ".join(said)),
    )


def _series(tables: Sequence[Table]) -> list[Series]:
    tops: dict[str, tuple[float, Row, Record]] = {}
    for row in (row for table in tables for row in table.rows):
        key = arms.key(row.summary.case)
        for record in row.summary.evidence.ok:
            peak = memory.peak_pss_bytes(memory.read(record))
            if peak is not None and peak > tops.get(key, (0.0,))[0]:
                tops[key] = (peak, row, record)
    several = len({table.model for table in tables}) > 1
    found = [_one(row, record, with_model=several) for _, row, record in tops.values()]
    return sorted((one for one in found if one is not None), key=lambda one: one.name)


def _one(row: Row, record: Record, *, with_model: bool) -> Series | None:
    known = [p for p in record.memory.points if p.pss is not None] if record.memory else []
    points = sorted(known, key=lambda point: point.at_ns)
    start = record.span("process")
    if len(points) < 2 or start is None:
        return None
    zero = start.start_ns
    model = f"{one_line(record.case.model, 80)}: " if with_model else ""
    return Series(
        row,
        model + row.name,
        tuple((point.at_ns - zero) / 1e9 for point in points),
        tuple(float(_mapped(point)) for point in points),
        tuple(float(point.pss or 0) for point in points),
        tuple(_phases(record, zero)),
    )


def _mapped(point: MemoryPoint) -> int:
    return min(point.file_backed or 0, point.pss or 0)


def _phases(record: Record, zero: int) -> list[tuple[str, float, float]]:
    found = []
    first, last = record.span("process"), record.span("open")
    if first and last:
        found.append(("load", 0.0, (last.end_ns - zero) / 1e9))
    requests = samples.of(record)
    some = requests.tokens > 0
    for submitted, token, done in np.stack(
        (requests.submitted_ns[some], requests.first_ns[some], requests.done_ns[some]), axis=1
    ).tolist():
        found.append(("prefill", (submitted - zero) / 1e9, (token - zero) / 1e9))
        found.append(("decode", (token - zero) / 1e9, (done - zero) / 1e9))
    return found


def _draw(drawn: Panels, panel: int, one: Series, factor: float, color: str) -> None:
    floor = [(one.at_s[0], 0.0), (one.at_s[-1], 0.0)]
    mapped, whole = (_steps(one.at_s, values, factor) for values in (one.file_backed, one.pss))
    drawn.area(panel, [floor[0], *mapped, floor[1]], color, 0.22)
    drawn.area(panel, [*mapped, *whole[::-1]], color, 0.6)
    drawn.line(panel, whole, color, 1.0)
    for name, begin, end in one.phases:
        strip = [(begin, 0.975 * drawn.y.end), (end, 0.975 * drawn.y.end)]
        drawn.line(panel, strip, svg.INK, 4.0, _PHASES[name])


def _steps(
    at_s: Sequence[float], values: Sequence[float], factor: float
) -> list[tuple[float, float]]:
    """Each value until the next reading."""
    found: list[tuple[float, float]] = []
    for at, value in zip(at_s, values, strict=True):
        found += [(at, found[-1][1])] if found else []
        found.append((at, value * factor))
    return found
