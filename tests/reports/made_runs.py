"""Made-up runs of every kind, for tests that look at whole reports."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from results.records import ArtifactFacts, Case, Record, Trial
from results.store import Run

HERE = Path(__file__).parent


@cache
def made(name: str) -> ModuleType:
    """A test module beside this one, for the run that it makes up."""
    spec = importlib.util.spec_from_file_location(f"made_{Path(name).stem}", HERE / name)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def speed() -> Run:
    """Load and generate on six arms, some of which fail: tables, plots, comparisons, an audit."""
    run: Run = made("conftest.py").make_run()
    return run


def templates() -> Run:
    run: Run = made("template_runs.py").make_run()
    return run


def quality() -> Run:
    module = made("test_quality_view.py")
    run: Run = module.make(
        alpha=module.observed(), beta=module.observed(9, module.EVIL), gamma="it <b>broke</b>"
    )
    return run


def sampling() -> Run:
    engines = made("test_sampling_view.py").ENGINES
    return _observed("sampling", engines)


def fidelity() -> Run:
    """One engine that is true to the reference, one that is not, and one that says nonsense."""
    module = made("test_fidelity_view.py")
    wanted = [
        {"item": "tides", "logprob": [-1.0, -2.0]},
        {"item": "chat", "logprob": [-1.0], "greedy": [1, 2, 3], "ended": True},
    ]
    same = {"method": "logits", "agree": [1], "error": [1e-5], "kl": [2e-9]}
    far = [10.0 ** (n % 3 - 11) for n in range(150)]
    true = [{**wanted[0], **same, "kl": far}, {**wanted[1], **same}]
    off = [
        {
            "item": "tides",
            "logprob": [-3.0, -2.0],
            "kl": [9.0, 7.0],
            "agree": [0, 1],
            "error": [3.0, 1.0],
        }
    ]
    odd = [{"item": "chat", "error": "no logits"}]
    records = (
        module.record(Case("m", "transformers", "hf", "reference"), wanted),
        module.record(Case("m", "onnx", "onnx", "fidelity"), true),
        module.record(Case("m", "slow", "int4", "fidelity"), [*off, *odd]),
    )
    run = speed()
    facts = tuple(
        ArtifactFacts("m", name, form, precision, "w", 1, "0" * 64)
        for name, form, precision in (("hf", "hf", "f32"), ("onnx", "onnx", "f32"), ("int4", "x", "int4"))
    )  # fmt: skip
    trials = tuple(Trial(record.trial, record.case, 0) for record in records)
    items = {"fidelity": module.ITEMS}
    info = replace(run.info, trials=trials, artifacts=facts, items=items, budgets=())
    return replace(run, info=info, records=records)


def everything() -> Run:
    """One run with every section: what all the measures found."""
    return _joined(speed(), (templates(), quality(), sampling(), fidelity()))


def failures() -> Run:
    """A run in which nothing worked."""
    run = speed()
    return replace(run, records=tuple(r for r in run.records if r.status != "ok"))


def one_case() -> Run:
    run = speed()
    return _only(
        run, next(r.case for r in run.records if r.case.measure == "generate" and r.status == "ok")
    )


def two_cases() -> Run:
    """Two engines with the same weights and the same task."""
    run = speed()
    names = ("gguf-f32", "onnx-f32")
    return _only(
        run,
        *(t.case for t in run.info.trials if t.case.artifact in names and t.case.measure == "load"),
    )


def _only(run: Run, *cases: Case) -> Run:
    keys = {case.key for case in cases}
    trials = tuple(t for t in run.info.trials if t.case.key in keys)
    records = tuple(r for r in run.records if r.case.key in keys)
    return replace(run, info=replace(run.info, trials=trials), records=records)


def forty_cases() -> Run:
    """Twenty engines with two tasks each, and names as long as an engine's author likes."""
    run = speed()
    trials: list[Trial] = []
    records: list[Record] = []
    for number in range(20):
        for record in run.records:
            if record.case.backend == "llamacpp" and record.case.artifact == "gguf-f32":
                name = f"engine-{number:02}-{'with-a-long-name' if number % 7 == 3 else 'x'}"
                case = replace(record.case, backend=name)
                trial = Trial(f"{case.key}-{record.repetition}", case, record.repetition)
                trials.append(trial)
                records.append(replace(record, trial=trial.id, case=case))
    return replace(run, info=replace(run.info, trials=tuple(trials)), records=tuple(records))


def _observed(measure: str, observations: dict[str, list[dict[str, Any]]]) -> Run:
    run = speed()
    cases = {name: Case("m", name, f"{name}-f32", measure, {}, {}) for name in observations}
    records = tuple(
        Record(case.key, case, 0, 1, "ok", "x", 1.0, observations=tuple(observations[name]))
        for name, case in cases.items()
    )
    trials = tuple(Trial(record.trial, record.case, 0) for record in records)
    return replace(run, info=replace(run.info, trials=trials), records=records)


def _joined(first: Run, others: Iterable[Run]) -> Run:
    info, records = first.info, first.records
    for other in others:
        info = replace(
            info,
            trials=info.trials + other.info.trials,
            artifacts=info.artifacts
            + tuple(a for a in other.info.artifacts if a not in info.artifacts),
            items={**info.items, **other.info.items},
            conversations=info.conversations + other.info.conversations,
        )
        records += other.records
    return replace(first, info=info, records=records)
