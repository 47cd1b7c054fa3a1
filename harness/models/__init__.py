"""Models: find a manifest, prepare an artifact, know exactly what the weights are.

    manifest = models.find("smollm2-135m-instruct", near=scenario_file)
    prepared = models.prepare(manifest, "hf-f32")
    prepared.artifact.path, prepared.facts.sha256

`find` raises BadInput, `prepare` and `verify` raise PrepareFailed; both say what to do next.
The names are loaded on first use: `bakeoff --help` must not pay for pydantic.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.models.manifest import Manifest, find, known
    from harness.models.preparation import Prepared, is_prepared, is_recorded, prepare, verify

__all__ = [
    "Manifest",
    "Prepared",
    "find",
    "is_prepared",
    "is_recorded",
    "known",
    "prepare",
    "verify",
]

_HOME = {
    "Manifest": "manifest",
    "find": "manifest",
    "known": "manifest",
    "Prepared": "preparation",
    "is_prepared": "preparation",
    "is_recorded": "preparation",
    "prepare": "preparation",
    "verify": "preparation",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"harness.models.{_HOME[name]}"), name)
