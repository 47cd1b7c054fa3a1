"""What bakeoff itself costs. Run with `make bench`; never fails by timing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from harness import environment
from harness.probe import probe
from harness.registry import adapters
from results import store
from results.encoding import record_from_json, to_json
from results.records import Sample


def test_a_worker_from_spawn_to_exit(benchmark: Any) -> None:
    """Process start, our imports, one probe of an engine that costs nothing, and the end."""
    fake = adapters()["fake"]
    benchmark.pedantic(lambda: probe(fake), rounds=10, warmup_rounds=1)


def test_a_bare_python_process(benchmark: Any) -> None:
    """What the row above is made of for the most part."""
    import subprocess

    def bare() -> None:
        subprocess.run([sys.executable, "-c", "pass"], env=environment.for_worker(1), check=True)

    benchmark.pedantic(bare, rounds=10, warmup_rounds=1)


def test_appending_a_record_with_fsync(benchmark: Any, tmp_path: Path) -> None:
    for name in ("records.jsonl", "attempts.jsonl"):
        (tmp_path / name).write_text("")
    writer, record = store.Store(tmp_path), _record()
    benchmark(lambda: writer.append(record))


def test_reading_a_record(benchmark: Any) -> None:
    line = to_json(_record())
    assert benchmark(lambda: record_from_json(line)).status == "ok"


def _record() -> Any:
    from results.records import Case, Record

    stamps = tuple(range(0, 128_000_000, 1_000_000))
    samples = tuple(
        Sample(i, False, "d" * 16, 256, 0, stamps, tuple(range(128)), 128_000_000) for i in range(7)
    )
    case = Case("m", "b", "a", "generate", {"prompt_tokens": 256, "output_tokens": 128})
    return Record("t", case, 0, 0, "ok", "2026-01-01T00:00:00+00:00", 1.0, samples=samples)
