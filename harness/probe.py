"""Ask an adapter, in a worker, what its engine is and whether it can run here."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from backends.openai_presets import PRESETS
from harness import environment, supervisor
from harness.places import ROOT
from harness.registry import Adapter

LIMIT_S = 120.0


@dataclass(frozen=True)
class Probe:
    """What a backend's probe said. `formats` is None when the adapter itself could not be loaded."""

    name: str
    distribution: str
    interpreter: str
    formats: tuple[str, ...] | None = None
    version: str | None = None
    build: Mapping[str, str] = field(default_factory=dict)
    devices: tuple[str, ...] = ()
    abilities: tuple[str, ...] = ()
    reason: str | None = None
    remedy: str | None = None

    @property
    def available(self) -> bool:
        return self.reason is None

    def facts(self) -> dict[str, Any]:
        """For run.json."""
        return asdict(self)


def packages(adapter: Adapter) -> dict[str, str]:
    """The packages a worker for this adapter may import, and the folder each is in."""
    found = {"harness": str(ROOT), "backends": str(ROOT)}
    folder = adapter.folder()
    if folder is not None:
        found.setdefault(adapter.package, str(folder))
    return found


def probe(adapter: Adapter, interpreter: str | None = None) -> Probe:
    """Run the adapter's `probe` in a process of its own, once per command. Never raises."""
    if interpreter is not None and shutil.which(interpreter) is None:
        reason = f"there is no interpreter or engine environment {interpreter!r}"
        same = interpreter == adapter.name or interpreter in PRESETS
        remedy = f"bakeoff engines install {interpreter if same else f'{adapter.name} --as {interpreter}'}"
        if "/" in interpreter:
            remedy = "name an interpreter that is there"
        return Probe(adapter.name, adapter.distribution, interpreter, reason=reason, remedy=remedy)
    return _probe(adapter, interpreter or sys.executable)


@cache
def _probe(adapter: Adapter, interpreter: str) -> Probe:
    job = {"job": "probe", "backend": adapter.reference, "packages": packages(adapter)}
    with tempfile.TemporaryDirectory(prefix="bakeoff-") as folder:
        outcome = supervisor.run(
            job,
            interpreter=interpreter,
            environment=environment.for_worker(threads=1),
            log=Path(folder) / "probe.log",
            limit_s=LIMIT_S,
            watch_memory=False,
        )
    base = Probe(adapter.name, adapter.distribution, interpreter)
    message = outcome.first("engine")
    if message is None:
        why = outcome.broken or (outcome.end or {}).get("reason") or _last_line(outcome.log_tail)
        how = "did not answer in time" if outcome.timed_out else f"could not be loaded: {why}"
        remedy = f"reinstall or remove {adapter.distribution}"
        return Probe(
            base.name, base.distribution, interpreter, reason=f"the adapter {how}", remedy=remedy
        )
    return Probe(
        adapter.name,
        adapter.distribution,
        interpreter,
        formats=tuple(str(f) for f in message["formats"]),
        version=message["version"],
        build=dict(message["build"]),
        devices=tuple(message["devices"]),
        abilities=tuple(str(a) for a in message["abilities"]),
        reason=message["reason"],
        remedy=message["remedy"],
    )


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it ended without a word"
