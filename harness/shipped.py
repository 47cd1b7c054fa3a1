"""Scenario files by path, or shipped ones by name."""

from __future__ import annotations

from pathlib import Path

from harness import places
from harness.registry import adapters
from harness.scenario import LoadedScenario, load


def load_scenario(given: Path) -> LoadedScenario:
    """Raises BadInput."""
    shipped = places.SCENARIOS / f"{given.name}.yaml"
    if not given.exists() and given.parent == Path() and not given.suffix and shipped.exists():
        given = shipped
    return load(given, lambda: list(adapters()))
