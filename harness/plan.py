"""From a scenario to cases and trials: what will run, in which order, and what can't and why."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from harness import host, models, registry
from harness.errors import BadInput, Problem
from harness.models import Manifest
from harness.probe import Probe, probe
from harness.scenario import BackendSettings, LoadedScenario, Scenario
from harness.yaml_source import suggestion
from results.records import Case, Status, Trial

CONTEXT_STEP = 256
AUDIT = {"prompt_tokens": 32, "output_tokens": 16}
"""Sizes of the audit's requests: its longest is a prompt, eight tokens, and one more."""


@dataclass(frozen=True)
class Overrides:
    """What the command line says over the scenario. Empty means: as the scenario says."""

    backends: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    trials: int | None = None


@dataclass(frozen=True)
class Obstacle:
    """Why a case cannot run; becomes its record without starting a worker."""

    status: Status
    reason: str
    remedy: str | None


@dataclass(frozen=True)
class PlannedCase:
    case: Case
    settings: BackendSettings
    manifest: Manifest
    obstacle: Obstacle | None = None


@dataclass(frozen=True)
class Plan:
    """A checked scenario with everything decided: `trials` are in the order they will run."""

    loaded: LoadedScenario
    scenario: Scenario
    overrides: Overrides
    cases: tuple[PlannedCase, ...]
    trials: tuple[Trial, ...]
    probes: Mapping[str, Probe]
    threads: int
    context: int
    warnings: tuple[str, ...] = field(default=())

    def with_obstacles(self, obstacles: Mapping[tuple[str, str], Obstacle]) -> Plan:
        """The same plan, where the named (model, artifact) pairs turned out not to be available."""
        cases = tuple(
            replace(c, obstacle=c.obstacle or obstacles.get((c.case.model, c.case.artifact)))
            for c in self.cases
        )
        return replace(self, cases=cases, trials=_trials(cases, self.scenario))


def make(loaded: LoadedScenario, overrides: Overrides) -> Plan:
    """Decide everything that can be decided before anything is fetched. Raises BadInput."""
    scenario = _overridden(loaded, overrides)
    cpus = len(scenario.plan.cpus or ()) or host.usable_cpus()
    threads = scenario.plan.threads or min(host.physical_cores(), cpus)
    _check_cpus(loaded, scenario)
    manifests = [_manifest(loaded, scenario, index) for index in range(len(scenario.models))]
    context = scenario.plan.context or _context(scenario)
    _check_context(loaded, scenario, manifests, context)
    probes = _probes(scenario)
    cases: list[PlannedCase] = []
    for manifest in manifests:
        for index, entry in enumerate(scenario.backends):
            for name, settings in entry.items():
                location = ("backends", index, name)
                asked = probes[_probe_key(name, settings)]
                artifacts = _artifacts(loaded, location, settings, manifest, asked)
                common = {"context": context, "threads": threads}
                for artifact in artifacts:
                    cases += _cases(scenario, manifest, name, settings, artifact, common, asked)
    if scenario.plan.audit:
        cases += _audits(cases)
    unique = {c.case.key: c for c in cases}
    planned = tuple(unique.values())
    warnings = []
    if threads > cpus:
        warnings.append(f"{threads} threads on {cpus} usable CPUs: they will wait for each other")
    return Plan(
        loaded, scenario, overrides, planned, _trials(planned, scenario), probes, threads, context,
        tuple(warnings),
    )  # fmt: skip


def _check_cpus(loaded: LoadedScenario, scenario: Scenario) -> None:
    usable = host.usable_cpu_numbers()
    for index, cpu in enumerate(scenario.plan.cpus or ()):
        if cpu not in usable:
            given = ", ".join(map(str, usable)) or "none: this system can't set them"
            raise loaded.refuse(f"CPU {cpu} is not usable here ({given})", ("plan", "cpus", index))


def _overridden(loaded: LoadedScenario, overrides: Overrides) -> Scenario:
    scenario = loaded.scenario
    changes: dict[str, Any] = {}
    if overrides.backends:
        known = registry.adapters()
        for name in overrides.backends:
            if name not in known:
                raise BadInput(
                    "--backend", [Problem(f"unknown backend {name!r}" + suggestion(name, known))]
                )
        kept = [
            {name: settings}
            for entry in scenario.backends
            for name, settings in entry.items()
            if name in overrides.backends
        ]
        have = {name for entry in kept for name in entry}
        added = [
            {n: BackendSettings.model_validate({})} for n in overrides.backends if n not in have
        ]
        changes["backends"] = kept + added
    if overrides.models:
        changes["models"] = list(overrides.models)
    if overrides.trials is not None:
        changes["plan"] = scenario.plan.model_copy(update={"trials": overrides.trials})
    return scenario.model_copy(update=changes)


def _manifest(loaded: LoadedScenario, scenario: Scenario, index: int) -> Manifest:
    reference = scenario.models[index]
    try:
        return models.find(reference, loaded.path.parent)
    except BadInput as error:
        if scenario.models is not loaded.scenario.models or error.path != reference:
            raise
        reason = error.problems[0].reason
        raise loaded.refuse(reason, ("models", index), error.remedy) from error


def _context(scenario: Scenario) -> int:
    sizes = [p for measure in scenario.measures for p in measure.parameters()]
    longest: int = max(p["prompt_tokens"] + p["output_tokens"] for p in [*sizes, AUDIT])
    return -(-longest // CONTEXT_STEP) * CONTEXT_STEP


def _check_context(
    loaded: LoadedScenario, scenario: Scenario, manifests: list[Manifest], context: int
) -> None:
    for index, entry in enumerate(scenario.measures):
        for p in entry.parameters():
            asked = p["prompt_tokens"] + p["output_tokens"]
            if asked > context:
                raise loaded.refuse(
                    f"needs {p['prompt_tokens']} + {p['output_tokens']} = {asked} tokens, "
                    f"plan.context holds {context}",
                    ("measures", index, entry.name),
                )
            for manifest in manifests:
                if asked > manifest.context_length:
                    raise loaded.refuse(
                        f"needs {p['prompt_tokens']} + {p['output_tokens']} = {asked} tokens, "
                        f"the context of {manifest.id} holds {manifest.context_length}",
                        ("measures", index, entry.name),
                    )
    for manifest in manifests:
        if scenario.plan.context and scenario.plan.context > manifest.context_length:
            raise loaded.refuse(
                f"is {scenario.plan.context}, the context of {manifest.id} holds {manifest.context_length}",
                ("plan", "context"),
            )


def _probe_key(name: str, settings: BackendSettings) -> str:
    return name if settings.python is None else f"{name} ({settings.python})"


def _probes(scenario: Scenario) -> dict[str, Probe]:
    adapters = registry.adapters()
    wanted = {
        _probe_key(name, settings): (adapters[name], settings.python)
        for entry in scenario.backends
        for name, settings in entry.items()
    }
    return {key: probe(adapter, python) for key, (adapter, python) in wanted.items()}


def _artifacts(
    loaded: LoadedScenario,
    location: tuple[str | int, ...],
    settings: BackendSettings,
    manifest: Manifest,
    asked: Probe,
) -> list[str]:
    have = manifest.artifacts
    if settings.artifacts is not None:
        for position, name in enumerate(settings.artifacts):
            where = (*location, "artifacts", position)
            if name not in have:
                raise loaded.refuse(
                    f"{manifest.id} has no artifact {name!r}" + suggestion(name, have), where
                )
            if asked.formats is not None and have[name].format not in asked.formats:
                raise loaded.refuse(
                    f"{name!r} is {have[name].format}, {asked.name} reads {', '.join(asked.formats)}",
                    where,
                )
        return list(dict.fromkeys(settings.artifacts))
    if asked.formats is None:
        return ["any"]
    readable = [name for name, spec in have.items() if spec.format in asked.formats]
    if not readable:
        formats = ", ".join(asked.formats)
        raise loaded.refuse(
            f"{manifest.id} has no artifact that {asked.name} reads ({formats})", location
        )
    return readable


def _cases(
    scenario: Scenario,
    manifest: Manifest,
    backend: str,
    settings: BackendSettings,
    artifact: str,
    common: Mapping[str, Any],
    asked: Probe,
) -> list[PlannedCase]:
    obstacle = None
    if not asked.available:
        obstacle = Obstacle("unsupported", str(asked.reason), asked.remedy)
    return [
        PlannedCase(
            Case(
                manifest.id,
                backend,
                artifact,
                entry.name,
                {**parameters, **common},
                settings.model_dump(exclude={"artifacts"}),
            ),
            settings,
            manifest,
            obstacle,
        )
        for entry in scenario.measures
        for parameters in entry.parameters()
    ]


def _audits(cases: list[PlannedCase]) -> list[PlannedCase]:
    """One audit for every arm, on the machine, threads and context of its cases."""
    audits: dict[str, PlannedCase] = {}
    for planned in cases:
        told = {name: planned.case.parameters[name] for name in ("context", "threads")}
        case = replace(planned.case, measure="audit", parameters={**AUDIT, **told})
        audits.setdefault(case.key, replace(planned, case=case))
    return list(audits.values())


def _trials(cases: tuple[PlannedCase, ...], scenario: Scenario) -> tuple[Trial, ...]:
    """Every case once per round, each round shuffled anew: drift hits all cases alike.

    A case that cannot run has one trial, whose record says why.
    """
    order = random.Random(scenario.plan.seed)
    trials: list[Trial] = []
    for repetition in range(scenario.plan.trials):
        block = [
            c
            for c in cases
            if repetition == 0 or (c.obstacle is None and c.case.measure != "audit")
        ]
        order.shuffle(block)
        trials += [Trial(_trial_id(c.case, repetition), c.case, repetition) for c in block]
    return tuple(trials)


def _trial_id(case: Case, repetition: int) -> str:
    return f"{case.backend}-{case.artifact}-{case.measure}-{case.key}-{repetition}"
