"""A large run, made up: ten arms at six prompt lengths, ten trials each, and answers side by side."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from results.records import (
    ArtifactFacts,
    Case,
    Memory,
    MemoryPoint,
    Record,
    RunInfo,
    Sample,
    Span,
    Trial,
)
from results.store import Run

ARMS, LENGTHS, TRIALS, REQUESTS, TOKENS = 10, (32, 64, 128, 256, 512, 1024), 10, 5, 48
SETTINGS = [{"temperature": 0.0}, {"temperature": 0.8, "top_p": 0.95}]
ITEMS = [
    {"name": f"task-{n}", "kind": "sum", "messages": [{"role": "user", "content": f"{n} + 1?"}],
     "check": {"how": "number", "answer": n + 1}}
    for n in range(40)
]  # fmt: skip


def make() -> Run:
    draw = random.Random(11)
    records = []
    for arm in range(ARMS):
        backend, artifact = f"engine-{arm // 2}", ("f32", "int4")[arm % 2] + f"-{arm}"
        for length in LENGTHS:
            told: dict[str, Any] = {
                "prompt_tokens": length, "output_tokens": TOKENS, "context": 2048, "threads": 2,
                "reuse_prefix": False, "sampling": {"temperature": 0.0},
            }  # fmt: skip
            case = Case("m", backend, artifact, "generate", told)
            records += [_generated(case, number, 20.0 + 9 * arm, draw) for number in range(TRIALS)]
        records.append(_answered(Case("m", backend, artifact, "quality", _tasks()), draw))
    trials = tuple(Trial(record.trial, record.case, record.repetition) for record in records)
    facts = tuple(
        ArtifactFacts(
            "m", case.artifact, "x", case.artifact[:3], case.artifact[:3], 10**8, "0" * 64
        )
        for case in {trial.case.artifact: trial.case for trial in trials}.values()
    )
    info = RunInfo(
        "large", "0", "2026", ("run", "large.yaml"), "large", "", "", "", 0, {}, trials, facts, (),
        {}, "host", {}, {}, items={"quality": ITEMS},
    )  # fmt: skip
    return Run(Path(), info, tuple(records), ())


def _tasks() -> dict[str, Any]:
    return {"tasks": "standard", "output_tokens": 128, "seeds": 2, "settings": SETTINGS}


def _generated(case: Case, number: int, speed: float, draw: random.Random) -> Record:
    length = case.parameters["prompt_tokens"]
    samples, at = [], 10**9
    for index in range(REQUESTS):
        submitted = at
        at += int(length / 500 * 1e9 * draw.lognormvariate(0, 0.02))
        stamps = [at]
        for _ in range(TOKENS - 1):
            at += int(1e9 / speed * draw.lognormvariate(0, 0.1))
            stamps.append(at)
        samples.append(
            Sample(index, index == 0, f"p{length}-{index}", length, submitted, tuple(stamps),
                   tuple(range(TOKENS)), at + 1000)
        )  # fmt: skip
    size = int(2e8 + 4e9 / speed)
    points = tuple(
        MemoryPoint(10**9 + n * (at - 10**9) // 20, size, int(size * (0.5 + n / 40)), None,
                    size // 3, size // 4, 0)
        for n in range(21)
    )  # fmt: skip
    return Record(
        f"{case.key}-{number}", case, number, 1, "ok", "2026", 9.0,
        spans=(Span("process", 0, 10**8), Span("import", 10**8, 4 * 10**8), Span("open", 4 * 10**8, 9 * 10**8)),
        samples=tuple(samples), memory=Memory(0.02, 0.04, points, size),
    )  # fmt: skip


def _answered(case: Case, draw: random.Random) -> Record:
    """Answers of 120 words that leave each other's at some point."""
    observations = []
    for item in ITEMS:
        for setting in range(len(SETTINGS)):
            common = draw.randrange(10, 100)
            words = [
                f"word{n} " if n < common else f"other{draw.randrange(99)} " for n in range(120)
            ]
            ids = [n if n < common else draw.randrange(10**4) for n in range(120)]
            text = "".join(words)
            observations.append(
                {"item": item["name"], "setting": setting, "seed": 0, "run": 0, "ids": ids,
                 "text": text, "sizes": [len(word) for word in words], "ended": True}
            )  # fmt: skip
    base = Record(f"{case.key}-0", case, 0, 1, "ok", "2026", 9.0)
    return replace(base, observations=tuple(observations))
