"""Arms: model × backend × artifact × settings, what they are called and how they are told apart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePath

from results.records import Case

#: Settings that say nothing: what every engine is run with unless the scenario says otherwise.
_PLAIN: Mapping[str, object] = {"device": "cpu", "mmap": None, "mlock": None, "python": None}


def arm(case: Case) -> str:
    """Backend and artifact, and the arm's name or the settings that are not the plain ones."""
    return f"{case.backend} {variant(case)}"


def variant(case: Case) -> str:
    """The artifact, the name that the scenario gives or else the settings that are not the plain
    ones, and the role in a gate."""
    given = case.settings.get("options")
    options = given if isinstance(given, Mapping) else {}
    told = {**case.settings, "python": _python(case.settings.get("python"))}
    if told["python"] in (case.backend, options.get("server")):
        told["python"] = None  # the engine's own environment
    said = [f"{k}={v}" for k, v in told.items() if k in _PLAIN and v != _PLAIN[k]]
    said += [f"{k}={v}" for k, v in options.items()]
    if (name := case.settings.get("name")) is not None:
        said = [str(name)]
    role = [f"({case.arm})"] if case.arm else []
    return " ".join([case.artifact, *said, *role])


def _python(path: object) -> object:
    """The name of an engine environment from its interpreter's path; any other path as it is."""
    parts = PurePath(path).parts if isinstance(path, str) else ()
    return parts[-3] if parts[-4:-3] == ("engines",) and parts[-2:-1] == ("bin",) else path


def key(case: Case) -> str:
    """The same for all cases of an arm, whatever they measure."""
    told = [case.model, case.backend, case.artifact, case.settings, case.arm]
    return json.dumps(told, sort_keys=True)
