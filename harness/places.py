"""Where bakeoff keeps things, and where it was installed."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from harness.errors import BrokenInstall

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds harness, backends, results, reports and scenarios."""

SCENARIOS = ROOT / "scenarios"
POLICIES = SCENARIOS / "policies"


def cache() -> Path:
    """Models and conversions. `BAKEOFF_CACHE` overrides the platform's cache folder."""
    override = os.environ.get("BAKEOFF_CACHE")
    if override:
        return Path(override).expanduser().resolve()
    import platformdirs

    return Path(platformdirs.user_cache_dir("bakeoff", appauthor=False))


def data() -> Path:
    """Engine environments. `BAKEOFF_DATA` overrides the platform's data folder."""
    override = os.environ.get("BAKEOFF_DATA")
    if override:
        return Path(override).expanduser().resolve()
    import platformdirs

    return Path(platformdirs.user_data_dir("bakeoff", appauthor=False))


def check_install() -> None:
    """Refuse to run when another distribution's `results` or `reports` shadows ours."""
    for name in ("harness", "backends", "results", "reports"):
        spec = importlib.util.find_spec(name)
        origin = Path(spec.origin).resolve().parent.parent if spec and spec.origin else None
        if origin != ROOT:
            raise BrokenInstall(
                f"the package {name!r} comes from {origin}, expected {ROOT}",
                "install bakeoff as an application of its own: pipx install bakeoff",
            )
