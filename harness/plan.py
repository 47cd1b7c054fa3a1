"""From a scenario to cases and trials: what will run, in which order, and what can't and why."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from harness import companions, host, material, measures, models, registry
from harness.errors import BadInput, Problem
from harness.material import Material
from harness.models import Manifest
from harness.probe import Probe, probe
from harness.scenario import BackendSettings, LoadedScenario, Scenario
from harness.yaml_source import suggestion
from results.records import Case, Status, Trial

CONTEXT_STEP = 256


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
    material: Material = field(default_factory=Material)
    warnings: tuple[str, ...] = ()

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
    _check_ids(loaded, manifests)
    context = scenario.plan.context or _context(scenario, manifests)
    given = material.find(loaded, scenario)
    _check_context(loaded, scenario, manifests, context)
    probes = _probes(scenario)
    common: dict[str, Any] = {"context": context, "threads": threads}
    told = {m.name: {**common, **given.digests.get(m.name, {})} for m in scenario.measures}
    cases: list[PlannedCase] = []
    for manifest in manifests:
        for index, entry in enumerate(scenario.backends):
            for name, settings in entry.items():
                location = ("backends", index, name)
                asked = probes[_probe_key(name, settings)]
                artifacts = _artifacts(loaded, location, settings, manifest, asked)
                cases += _cases(scenario, manifest, name, settings, artifacts, told, asked)
    cases += _companions(scenario, cases, probes)
    unique = {c.case.key: c for c in cases}
    planned = tuple(unique.values())
    warnings = []
    if threads > cpus:
        warnings.append(f"{threads} threads on {cpus} usable CPUs: they will wait for each other")
    return Plan(
        loaded, scenario, overrides, planned, _trials(planned, scenario), probes, threads, context,
        given, tuple(warnings),
    )  # fmt: skip


def _companions(
    scenario: Scenario, cases: Sequence[PlannedCase], probes: Mapping[str, Probe]
) -> list[PlannedCase]:
    found = companions.audits(cases) if scenario.plan.audit else []
    chats = [c for c in cases if c.case.measure == "templates"]
    found += companions.template_references(chats)
    for entry in scenario.measures:
        if entry.templates and entry.templates.harm:
            able = [c for c in chats if "scores" in _probe_of(c, probes).abilities]
            found += companions.harms(able)
        if entry.fidelity:
            asked = entry.fidelity.reference
            compared = [c for c in cases if c.case.measure == "fidelity"]
            held = companions.references(compared, asked.backend, asked.artifact)
            found += [replace(c, obstacle=_obstacle(_probe_of(c, probes))) for c in held]
    return found


def _probe_of(planned: PlannedCase, probes: Mapping[str, Probe]) -> Probe:
    return probes[_probe_key(planned.case.backend, planned.settings)]


def _obstacle(asked: Probe) -> Obstacle | None:
    if asked.available:
        return None
    return Obstacle("unsupported", str(asked.reason), asked.remedy)


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


def _check_ids(loaded: LoadedScenario, manifests: list[Manifest]) -> None:
    for index, manifest in enumerate(manifests):
        for other in manifests[:index]:
            if other.id == manifest.id and other.file != manifest.file:
                raise loaded.refuse(
                    f"is {manifest.id!r}, as is {other.file}; expected models of different names",
                    ("models", index),
                    "rename one, or give each a manifest with an id of its own",
                )


def _context(scenario: Scenario, manifests: list[Manifest]) -> int:
    """What the longest request needs, in steps; room for a chat where the models have it."""
    longest = max(measures.tokens(p) for entry in scenario.measures for p in entry.parameters())
    if any(entry.templates or entry.item_set for entry in scenario.measures):
        longest = max(longest, measures.CHAT_CONTEXT)
    elif scenario.plan.audit:
        longest = max(longest, measures.tokens(companions.AUDIT))
    # Not beyond a model's own; a request that does not fit then is refused by name.
    stepped = -(-longest // CONTEXT_STEP) * CONTEXT_STEP
    return min(stepped, *(manifest.context_length for manifest in manifests))


def _check_context(
    loaded: LoadedScenario, scenario: Scenario, manifests: list[Manifest], context: int
) -> None:
    for index, entry in enumerate(scenario.measures):
        where = ("measures", index, entry.name)
        for p in entry.parameters():
            asked = measures.tokens(p)
            limits = [(context, "plan.context")] if scenario.plan.context else []
            limits += [(m.context_length, f"the context of {m.id}") for m in manifests]
            for limit, whose in limits:
                if asked > limit:
                    raise loaded.refuse(
                        f"needs {p['prompt_tokens']} + {p['output_tokens']} = {asked} tokens, "
                        f"{whose} holds {limit}",
                        where,
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
    for measure in scenario.measures:
        if measure.fidelity:
            name = measure.fidelity.reference.backend
            wanted.setdefault(name, (adapters[name], None))
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
    artifacts: list[str],
    told: Mapping[str, Mapping[str, Any]],
    asked: Probe,
) -> list[PlannedCase]:
    """`told` are the parameters that do not stand in the scenario's measures, by measure."""
    obstacle = _obstacle(asked)
    found = []
    for entry in scenario.measures:
        chosen = artifacts
        if entry.templates and settings.artifacts is None:
            chosen = _one_of_each_format(manifest, artifacts)
        for artifact in chosen:
            for parameters in entry.parameters():
                case = Case(
                    manifest.id,
                    backend,
                    artifact,
                    entry.name,
                    {**parameters, **told[entry.name]},
                    settings.model_dump(exclude={"artifacts"}),
                )
                found.append(PlannedCase(case, settings, manifest, obstacle))
    return found


def _one_of_each_format(manifest: Manifest, artifacts: list[str]) -> list[str]:
    """Weights do not bear on templates: the first artifact of each format stands for the others."""
    first: dict[str, str] = {}
    for name in artifacts:
        spec = manifest.artifacts.get(name)
        first.setdefault(spec.format if spec else name, name)
    return list(first.values())


def _trials(cases: tuple[PlannedCase, ...], scenario: Scenario) -> tuple[Trial, ...]:
    """Every case once per round, each round shuffled anew: drift hits all cases alike.

    A case that cannot run has one trial, whose record says why. What needs the others' records
    comes last.
    """
    order = random.Random(scenario.plan.seed)
    trials: list[Trial] = []
    for repetition in range(scenario.plan.trials):
        block = [
            c
            for c in cases
            if repetition == 0 or (c.obstacle is None and c.case.measure not in companions.ONCE)
        ]
        order.shuffle(block)
        trials += [Trial(_trial_id(c.case, repetition), c.case, repetition) for c in block]
    return tuple(sorted(trials, key=lambda trial: companions.turn(trial.case.measure)))


def _trial_id(case: Case, repetition: int) -> str:
    return f"{case.backend}-{case.artifact}-{case.measure}-{case.key}-{repetition}"
