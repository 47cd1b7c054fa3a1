"""What a plan needs before its first trial: artifacts on disk, and prompts as token ids."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness import environment, models, prompts, registry, supervisor
from harness.errors import BakeoffError, PrepareFailed
from harness.items import Item
from harness.models import Prepared
from harness.plan import Obstacle, Plan, PlannedCase
from harness.probe import packages
from harness.prompts import PromptSpec
from results.records import Case, Prompt, digest_ids

Assets = dict[tuple[str, str], Prepared]
"""By model and artifact."""

PromptNames = dict[str, dict[str, list[str]]]
"""Digests of the prompts of a trial's requests, by model and by `prompt_name`."""

AUDIT_PROMPTS = 3

OnProgress = Callable[[str, float | None], None]


def prepare(planned: Plan, on_progress: OnProgress) -> tuple[Plan, Assets]:
    assets: Assets = {}
    obstacles: dict[tuple[str, str], Obstacle] = {}
    wanted = [(c.manifest, c.case.artifact) for c in planned.cases if not c.obstacle]
    # The tokenizer that encodes items, whatever the arms read.
    wanted += [
        (c.manifest, c.manifest.tokenizer)
        for c in planned.cases
        if "items" in c.case.parameters and c.case.arm != "candidate"
    ]
    for manifest, artifact in wanted:
        key = (manifest.id, artifact)
        if key in assets or key in obstacles:
            continue
        try:
            assets[key] = models.prepare(manifest, artifact, on_progress)
        except PrepareFailed as error:
            reason = f"the artifact {artifact} could not be prepared: {error.reason}"
            obstacles[key] = Obstacle("failed", reason, error.remedy)
    return planned.with_obstacles(obstacles), assets


def encode_prompts(
    planned: Plan, assets: Assets, on_progress: OnProgress
) -> tuple[list[Prompt], PromptNames, dict[str, str]]:
    """Prompts of every length for every model, their digests by model and length, and by whom."""
    settings = planned.scenario.plan
    requests = max(settings.warmup + settings.requests, AUDIT_PROMPTS)
    built: dict[str, Prompt] = {}
    names: PromptNames = {}
    tokenizers: dict[str, str] = {}
    for model in _models(planned):
        runnable = [
            c
            for c in planned.cases
            if c.case.model == model and c.obstacle is None and "prompt_tokens" in c.case.parameters
        ]
        if not runnable:
            continue
        sets = {prompt_name(c.case): c.case for c in runnable}
        specs = [_spec(case, index) for case in sets.values() for index in range(requests)]
        on_progress(f"{model}: encode prompts", None)
        texts = prompts.pieces(specs, requests)
        answers, tokenizers[model] = _encode(texts, runnable, planned, assets)
        found = prompts.built(specs, answers)
        names[model] = {
            name: [found[_spec(case, index)].digest for index in range(requests)]
            for name, case in sets.items()
        }
        built |= {prompt.digest: prompt for prompt in found.values()}
    return list(built.values()), names, tokenizers


def encode_items(
    planned: Plan, assets: Assets, on_progress: OnProgress
) -> tuple[list[Prompt], PromptNames, dict[str, str]]:
    """Ids of every item for every model; the digest is empty where an item has none."""
    built: dict[str, Prompt] = {}
    names: PromptNames = {}
    makers: dict[str, str] = {}
    for model in _models(planned):
        for measure, chosen in planned.material.items.items():
            # Of a gate's base, `fidelity` is the reference.
            wanted = (measure, "reference") if measure == "fidelity" else (measure,)
            cases = [c for c in planned.cases if c.case.model == model and c.case.measure in wanted]
            runnable = [c for c in cases if c.obstacle is None]
            if not runnable:
                continue
            on_progress(f"{model}: encode what {measure} works on", None)
            answers, makers[f"{model}, {measure}"] = _encode_items(
                chosen, runnable, planned, assets
            )
            digests = []
            for answer in answers:
                ids = tuple(int(i) for i in answer["ids"] or ())
                digest = digest_ids(ids) if ids else ""
                if ids:
                    built[digest] = Prompt(digest, ids, str(answer["text"]))
                digests.append(digest)
            without = [str(i["name"]) for i, d in zip(chosen, digests, strict=True) if not d]
            if without:
                makers[f"{model}, {measure}"] += f"; no ids for {len(without)}: {without[0]} …"
            names.setdefault(model, {})[measure] = digests
    return list(built.values()), names, makers


def _models(planned: Plan) -> list[str]:
    """Those whose prompts are encoded: a gate's candidate works on the base's ids."""
    return list(dict.fromkeys(c.case.model for c in planned.cases if c.case.arm != "candidate"))


def _encode_items(
    chosen: Sequence[Item], runnable: list[PlannedCase], planned: Plan, assets: Assets
) -> tuple[list[Mapping[str, Any]], str]:
    """By the model's own template and tokenizer; where those cannot be read, by the first engine
    that can. A model without a template is given no other one: its chats have no ids."""
    first = runnable[0]
    reference = (registry.REFERENCE, first.manifest.tokenizer, None)
    engines = [
        (registry.find(c.case.backend), c.case.artifact, c.settings.python) for c in runnable
    ]
    tried: dict[str, str] = {}
    for adapter, artifact, python in (reference, *engines):
        prepared = assets.get((first.case.model, artifact))
        if prepared is None or f"{adapter.name} on {artifact}" in tried:
            continue
        job = {
            "job": "encode",
            "backend": adapter.reference,
            "packages": packages(adapter),
            "artifact": job_artifact(prepared),
            "options": job_options(first.case),
            "items": [{k: item[k] for k in ("text", "messages") if k in item} for item in chosen],
        }
        outcome = _ask(job, planned, python)
        answers = outcome.of("tokens")
        done = outcome.end is not None and outcome.end["status"] == "ok"
        told = any(answer["ids"] for answer in answers) or adapter.name == registry.REFERENCE.name
        if done and len(answers) == len(chosen) and told:
            version = (outcome.first("engine") or {}).get("version")
            return list(answers), f"{adapter.name} {version}, {artifact}"
        tried[f"{adapter.name} on {artifact}"] = str(
            (outcome.end or {}).get("reason") or outcome.signal or "it encoded nothing"
        )
    why = "; ".join(f"{who}: {reason}" for who, reason in tried.items())
    return [{"ids": None, "text": ""} for _ in chosen], f"nothing could encode: {why}"


def _ask(job: Mapping[str, Any], planned: Plan, python: str | None) -> supervisor.Outcome:
    """One job of preparation in a worker."""
    with tempfile.TemporaryDirectory(prefix="bakeoff-") as folder:
        return supervisor.run(
            job,
            interpreter=python or sys.executable,
            environment=environment.for_worker(planned.threads, job["options"]["extra"]),
            log=Path(folder) / "worker.log",
            limit_s=planned.scenario.plan.trial_time_limit_s,
            watch_memory=False,
        )


def prompt_name(case: Case) -> str:
    """Which set of prompts a case uses: all engines' cases of one task use the same."""
    shared = " with a shared prefix" if case.parameters.get("reuse_prefix") else ""
    return f"{case.parameters['prompt_tokens']} tokens{shared}"


def _spec(case: Case, index: int) -> PromptSpec:
    shared = bool(case.parameters.get("reuse_prefix"))
    return PromptSpec(int(case.parameters["prompt_tokens"]), index, shared)


def _encode(
    texts: list[tuple[str, int]], runnable: list[PlannedCase], planned: Plan, assets: Assets
) -> tuple[list[Mapping[str, Any]], str]:
    """Encode with the manifest's reference tokenizer, else with the first engine that can."""
    reference = runnable[0].manifest.tokenizer
    candidates = sorted(runnable, key=lambda c: c.case.artifact != reference)
    tried: dict[tuple[str, str], str] = {}
    for case in candidates:
        key = (case.case.backend, case.case.artifact)
        if key in tried:
            continue
        adapter = registry.find(case.case.backend)
        job = {
            "job": "tokenize",
            "backend": adapter.reference,
            "packages": packages(adapter),
            "artifact": job_artifact(assets[case.case.model, case.case.artifact]),
            "options": job_options(case.case),
            "texts": texts,
        }
        outcome = _ask(job, planned, case.settings.python)
        answers = outcome.of("tokens")
        if len(answers) == len(texts) and outcome.end and outcome.end["status"] == "ok":
            return list(
                answers
            ), f"{adapter.name} {(outcome.first('engine') or {}).get('version')}, {key[1]}"
        tried[key] = str((outcome.end or {}).get("reason") or outcome.signal or "no answer")
    why = "; ".join(
        f"{backend} on {artifact}: {reason}" for (backend, artifact), reason in tried.items()
    )
    raise BakeoffError(
        f"no engine of this scenario can encode the prompts: {why}",
        "add a backend that can tokenize, such as transformers or llamacpp",
    )


def job_artifact(prepared: Prepared) -> dict[str, str]:
    """The artifact as a job's JSON names it."""
    return {**asdict(prepared.artifact), "path": str(prepared.artifact.path)}


def job_options(case: Case) -> dict[str, Any]:
    """The fields of LoadOptions, from a case."""
    return {
        **{name: case.parameters[name] for name in ("context", "threads")},
        **{name: case.settings[name] for name in ("device", "mmap", "mlock")},
        "extra": case.settings["options"],
    }
