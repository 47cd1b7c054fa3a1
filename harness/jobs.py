"""The job of one trial: what a worker is told, as plain JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from harness import registry
from harness.chat import scorings
from harness.plan import Plan, PlannedCase
from harness.preparation import Assets, PromptNames, job_artifact, job_options, prompt_name
from harness.probe import packages
from results.gate import description
from results.records import Case, Prompt, Record, Trial
from results.store import Run


def job(
    trial: Trial, case: PlannedCase, planned: Plan, assets: Assets, work: Mapping[str, Any]
) -> dict[str, Any]:
    adapter = registry.find(trial.case.backend)
    settings = planned.scenario.plan
    return {
        "job": "trial",
        "backend": adapter.reference,
        "packages": packages(adapter),
        "artifact": job_artifact(assets[trial.case.model, trial.case.artifact]),
        "options": job_options(trial.case),
        "measure": trial.case.measure,
        "parameters": dict(trial.case.parameters),
        "warmup": settings.warmup,
        "requests": settings.requests,
        "cpus": settings.cpus,
        **work,
    }


def work(
    run: Run, trial: Trial, known: Mapping[str, Prompt], records: Sequence[Record]
) -> dict[str, Any]:
    """What the trial works on: prompts as ids, conversations, or the prompts that others made."""
    if trial.case.measure == "templates":
        return {"conversations": [asdict(one) for one in run.info.conversations]}
    if trial.case.measure == "harm":
        return {"scorings": scorings.of(trial.case.model, records)}
    names: PromptNames = run.info.plan["prompts"]
    measure = "fidelity" if trial.case.measure == "reference" else trial.case.measure
    # In a gate both arms work on the base's prompts, and the base's logits are the reference.
    base = _base(run, trial)
    if measure in run.info.items:
        digests = names.get(base.model, {}).get(measure, [])
        pairs = zip(run.info.items[measure], digests, strict=False)  # none where none was encoded
        return {
            "items": [
                {
                    "name": item["name"],
                    "ids": list(known[digest].ids),
                    "chat": "messages" in item,
                    "text": item.get("text"),
                }
                for item, digest in pairs
                if digest
            ],
            "logits": str(run.path.resolve() / "logits" / (base.key if base.arm else base.model)),
        }
    digests = names.get(base.model, {}).get(prompt_name(trial.case), [])
    return {"prompts": [{"digest": d, "ids": list(known[d].ids)} for d in digests]}


def _base(run: Run, trial: Trial) -> Case:
    gate = description.describe(run.info)
    pairs = gate.pairs if gate else ()
    return next((b for b, c in pairs if c and c.key == trial.case.key), trial.case)
