"""How much of a run's time is bakeoff's own: `python tests/benchmarks/own_share.py [RUN]`.

From the first trial's start to the last one's end, everything is somebody's: the engine's (import,
opening the model, the requests with warm-up, closing) or bakeoff's (all the rest: starting Python,
what the worker does between requests, its exit, and what the parent does between trials).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from results import store
from results.records import Record
from results.store import Run

RUNS = Path("runs")
TARGET = 0.05
ENGINES = ("engine import", "open", "requests", "close")


@dataclass(frozen=True)
class Shares:
    """Seconds of a run's wall time, by whose work it was; they add up to `wall_s`."""

    wall_s: float
    seconds: dict[str, float]

    @property
    def own(self) -> float:
        return 1 - sum(self.seconds[name] for name in ENGINES) / self.wall_s


def shares(run: Run) -> Shares:
    """Raises ValueError for a run of less than one worker, or one that was made in pieces."""
    records = [r for r in run.records if r.span("process") is not None]
    if not records:
        raise ValueError("no worker ran")
    begins = [_span(r, "process")[0] for r in records]
    ends = [begin + round(r.wall_s * 1e9) for begin, r in zip(begins, records, strict=True)]
    if any(end > begin for end, begin in zip(ends, begins[1:], strict=False)):
        raise ValueError("its trials overlap: the run was resumed after a reboot")
    found = dict.fromkeys((*ENGINES, "Python start", "between requests", "worker, other"), 0.0)
    for record in records:
        own = {s.name: (s.end_ns - s.start_ns) / 1e9 for s in record.spans}
        measured = own.get(record.case.measure, 0.0)
        requests = sum(s.done_ns - s.submitted_ns for s in record.samples) / 1e9
        requests = requests if record.samples else measured  # an audit keeps no samples
        found["Python start"] += own["process"]
        found["engine import"] += own.get("import", 0.0)
        found["open"] += own.get("open", 0.0)
        found["requests"] += requests
        found["between requests"] += measured - requests
        found["close"] += own.get("close", 0.0)
        counted = own["process"] + own.get("import", 0.0) + own.get("open", 0.0)
        found["worker, other"] += record.wall_s - counted - measured - own.get("close", 0.0)
    wall_s = (max(ends) - min(begins)) / 1e9
    found["between trials"] = wall_s - sum(found.values())
    return Shares(wall_s, found)


def _span(record: Record, name: str) -> tuple[int, int]:
    span = record.span(name)
    assert span is not None
    return span.start_ns, span.end_ns


def show(run: Run, found: Shares) -> None:
    print(f"{run.path}: {found.wall_s:.1f} s, {len(run.records)} trials")
    for name, seconds in found.seconds.items():
        whose = "engine" if name in ENGINES else "bakeoff"
        print(f"  {whose:<8} {name:<18} {seconds:8.2f} s  {seconds / found.wall_s:6.2%}")
    print(f"bakeoff's own share: {found.own:.2%} (target: at most {TARGET:.0%})")


def main() -> None:
    given = [Path(argument) for argument in sys.argv[1:]] or sorted(RUNS.glob("*-latency"))[-1:]
    if not given:
        print("no latency run in runs/: make one with `bakeoff run latency`, then see its share")
        return
    try:
        run = store.read(given[0])
        show(run, shares(run))
    except (store.StoreError, ValueError) as error:
        print(f"no share of {given[0]}: {error}")


if __name__ == "__main__":
    main()
