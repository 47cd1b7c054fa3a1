"""How reading and reporting grow: `python tests/benchmarks/scale.py [SAMPLES …] [--folder DIR]`.

Makes two run folders of about that many samples (timed requests); reads one, reports on it,
compares the two, each in a process of its own; and runs `pytest-benchmark compare` on a file of the
same requests. Prints what each took: wall time, CPU time (per sample, too: other work on the machine
changes it less), and the largest resident memory as the kernel counts it.

A store has 20 cases (10 arms, 2 tasks) and trials of 100 requests of 8 tokens, a warm-up and 20
readings of memory: 1,000,000 samples are 10,000 trials. Each arm was audited.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from results import store
from results.records import (
    ArtifactFacts,
    Case,
    Check,
    Engine,
    Memory,
    MemoryPoint,
    Prompt,
    Record,
    RunInfo,
    Span,
    Trial,
    digest_ids,
)

SIZES = (10_000, 100_000, 1_000_000)
REQUESTS, TOKENS, READINGS = 100, 8, 20
TASKS = (32, 64)
ENGINES = ("ember", "flint", "gale", "harbor", "isle")
PRECISIONS = ("f32", "q4")
CHECKS = ("prompt_evaluated", "prefix_not_reused", "forced_length", "greedy_repeats")
GREEDY = {
    "temperature": 0.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0, "seed": 0,
}  # fmt: skip
SETTINGS = {"device": "cpu", "mmap": None, "mlock": None, "options": {}, "python": None}
MS = 1_000_000


@dataclass(frozen=True)
class Cost:
    """What one command took: wall and CPU time, and the largest resident set of its process."""

    seconds: float
    cpu_s: float
    peak_mb: float


def write(folder: Path, samples: int, seed: int = 1) -> Path:
    """A run folder of about `samples` samples: at least one trial per case."""
    noise = random.Random(seed)
    paces = {case.key: pace for case, pace in _cases()}
    repetitions = max(1, round(samples / REQUESTS / len(paces)))
    trials = [Trial(f"{c.key}-{r}", c, r) for c, _ in _cases() for r in range(repetitions)]
    noise.shuffle(trials)
    arms = dict.fromkeys((case.backend, case.artifact) for case, _ in _cases())
    audits = [
        Trial(f"{b}-{a}-audit", Case("tiny", b, a, "audit", {"threads": 2}, SETTINGS), 0)
        for b, a in arms
    ]
    prompts = [
        Prompt(_digest(length, index), _ids(length, index), f"prompt {index}")
        for length in TASKS
        for index in range(REQUESTS + 1)
    ]
    store.Store.create(folder, _info((*trials, *audits), seed), prompts)
    # Not one by one through the store: 10,000 fsyncs are not what is measured here.
    with (folder / "records.jsonl").open("w", encoding="utf-8") as file:
        for trial in trials:
            file.write(_line(_generated(trial, paces[trial.case.key], noise)))
        for trial in audits:
            checks = tuple(Check(name, True, "as told") for name in CHECKS)
            record = Record(trial.id, trial.case, 0, 0, "ok", "2026-01-01", 1.0, checks=checks)
            file.write(_line(asdict(record)))
    return folder


def _line(data: dict[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":")) + "\n"


def _cases() -> Iterator[tuple[Case, float]]:
    """Each case, with how slow it is."""
    for number, (engine, precision) in enumerate((e, p) for e in ENGINES for p in PRECISIONS):
        for length in TASKS:
            task = {
                "prompt_tokens": length, "output_tokens": TOKENS, "context": 256, "threads": 2,
                "reuse_prefix": False, "sampling": GREEDY,
            }  # fmt: skip
            yield Case("tiny", engine, precision, "generate", task, SETTINGS), 1 + number / 20


@cache
def _ids(length: int, index: int) -> tuple[int, ...]:
    return tuple(random.Random(f"{length} {index}").choices(range(49152), k=length))


@cache
def _digest(length: int, index: int) -> str:
    return digest_ids(_ids(length, index))


def _generated(trial: Trial, pace: float, noise: random.Random) -> dict[str, Any]:
    """The record of one trial as plain data."""
    started = 10**13 + noise.randrange(10**9)
    opened = started + 500 * MS
    slow = pace * noise.lognormvariate(0, 0.02)
    length, at = trial.case.parameters["prompt_tokens"], opened
    samples = []
    for index in range(REQUESTS + 1):
        samples.append(_request(length, index, at + MS, slow, noise))
        at = samples[-1]["done_ns"]
    spans = (
        Span("process", started, started + 20 * MS),
        Span("import", started + 30 * MS, started + 200 * MS),
        Span("open", started + 200 * MS, opened),
        Span("generate", opened, at),
        Span("close", at, at + MS),
    )
    points = tuple(
        MemoryPoint(started + (at - started) * n // READINGS, 100 * MS, 90 * MS + n,
                    None, 40 * MS, 50 * MS + n, 0)
        for n in range(READINGS)
    )  # fmt: skip
    record = Record(
        trial.id, trial.case, trial.repetition, 0, "ok", "2026-01-01", (at - started) / 1e9,
        engine=Engine("1.0", {"blas": "none"}, ("cpu",)), spans=spans,
        memory=Memory(0.05, 0.001, points, 100 * MS),
        conditions={
            "busy_threads": 2, "threads": 4,
            "disturbance": {"steal_s": 0.0, "foreign_cpu_s": 0.01, "pressure_s": 0.0},
        },
    )  # fmt: skip
    return asdict(record) | {"samples": samples}


def _request(
    length: int, index: int, submitted: int, slow: float, noise: random.Random
) -> dict[str, Any]:
    at = submitted + int(length * 0.3 * MS * slow * noise.lognormvariate(0, 0.03))
    stamps = [at]
    for _ in range(TOKENS - 1):
        at += int(9 * MS * slow * noise.lognormvariate(0, 0.05))
        stamps.append(at)
    claims = {
        "prefill_tokens": float(length), "prefill_ms": (stamps[0] - submitted) / 1e6,
        "decode_tokens": TOKENS - 1.0, "decode_ms": (stamps[-1] - stamps[0]) / 1e6,
    }  # fmt: skip
    return {
        "index": index, "warmup": index == 0, "prompt": _digest(length, index),
        "prompt_tokens": length, "submitted_ns": submitted, "token_ns": stamps,
        "token_ids": _ids(TOKENS, length), "done_ns": at + 30_000, "claims": claims,
    }  # fmt: skip


def _info(trials: tuple[Trial, ...], seed: int) -> RunInfo:
    facts = tuple(
        ArtifactFacts("tiny", p, "gguf", p, f"w-{p}", 60 * MS, f"{n:02x}" * 32)
        for n, p in enumerate(PRECISIONS)
    )
    return RunInfo(
        f"scale-{seed}", "0.1.0", f"2026-01-{seed:02}T00:00:00+00:00", ("bakeoff", "run", "s.yaml"),
        "scale", "", "name: scale\n", "0" * 64, seed, {}, trials, facts, (), {"cpu": "made up"},
        "f" * 16, {}, {},
    )  # fmt: skip


def measure(*command: str | Path) -> Cost:
    """Run a command, its output thrown away. Raises RuntimeError where it does not exit with 0."""
    began = time.perf_counter()
    null = os.open(os.devnull, os.O_WRONLY)
    actions = [(os.POSIX_SPAWN_DUP2, null, 1)]
    words = [str(word) for word in command]
    pid = os.posix_spawn(words[0], words, os.environ, file_actions=actions)
    os.close(null)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(words)} ended with status {status}")
    cpu = usage.ru_utime + usage.ru_stime
    return Cost(time.perf_counter() - began, cpu, usage.ru_maxrss / 1024)


def their_file(path: Path, run: store.Run) -> Path:
    """The times to first token of all requests, for pytest-benchmark: a benchmark per case."""
    from reports.pytest_benchmark import benchmark
    from results import samples, timings

    by_case: dict[str, list[float]] = {}
    for record in (r for r in run.records if r.samples):
        columns = samples.of(record)
        times = timings.ttft_ms(columns)[columns.counted] / 1e3
        by_case.setdefault(record.case.key, []).extend(times.tolist())
    found = [benchmark(key, "ttft", seconds, {}) for key, seconds in by_case.items()]
    about = {"machine_info": {}, "commit_info": {}, "datetime": "2026-01-01", "version": "5.1.0"}
    path.write_text(json.dumps(about | {"benchmarks": found}))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("samples", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--folder", type=Path, help="make the stores here, and keep them")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bakeoff-scale-") as temporary:
        folder = asked.folder or Path(temporary)
        print(
            "  samples   store  command                         wall      CPU  per sample    memory"
        )
        for samples in asked.samples:
            _show(folder, samples)


def _show(folder: Path, samples: int) -> None:
    stores = [folder / f"{samples}-{seed}" for seed in (1, 2)]
    for seed, path in enumerate(stores, start=1):
        if not path.exists():
            # In a process of its own: what it held would count as the measured commands' memory.
            made = f"import scale; scale.write(scale.Path({str(path)!r}), {samples}, {seed})"
            subprocess.run([sys.executable, "-c", made], cwd=Path(__file__).parent, check=True)
    theirs = folder / f"{samples}.json"
    if not theirs.exists():
        made = (
            f"import scale; run = scale.store.read({str(stores[0])!r}); "
            f"scale.their_file(scale.Path({str(theirs)!r}), run)"
        )
        subprocess.run([sys.executable, "-c", made], cwd=Path(__file__).parent, check=True)
    binaries = Path(sys.executable).parent
    read = f"from results import store; store.read({str(stores[0])!r})"
    commands: dict[str, tuple[str | Path, ...]] = {
        "reading alone": (sys.executable, "-c", read),
        "bakeoff report": (binaries / "bakeoff", "report", stores[0]),
        "bakeoff compare": (binaries / "bakeoff", "compare", *stores),
        "pytest-benchmark compare": (binaries / "pytest-benchmark", "compare", theirs),
    }
    size = (stores[0] / "records.jsonl").stat().st_size / 1e6
    for name, command in commands.items():
        cost = measure(*command)
        each = cost.cpu_s / samples * 1e6
        print(
            f"{samples:>9,} {size:>4.0f} MB  {name:25} {cost.seconds:>8.1f} s {cost.cpu_s:>6.1f} s "
            f"{each:>8.1f} µs {cost.peak_mb:>6.0f} MB",
            flush=True,
        )


if __name__ == "__main__":
    main()
