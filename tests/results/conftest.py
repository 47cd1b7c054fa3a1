"""Small records and runs, built from the few facts a test is about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from results.records import (
    ArtifactFacts,
    Budget,
    Case,
    Check,
    Memory,
    MemoryPoint,
    Prompt,
    Record,
    RunInfo,
    Sample,
    Span,
    Trial,
)
from results.store import Run

MS = 1_000_000
PARAMETERS = {
    "prompt_tokens": 10, "output_tokens": 3, "context": 64, "threads": 2, "reuse_prefix": False,
    "sampling": {"temperature": 0.0, "top_k": 0},
}  # fmt: skip


def make_case(
    backend: str = "a", artifact: str = "a-f32", measure: str = "generate", **more: Any
) -> Case:
    base = (
        PARAMETERS if measure == "generate" else {"page_cache": "warm", "context": 64, "threads": 2}
    )
    return Case("m", backend, artifact, measure, {**base, **more})


def make_sample(
    first_ms: float = 100, gaps_ms: Sequence[float] = (20, 30), index: int = 0, warmup: bool = False,
    prompt: str = "p", tokens: int = 10, claims: dict[str, float] | None = None,
) -> Sample:  # fmt: skip
    stamps = [1_000 * MS + int(first_ms * MS)]
    for gap in gaps_ms:
        stamps.append(stamps[-1] + int(gap * MS))
    ids = tuple(range(len(stamps)))
    return Sample(
        index, warmup, prompt, tokens, 1_000 * MS, tuple(stamps), ids, stamps[-1] + 5 * MS,
        claims or {},
    )  # fmt: skip


def make_record(case: Case, repetition: int = 0, status: Any = "ok", **more: Any) -> Record:
    more.setdefault("samples", (make_sample(),))
    return Record(
        f"{case.key}-{repetition}", case, repetition, 1, status, "2026-01-01", 1.0, **more
    )


def make_memory(rss: int | None = 900, pss: Sequence[int | None] = (100, 400, 300)) -> Memory:
    points = tuple(MemoryPoint(i, 700 + i, p) for i, p in enumerate(pss))
    return Memory(0.02, 0.0, points, rss)


def make_spans(*, gap_ms: int = 0) -> tuple[Span, ...]:
    return (
        Span("process", 0, 200 * MS),
        Span("import", 200 * MS, 700 * MS),
        Span("open", (700 + gap_ms) * MS, (1700 + gap_ms) * MS),
    )


def make_facts(
    artifact: str = "a-f32", weights: str = "w", precision: str = "f32", size: int = 200
) -> ArtifactFacts:
    return ArtifactFacts("m", artifact, "gguf", precision, weights, size, "0" * 64)


def make_run(
    records: Sequence[Record],
    *,
    planned: Sequence[Record] = (),
    facts: Sequence[ArtifactFacts] = (),
    budgets: Sequence[Budget] = (),
    prompts: Sequence[Prompt] = (),
) -> Run:
    """`planned` holds what was planned beyond `records` and never ran."""
    trials = tuple(Trial(r.trial, r.case, r.repetition) for r in (*records, *planned))
    info = RunInfo(
        "run-1", "0.1.0", "2026-01-01", ("bakeoff", "run", "s.yaml"), "s", "", "name: s\n", "0" * 64,
        1, {}, trials, tuple(facts), tuple(budgets), {}, "f", {}, {},
    )  # fmt: skip
    return Run(Path("run-1"), info, tuple(records), tuple(prompts))


def make_conditions(
    busy: int | None = 2, foreign_s: float | None = 0.0, before: float | None = 1.0, **more: Any
) -> dict[str, Any]:
    return {
        "busy_threads": busy,
        "disturbance": {"steal_s": 0.0, "foreign_cpu_s": foreign_s, "pressure_s": 0.0},
        "page_cache": {"asked": "warm", "resident_before": before, "resident_after": 1.0},
        **more,
    }


def make_audit(case: Case, status: Any = "ok", **checks: bool | None) -> Record:
    """An audit of the case's arm; `checks` by name, all of the usual ones passed if none."""
    checks = checks or {"prompt_evaluated": True, "prefix_not_reused": True, "greedy_repeats": True}
    audit = replace(case, measure="audit", parameters={"threads": 2})
    found = tuple(Check(n, passed, f"it did {n}") for n, passed in checks.items())
    return make_record(audit, status=status, samples=(), checks=found)


class Make:
    conditions = staticmethod(make_conditions)
    audit = staticmethod(make_audit)
    case = staticmethod(make_case)
    sample = staticmethod(make_sample)
    record = staticmethod(make_record)
    memory = staticmethod(make_memory)
    spans = staticmethod(make_spans)
    facts = staticmethod(make_facts)
    run = staticmethod(make_run)


@pytest.fixture(scope="session")
def make() -> type[Make]:
    return Make


@pytest.fixture(scope="session")
def generate(make: type[Make]) -> Callable[..., Record]:
    """`generate("backend", repetition, decode gap in ms)`: an ok record of one timed request."""

    def build(backend: str, repetition: int, gap_ms: float, **more: Any) -> Record:
        case = make.case(backend, f"{backend}-f32")
        return make.record(
            case, repetition, samples=(make.sample(gaps_ms=(gap_ms, gap_ms), **more),)
        )

    return build
