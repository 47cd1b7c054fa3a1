"""Find adapters by entry point, without importing them.

An adapter's code runs in workers only: a broken plugin cannot hurt bakeoff itself.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

GROUP = "bakeoff.backends"


@dataclass(frozen=True)
class Adapter:
    """Where an adapter is: `reference` is `module:class`, `distribution` the package it came with."""

    name: str
    reference: str
    distribution: str

    @property
    def package(self) -> str:
        return self.reference.partition(":")[0].partition(".")[0]

    def folder(self) -> Path | None:
        """The folder that holds the adapter's top-level package, for another interpreter's worker."""
        spec = importlib.util.find_spec(self.package)
        if spec is None:
            return None
        if spec.submodule_search_locations:
            return Path(next(iter(spec.submodule_search_locations))).resolve().parent
        return Path(spec.origin).resolve().parent if spec.origin else None


REFERENCE = Adapter("reference", "harness.chat.reference:TemplateReference", "bakeoff")
"""bakeoff's own renderer of chat templates: no engine, and not in the list of engines."""


def find(name: str) -> Adapter:
    """The adapter that a planned case names. Raises KeyError."""
    return REFERENCE if name == REFERENCE.name else adapters()[name]


def adapters() -> dict[str, Adapter]:
    """All adapters by name, sorted. bakeoff's own win over others of the same name."""
    found: dict[str, Adapter] = {}
    points = entry_points(group=GROUP)
    for point in sorted(points, key=lambda p: (p.name, p.dist is None or p.dist.name != "bakeoff")):
        distribution = f"{point.dist.name} {point.dist.version}" if point.dist else "unknown"
        if point.name != REFERENCE.name:
            found.setdefault(point.name, Adapter(point.name, point.value, distribution))
    return found
