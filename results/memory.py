"""Memory metrics: peaks of a trial, of its phases, and of what they are made of.

All from `Record.memory`, which holds readings of the worker and its children taken from outside,
and the worker's own at the ends of its phases. Where no reading fell into a phase its peak is not
known, and is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from results.records import ArtifactFacts, Memory, MemoryPoint, Record

#: A phase as (first, last) time stamp, both included.
Window = tuple[int, int]


def values(record: Record, facts: ArtifactFacts | None) -> dict[str, float | None]:
    """The memory metrics of one trial by name. `facts` gives the artifact's size."""
    memory = record.memory
    rss, pss = peak_rss_bytes(memory), peak_pss_bytes(memory)
    peak = rss if pss is None else pss
    sized = facts is not None and facts.bytes > 0
    points = memory.points if memory else ()
    share = memory.sampler_cpu_s / record.wall_s if memory and record.wall_s > 0 else None
    return {
        "peak_rss_bytes": rss,
        "peak_pss_bytes": pss,
        "peak_memory_to_model_size": (
            peak / facts.bytes if peak is not None and facts is not None and sized else None
        ),
        "peak_load_pss_bytes": _peak_within(points, _loading(record)),
        "peak_prefill_pss_bytes": _peak_within(points, _prefilling(record)),
        "peak_decode_pss_bytes": _peak_within(points, _decoding(record)),
        "peak_anonymous_bytes": _largest(point.anonymous for point in points),
        "peak_file_backed_bytes": _largest(point.file_backed for point in points),
        "peak_swap_bytes": _largest(point.swap for point in points),
        "peak_device_bytes": _largest(point.device for point in points),
        "sampler_cpu_share": share,
    }


def peak_rss_bytes(memory: Memory | None) -> float | None:
    """The kernel's high-water mark, else the largest reading."""
    if memory is None:
        return None
    if memory.peak_rss is not None:
        return float(memory.peak_rss)
    return _largest(point.rss for point in memory.points)


def peak_pss_bytes(memory: Memory | None) -> float | None:
    """The largest proportional set size that was read; None where the OS has none."""
    return None if memory is None else _largest(point.pss for point in memory.points)


def at_pss_peak(memory: Memory | None) -> MemoryPoint | None:
    """The reading with the largest PSS: its `anonymous` and `file_backed` add up to it."""
    known = [point for point in memory.points if point.pss is not None] if memory else []
    return max(known, key=lambda point: point.pss or 0, default=None)


def _loading(record: Record) -> Iterator[Window]:
    """From the engine's import until the first request, warm-ups included: the reading at the
    end of opening the model is taken just after its span."""
    start, end = record.span("import"), record.span("open")
    if start and end:
        first = min((s.submitted_ns for s in record.samples), default=end.end_ns)
        yield start.start_ns, max(first, end.end_ns)


def _prefilling(record: Record) -> Iterator[Window]:
    for sample in record.samples:
        if not sample.warmup and sample.token_ns:
            yield sample.submitted_ns, sample.token_ns[0]


def _decoding(record: Record) -> Iterator[Window]:
    """From the first token until the next request, or until the model is closed: readings
    between requests see what decoding left."""
    closing = record.span("close")
    submitted = sorted(s.submitted_ns for s in record.samples)
    for sample in record.samples:
        if not sample.warmup and sample.token_ns:
            after = (at for at in submitted if at > sample.submitted_ns)
            end = next(after, closing.start_ns if closing else sample.done_ns)
            yield sample.token_ns[0], max(end, sample.done_ns)


def _peak_within(points: Iterable[MemoryPoint], windows: Iterable[Window]) -> float | None:
    phases = tuple(windows)
    return _largest(
        point.pss for point in points if any(low <= point.at_ns <= high for low, high in phases)
    )


def _largest(found: Iterable[int | None]) -> float | None:
    largest = max((v for v in found if v is not None), default=None)
    return None if largest is None else float(largest)
