"""Cases that a plan adds by itself: audits of arms, references, and harm.

A companion is evidence about other cases. It runs once, whatever the number of trials.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness import registry
from harness.scenario import BackendSettings

if TYPE_CHECKING:
    from harness.plan import PlannedCase

AUDIT = {"prompt_tokens": 32, "output_tokens": 16}
"""Sizes of the audit's requests: its longest is a prompt, eight tokens, and one more."""

ONCE = ("audit", "templates", "harm", "reference", "fidelity", "quality", "sampling")
"""Measures that repeat inside a trial what is a matter of chance, if anything is."""


def turn(measure: str) -> int:
    """0 for what others need, 2 for what needs the others, 1 for all the rest."""
    return {"reference": 0, "harm": 2}.get(measure, 1)


def audits(cases: Sequence[PlannedCase]) -> list[PlannedCase]:
    """One audit for every arm that is timed, on the machine, threads and context of its cases."""
    found: dict[str, PlannedCase] = {}
    for planned in cases:
        if planned.case.measure not in ("load", "generate"):
            continue
        case = replace(planned.case, measure="audit", parameters={**AUDIT, **_told(planned)})
        found.setdefault(case.key, replace(planned, case=case))
    return list(found.values())


def template_references(cases: Sequence[PlannedCase]) -> list[PlannedCase]:
    """For every model whose templates are looked at: its own template, rendered by us."""
    found: dict[str, PlannedCase] = {}
    plain = BackendSettings.model_validate({})
    for planned in cases:
        if planned.case.measure == "templates":
            case = replace(
                planned.case,
                backend=registry.REFERENCE.name,
                artifact=planned.manifest.tokenizer,
                settings=plain.recorded(),
            )
            found.setdefault(case.key, replace(planned, case=case, settings=plain, obstacle=None))
    return list(found.values())


def references(
    cases: Sequence[PlannedCase], backend: str, artifact: str | None
) -> list[PlannedCase]:
    """For every model: the arm whose distributions the others are held against.

    It is run as the scenario runs that backend, if it does. Whether it can run is not decided here.
    """
    found: dict[str, PlannedCase] = {}
    for planned in sorted(cases, key=lambda c: c.case.backend != backend):
        own = planned.case.backend == backend
        settings = planned.settings if own else BackendSettings.model_validate({}).housed(backend)
        case = replace(
            planned.case,
            backend=backend,
            artifact=artifact or planned.manifest.tokenizer,
            measure="reference",
            settings=settings.recorded(),
        )
        found.setdefault(case.model, replace(planned, case=case, settings=settings))
    return list(found.values())


def harms(able: Sequence[PlannedCase]) -> list[PlannedCase]:
    """For every trained model: one of the arms that give logits, best the reference's weights."""
    found: dict[str, PlannedCase] = {}
    for planned in sorted(able, key=lambda c: c.case.artifact != c.manifest.tokenizer):
        if not planned.manifest.synthetic and planned.obstacle is None:
            case = replace(planned.case, measure="harm")
            found.setdefault(case.model, replace(planned, case=case))
    return list(found.values())


def _told(planned: PlannedCase) -> dict[str, Any]:
    return {name: planned.case.parameters[name] for name in ("context", "threads")}
