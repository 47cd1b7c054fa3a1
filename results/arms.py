"""Arms: model × backend × artifact × settings, what they are called and how they are told apart."""

from __future__ import annotations

import json
from collections.abc import Mapping

from results.records import Case

#: Settings that say nothing: what every engine is run with unless the scenario says otherwise.
_PLAIN: Mapping[str, object] = {"device": "cpu", "mmap": None, "mlock": None, "python": None}


def arm(case: Case) -> str:
    """Backend and artifact, and the settings that are not the plain ones."""
    return f"{case.backend} {variant(case)}"


def variant(case: Case) -> str:
    """The artifact, the settings that are not the plain ones, and the role in a gate."""
    said = [f"{k}={v}" for k, v in case.settings.items() if k in _PLAIN and v != _PLAIN[k]]
    options = case.settings.get("options")
    if isinstance(options, Mapping):
        said += [f"{k}={v}" for k, v in options.items()]
    role = [f"({case.arm})"] if case.arm else []
    return " ".join([case.artifact, *said, *role])


def key(case: Case) -> str:
    """The same for all cases of an arm, whatever they measure."""
    told = [case.model, case.backend, case.artifact, case.settings, case.arm]
    return json.dumps(told, sort_keys=True)
