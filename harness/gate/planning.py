"""From a scenario and two arms to one plan: the same tasks twice, as pairs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from harness import companions, models, plan
from harness.errors import BadInput, Problem
from harness.gate.overlay import Overlay
from harness.order import Pairing
from harness.plan import Overrides, Plan, PlannedCase
from harness.probe import Probe
from harness.registry import REFERENCE
from harness.scenario import LoadedScenario, Scenario
from results.arms import key as arm_key
from results.gate.rules import Rules
from results.records import Case

Role = Literal["base", "candidate"]


def make(loaded: LoadedScenario, base: Overlay, candidate: Overlay, rules: Rules) -> Plan:
    """Raises BadInput, naming the arm where it is at fault."""
    first = _arm(loaded, base, "base")
    # What both must share is decided once.
    told = replace(
        candidate.overrides,
        threads=candidate.overrides.threads or first.threads,
        context=first.context,
    )
    second = _arm(loaded, replace(candidate, overrides=told), "candidate")
    pairs = _pairs(
        [c.case for c in first.cases if _is_of_an_arm(c.case)],
        [c.case for c in second.cases if _is_of_an_arm(c.case)],
    )
    if not pairs:
        raise BadInput(loaded.path, [Problem("gives the base nothing to run")])
    second = replace(second, cases=_needed(second.cases, [c for _, c in pairs if c is not None]))
    return plan.joined(first, second, Pairing(pairs, rules, (base.text, candidate.text)))


def _arm(loaded: LoadedScenario, overlay: Overlay, role: Role) -> Plan:
    try:
        made = plan.make(loaded, _with_its_artifacts(loaded, overlay.overrides), _with_companions)
    except BadInput as error:
        if not overlay.text:
            raise
        problems = [Problem(problem.reason) for problem in error.problems]
        raise BadInput(f"--{role} {overlay.text!r}", problems, error.remedy) from error
    return replace(made, cases=tuple(_labelled(c, role) for c in made.cases))


def _with_its_artifacts(loaded: LoadedScenario, told: Overrides) -> Overrides:
    """Another model may have none of the artifacts that the scenario names: then all it has."""
    if not told.models or "artifacts" in told.settings:
        return told
    named = {
        name
        for entry in loaded.scenario.backends
        for settings in entry.values()
        for name in settings.artifacts or ()
    }
    have = models.find(told.models[0], loaded.path.parent).artifacts
    if named & have.keys():
        return told
    return replace(told, settings={**told.settings, "artifacts": None})


def _with_companions(
    scenario: Scenario, cases: Sequence[PlannedCase], probes: Mapping[str, Probe]
) -> Sequence[PlannedCase]:
    """No harm and no third engine's reference: the base is what the candidate is held against."""
    chats = [c for c in cases if c.case.measure == "templates"]
    audits = companions.audits(cases) if scenario.plan.audit else []
    return [*audits, *companions.template_references(chats)]


def _labelled(planned: PlannedCase, role: Role) -> PlannedCase:
    case = planned.case
    if case.backend == REFERENCE.name:
        return planned
    measure = "reference" if (case.measure, role) == ("fidelity", "base") else case.measure
    return replace(planned, case=replace(case, arm=role, measure=measure))


def _needed(cases: Sequence[PlannedCase], paired: Sequence[Case]) -> tuple[PlannedCase, ...]:
    """What is held against the base, with its audits and references."""
    keys, arms = {case.key for case in paired}, {arm_key(case) for case in paired}
    return tuple(
        c
        for c in cases
        if c.case.key in keys
        or not c.case.arm
        or (c.case.measure == "audit" and arm_key(c.case) in arms)
    )


def _is_of_an_arm(case: Case) -> bool:
    return case.arm != "" and case.measure != "audit"


def _pairs(base: Sequence[Case], candidate: Sequence[Case]) -> tuple[tuple[Case, Case | None], ...]:
    """Cases of one task: first those with the same model, backend and artifact, the rest in order."""
    left: dict[str, list[Case]] = {}
    for case in candidate:
        left.setdefault(_task(case), []).append(case)
    found: dict[str, Case | None] = {}
    for case in base:
        same = [c for c in left.get(_task(case), ()) if _engine(c) == _engine(case)]
        if same:
            left[_task(case)].remove(same[0])
            found[case.key] = same[0]
    for case in base:
        if case.key not in found:
            rest = left.get(_task(case))
            found[case.key] = rest.pop(0) if rest else None
    return tuple((case, found[case.key]) for case in base)


def _engine(case: Case) -> tuple[str, str, str]:
    return case.model, case.backend, case.artifact


def _task(case: Case) -> str:
    """What an arm may change is left out."""
    measure = "fidelity" if case.measure == "reference" else case.measure
    parameters = {k: v for k, v in case.parameters.items() if k not in ("threads", "context")}
    return json.dumps([measure, parameters], sort_keys=True)
