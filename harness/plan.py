"""From a scenario to cases and trials: what will run, in which order, and what can't and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from harness import companions, fits, host, material, models, order, registry
from harness.errors import BadInput, Problem
from harness.material import Material
from harness.models import Manifest
from harness.probe import Probe, probe
from harness.scenario import BackendSettings, LoadedScenario, Scenario
from harness.yaml_source import suggestion
from results.records import Case, Status, Trial


@dataclass(frozen=True)
class Overrides:
    """What the command line says over the scenario. Empty means: as the scenario says.

    `settings` are fields of BackendSettings, for every backend; its `options` are added to theirs.
    """

    backends: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    trials: int | None = None
    threads: int | None = None
    context: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


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
    pairing: order.Pairing | None = None

    def with_obstacles(self, obstacles: Mapping[tuple[str, str], Obstacle]) -> Plan:
        """The same plan, where the named (model, artifact) pairs turned out not to be available."""
        cases = tuple(
            replace(c, obstacle=c.obstacle or obstacles.get((c.case.model, c.case.artifact)))
            for c in self.cases
        )
        return replace(self, cases=cases, trials=_trials(cases, self.scenario, self.pairing))


Companions = Callable[[Scenario, Sequence[PlannedCase], Mapping[str, Probe]], Sequence[PlannedCase]]


def make(loaded: LoadedScenario, overrides: Overrides, add: Companions | None = None) -> Plan:
    """Decide everything that can be decided before anything is fetched. Raises BadInput.

    `add` gives the cases that bakeoff adds by itself, `with_companions` unless said otherwise.
    """
    scenario = _overridden(loaded, overrides)
    cpus = len(scenario.plan.cpus or ()) or host.usable_cpus()
    threads = scenario.plan.threads or min(host.physical_cores(), cpus)
    fits.check_cpus(loaded, scenario)
    manifests = [_manifest(loaded, scenario, index) for index in range(len(scenario.models))]
    fits.check_ids(loaded, manifests)
    context = scenario.plan.context or fits.context(scenario, manifests)
    given = material.find(loaded, scenario)
    fits.check_context(loaded, scenario, manifests, context)
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
    cases += (add or with_companions)(scenario, cases, probes)
    unique = {c.case.key: c for c in cases}
    planned = tuple(unique.values())
    warnings = []
    if threads > cpus:
        warnings.append(f"{threads} threads on {cpus} usable CPUs: they will wait for each other")
    return Plan(
        loaded, scenario, overrides, planned, _trials(planned, scenario, None), probes, threads, context,
        given, tuple(warnings),
    )  # fmt: skip


def with_companions(
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


def _overridden(loaded: LoadedScenario, overrides: Overrides) -> Scenario:
    scenario = loaded.scenario
    changes: dict[str, Any] = {"backends": scenario.backends}
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
    told = {
        name: value
        for name in ("trials", "threads", "context")
        if (value := getattr(overrides, name)) is not None
    }
    if told:
        changes["plan"] = scenario.plan.model_copy(update=told)
    if overrides.settings:
        changes["backends"] = [
            {name: _changed(settings, overrides.settings) for name, settings in entry.items()}
            for entry in changes["backends"]
        ]
    changes["backends"] = [
        {name: settings.housed(name) for name, settings in entry.items()}
        for entry in changes["backends"]
    ]
    return scenario.model_copy(update=changes)


def _changed(settings: BackendSettings, told: Mapping[str, Any]) -> BackendSettings:
    options = {**settings.options, **told.get("options", {})}
    return settings.model_copy(update={**told, "options": options})


def _manifest(loaded: LoadedScenario, scenario: Scenario, index: int) -> Manifest:
    reference = scenario.models[index]
    try:
        return models.find(reference, loaded.path.parent)
    except BadInput as error:
        if scenario.models is not loaded.scenario.models or error.path != reference:
            raise
        reason = error.problems[0].reason
        raise loaded.refuse(reason, ("models", index), error.remedy) from error


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
            plain = BackendSettings.model_validate({}).housed(name)
            wanted.setdefault(_probe_key(name, plain), (adapters[name], plain.python))
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
                    settings.recorded(),
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


def _trials(
    cases: tuple[PlannedCase, ...], scenario: Scenario, pairing: order.Pairing | None
) -> tuple[Trial, ...]:
    settings = scenario.plan
    if pairing is not None:
        return order.blocks(cases, pairing, settings.seed)
    return order.rounds(cases, settings.trials, settings.seed)


def joined(base: Plan, candidate: Plan, pairing: order.Pairing) -> Plan:
    """One plan of two arms. What belongs to the whole run is the base's."""
    cases = tuple({c.case.key: c for c in (*base.cases, *candidate.cases)}.values())
    return replace(
        base,
        cases=cases,
        trials=_trials(cases, base.scenario, pairing),
        probes={**candidate.probes, **base.probes},
        warnings=tuple(dict.fromkeys((*base.warnings, *candidate.warnings))),
        pairing=pairing,
    )
