"""Memory metrics: peaks of a trial, of its phases, and of what they are made of.

All from `Record.memory`, which holds readings of the worker and its children taken from outside,
and the worker's own at the ends of its phases. Where no reading fell into a phase its peak is not
known, and is left out. So are all of them where the engine is a server that ran already: what was
read then is its client.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import TYPE_CHECKING

from results.records import ArtifactFacts, Memory, MemoryPoint, Record

if TYPE_CHECKING:
    from results.samples import Ints

PEAKS = ("peak_pss_bytes", "peak_rss_bytes")


def values(record: Record, facts: ArtifactFacts | None) -> dict[str, float | None]:
    """The memory metrics of one trial by name. `facts` gives the artifact's size."""
    memory = read(record)
    rss, pss = peak_rss_bytes(memory), peak_pss_bytes(memory)
    peak = rss if pss is None else pss
    sized = facts is not None and facts.bytes > 0
    points = memory.points if memory else ()
    phases = _peaks(record, memory)
    share = memory.sampler_cpu_s / record.wall_s if memory and record.wall_s > 0 else None
    return {
        "peak_rss_bytes": rss,
        "peak_pss_bytes": pss,
        "peak_memory_to_model_size": (
            peak / facts.bytes if peak is not None and facts is not None and sized else None
        ),
        "peak_load_pss_bytes": phases.get("load"),
        "peak_prefill_pss_bytes": phases.get("prefill"),
        "peak_decode_pss_bytes": phases.get("decode"),
        "peak_anonymous_bytes": _largest(point.anonymous for point in points),
        "peak_file_backed_bytes": _largest(point.file_backed for point in points),
        "peak_swap_bytes": _largest(point.swap for point in points),
        "peak_device_bytes": _largest(point.device for point in points),
        "sampler_cpu_share": share,
    }


def read(record: Record) -> Memory | None:
    """What was read of the engine's memory; None for a server at a `url`, which is no child of the
    worker."""
    options = record.case.settings.get("options")
    elsewhere = isinstance(options, Mapping) and options.get("url")
    return None if elsewhere else record.memory


def peak_metric(cases: Iterable[Container[str]]) -> str:
    """The metric of peak memory for cases that stand side by side, by the names of the metrics that
    each has: PSS if all have it that have any, else RSS."""
    known = [names for names in cases if any(name in names for name in PEAKS)]
    return PEAKS[0] if all(PEAKS[0] in names for names in known) else PEAKS[1]


def peak_rss_bytes(memory: Memory | None) -> float | None:
    """The kernel's high-water mark, else the largest reading."""
    if memory is None:
        return None
    if memory.peak_rss is not None:
        return float(memory.peak_rss) or None
    return _largest(point.rss for point in memory.points) or None


def peak_pss_bytes(memory: Memory | None) -> float | None:
    """The largest proportional set size that was read; None where the OS has none."""
    return None if memory is None else _largest(point.pss for point in memory.points) or None


def at_pss_peak(memory: Memory | None) -> MemoryPoint | None:
    """The reading with the largest PSS: its `anonymous` and `file_backed` add up to it."""
    known = [point for point in memory.points if point.pss is not None] if memory else []
    return max(known, key=lambda point: point.pss or 0, default=None)


def _peaks(record: Record, memory: Memory | None) -> dict[str, float | None]:
    """The largest PSS while loading, prefilling and decoding."""
    points = [p for p in memory.points if p.pss is not None] if memory else []
    if not points:
        return {}
    import numpy as np

    from results import samples

    requests = samples.of(record)
    at = np.array([point.at_ns for point in points])
    pss = np.array([point.pss for point in points])

    def largest(low: Ints, high: Ints) -> float | None:
        """The largest reading from a `low` to its `high`, both included."""
        order = np.argsort(low)
        # Of all windows that began before a reading, one holds it if the last to end does.
        ends = np.maximum.accumulate(high[order])
        begun = np.searchsorted(low[order], at, side="right")
        inside = (begun > 0) & (ends[begun - 1] >= at) if len(low) else np.zeros(len(at), bool)
        return float(pss[inside].max()) if inside.any() else None

    found = {}
    start, end, closing = (record.span(name) for name in ("import", "open", "close"))
    if start and end:
        # Until the first request, warm-ups included: the reading at the end of opening the model
        # is taken just after its span.
        first = max(min(requests.submitted_ns.tolist(), default=end.end_ns), end.end_ns)
        found["load"] = largest(np.array([start.start_ns]), np.array([first]))
    timed = requests.counted & (requests.tokens > 0)
    submitted, first_ns = requests.submitted_ns[timed], requests.first_ns[timed]
    done = requests.done_ns[timed]
    found["prefill"] = largest(submitted, first_ns)
    # Decoding lasts until the next request, or until the model is closed: readings between
    # requests see what it left.
    begins = np.sort(requests.submitted_ns)
    following = np.searchsorted(begins, submitted, side="right")
    last = np.full(len(done), closing.start_ns) if closing else done.copy()
    more = following < len(begins)
    last[more] = begins[following[more]]
    found["decode"] = largest(first_ns, np.maximum(last, done))
    return found


def _largest(found: Iterable[int | None]) -> float | None:
    largest = max((v for v in found if v is not None), default=None)
    return None if largest is None else float(largest)
