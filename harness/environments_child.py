"""What runs for or in an engine's environment: the installer, and the environment's own Python.

A package's build, and a `.pth` file of any package, are strangers' code: neither sees our secrets.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import BakeoffError
from harness.models import child

INSTALL_LIMIT_S = 3600.0
LOOK_LIMIT_S = 60.0
# fmt: off
BUILD = frozenset({
    "CC", "CXX", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "AR", "LD", "MAKEFLAGS", "FORCE_CMAKE",
    "CPATH", "LIBRARY_PATH", "PKG_CONFIG_PATH", "SDKROOT", "DEVELOPER_DIR", "ARCHFLAGS",
    "MACOSX_DEPLOYMENT_TARGET", "CUDA_HOME", "CUDA_PATH", "CUDACXX", "NVCC_PREPEND_FLAGS", "ROCM_PATH",
    "HIP_PATH", "VULKAN_SDK", "CARGO_HOME", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "RUSTFLAGS",
    "CONDA_PREFIX",
})
"""What compilers read: how the user has an engine built (CMAKE_… and SKBUILD_… as well)."""
# fmt: on

# Run by an environment's own Python.
_LOOK = """
import importlib.metadata as m, json, platform, re
found = {}
for d in m.distributions():
    if d.metadata["Name"]:
        name = re.sub(r"[-_.]+", "-", d.metadata["Name"]).lower()
        found.setdefault(name, [d.version, d.requires or []])
print(json.dumps({"python": platform.python_version(), "found": found}))
"""


@dataclass(frozen=True)
class Contents:
    """What is in an environment, as its own Python says: distributions by name, with the
    requirements that each declares. Nothing of it has been checked."""

    python: str
    versions: dict[str, str]
    requires: dict[str, tuple[str, ...]]


def install(command: Sequence[str]) -> None:
    """Run a step of an installation. Raises BakeoffError with the end of what it said."""
    building = {
        name: value
        for name, value in os.environ.items()
        if name in BUILD or name.startswith(("CMAKE_", "SKBUILD_"))
    }
    with tempfile.TemporaryDirectory(prefix="bakeoff-", ignore_cleanup_errors=True) as scratch:
        sees = child.environment(Path(scratch), network=True, extra=building)
        code, said = _run(command, sees, Path(scratch), INSTALL_LIMIT_S)
    if code:
        raise BakeoffError(
            f"{' '.join(command[:4])} … failed: {said}",
            "look at what the package needs (a compiler, a Python version), or give another version",
        )


def look(python: Path) -> Contents:
    """Raises BakeoffError with the reason why its Python can't say."""
    with tempfile.TemporaryDirectory(prefix="bakeoff-", ignore_cleanup_errors=True) as folder:
        scratch = Path(folder)
        command = [str(python), "-I", "-c", _LOOK]
        code, said = _run(command, child.environment(scratch), scratch, LOOK_LIMIT_S)
        told = (scratch / "stdout").read_text(encoding="utf-8", errors="replace")
    if code:
        raise BakeoffError(said.splitlines()[-1].strip() if said else child.describe_exit(code))
    try:
        data = json.loads(told.splitlines()[-1])
        return Contents(
            str(data["python"]),
            {str(name): str(one[0]) for name, one in data["found"].items()},
            {str(name): tuple(map(str, one[1])) for name, one in data["found"].items()},
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise BakeoffError(f"it answered nonsense: {error}") from error


def _run(
    command: Sequence[str], environment: dict[str, str], scratch: Path, limit_s: float
) -> tuple[int, str]:
    """The exit code, and the end of what it complained of, or else said."""
    out, err = scratch / "stdout", scratch / "stderr"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        try:
            code = child.run(
                command, environment=environment, timeout_s=limit_s, stdout=stdout, stderr=stderr
            )
        except (OSError, child.TimedOut) as error:
            raise BakeoffError(f"{command[0]} could not be run: {error}") from error
    said = child.tail(err, lines=8) or child.tail(out, lines=8)
    return code, "\n    ".join(["", *said.splitlines()]) if said else ""
