"""What importing an adapter, and asking its `probe`, brings into a fresh process."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIMIT_S = 300
_MARK = "bakeoff-conformance:"

# The finder is the worker's: only the named packages, nothing that lies beside them.
_CHILD = """
import importlib, json, sys
from importlib.machinery import PathFinder
told = json.loads(sys.argv[1])

class Packages:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in told["blocked"]:
            raise ImportError(f"No module named {name!r} (hidden by conformance)")
        if path is None and name in told["folders"]:
            return PathFinder.find_spec(name, [told["folders"][name]])

def foreign():
    names = {name.partition(".")[0] for name in set(sys.modules) - before}
    own = {*sys.stdlib_module_names, *told["folders"]}
    return sorted(name for name in names - own if not name.startswith("_"))

sys.meta_path.insert(0, Packages())
before = set(sys.modules)
made = getattr(importlib.import_module(told["module"]), told["name"])
backend = made()
seen = {"imported": foreign(), "raised": None, "probe": None}
try:
    a = backend.probe()
    seen["probe"] = {
        "kind": type(a).__name__, "version": a.version, "reason": a.reason, "remedy": a.remedy
    }
except BaseException as error:
    seen["raised"] = f"{type(error).__name__}: {error}"
seen["probed"] = foreign()
print("\\n" + told["mark"] + json.dumps(seen), flush=True)
"""


@dataclass(frozen=True)
class ImportFacts:
    """Top-level modules that are neither Python's nor the adapter's, and what `probe` said.

    `without` is what `probe` said with the modules hidden that it had imported; None where there
    were none. Each is what the child printed, or {"raised": …}.
    """

    first: dict[str, Any]
    without: dict[str, Any] | None


def observe(made: Callable[[], Any]) -> ImportFacts:
    """Ask in processes of their own: in this one the engine may be imported already."""
    first = _child(made, [])
    # What the adapter itself imports can't be hidden from it: that fault has a check of its own.
    hidden = sorted({*first.get("probed", [])} - {*first.get("imported", [])})
    return ImportFacts(first, _child(made, hidden) if hidden else None)


def _child(made: Callable[[], Any], blocked: list[str]) -> dict[str, Any]:
    module, name = made.__module__, str(getattr(made, "__qualname__", ""))
    told = {
        "module": module,
        "name": name,
        "folders": {m.partition(".")[0]: str(_folder(m)) for m in ("backends", module)},
        "blocked": blocked,
        "mark": _MARK,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, json.dumps(told)],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=LIMIT_S,
            cwd="/",
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"raised": f"no answer within {LIMIT_S} s"}
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        if line.startswith(_MARK):
            return dict(json.loads(line[len(_MARK) :]))
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return {"raised": f"the process ended with {done.returncode}: {said[-1] if said else ''}"}


def _folder(module: str) -> Path:
    """The folder that the top-level package of a module lies in."""
    file = Path(str(importlib.import_module(module).__file__)).resolve()
    depth = module.count(".") + (file.name == "__init__.py")
    return file.parents[depth]
