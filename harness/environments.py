"""Engine environments: a virtual environment per engine or version, with nothing of ours in it.

Engines' dependencies conflict, and two versions of one engine can't share an interpreter. A worker
runs under whichever the scenario names (`python: llamacpp-old`); bakeoff itself is put on its path by
an import hook (see `harness.worker`), so only the engine is installed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from filelock import FileLock, Timeout
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from harness import places, registry
from harness.errors import BadInput, BakeoffError, Problem
from harness.yaml_source import suggestion

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_FACTS = "engine.json"
_LIMIT_S = 3600.0


@dataclass(frozen=True)
class Environment:
    """`requirements` are what was asked for, `installed` what came, by distribution."""

    name: str
    backend: str
    requirements: tuple[str, ...]
    installed: dict[str, str]
    made_at: str

    @property
    def folder(self) -> Path:
        return root() / self.name

    @property
    def python(self) -> Path:
        return interpreter(self.folder)


def root() -> Path:
    return places.data() / "engines"


def interpreter(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def resolve(python: str) -> str:
    """The interpreter that a scenario names: an environment's if there is one of that name."""
    if NAME.fullmatch(python) and (root() / python / _FACTS).is_file():
        return str(interpreter(root() / python))
    return python


def known() -> tuple[Environment, ...]:
    """Finished environments, by name. One whose facts can't be read is left out."""
    found = []
    for path in sorted(root().glob(f"*/{_FACTS}")):
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            data["requirements"] = tuple(data["requirements"])
            found.append(Environment(**data))
        except (OSError, ValueError, TypeError, KeyError):
            continue
    return tuple(found)


def find(name: str) -> Environment:
    """Raises BadInput."""
    environments = {one.name: one for one in known()}
    if name not in environments:
        raise BadInput(
            name,
            [Problem("no such engine environment" + suggestion(name, environments))],
            "see what is there: bakeoff engines list",
        )
    return environments[name]


def requirements(backend: str) -> tuple[Requirement, ...]:
    """What the adapter's distribution asks for in the extra of the backend's name.

    The first one is the engine itself. Raises BadInput for an unknown backend or one whose
    distribution has no such extra.
    """
    adapters = registry.adapters()
    if backend not in adapters:
        raise BadInput(backend, [Problem("unknown backend" + suggestion(backend, adapters))])
    owner = adapters[backend].distribution.partition(" ")[0]
    try:
        asked = [Requirement(text) for text in distribution(owner).requires or ()]
    except (PackageNotFoundError, InvalidRequirement) as error:
        raise BadInput(backend, [Problem(f"its package {owner} says nothing: {error}")]) from error
    found = tuple(_bare(r) for r in asked if r.marker and _is_of_extra(r, backend))
    if not found:
        raise BadInput(
            backend,
            [Problem(f"{owner} declares no extra {backend!r}: it has nothing to install")],
            "install the engine yourself and name its interpreter: `python: /path/to/python`",
        )
    return found


def _is_of_extra(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    return bool(marker and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""}))


def _bare(requirement: Requirement) -> Requirement:
    bare = Requirement(str(requirement))
    bare.marker = None
    return bare


def parse(given: str) -> tuple[str, str]:
    """`llamacpp==0.3.30` → the backend, and the version that is asked for (or none)."""
    match = re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9._-]*?)\s*((?:==|>=|<=|~=|<|>).+)?", given.strip())
    if match is None:
        raise BadInput(given, [Problem("expected a backend, or backend==version")])
    return match[1], match[2] or ""


def install(
    given: str, name: str | None, tell: Callable[[str], None], installer: str | None = None
) -> Environment:
    """Make an environment; one of that name is made anew. Raises BakeoffError, leaving nothing.

    `installer` is `uv` or `pip`; without it uv where there is one.
    """
    backend, version = parse(given)
    wanted = requirements(backend)
    if version:
        try:
            engine = Requirement(f"{wanted[0].name}{version}")
        except InvalidRequirement as error:
            raise BadInput(given, [Problem(f"{version!r} is no version: {error}")]) from error
        wanted = (engine, *wanted[1:])
    name = name or backend
    if not NAME.fullmatch(name):
        raise BadInput("--as", [Problem(f"{name!r}: expected letters, digits, '.', '_' and '-'")])
    root().mkdir(parents=True, exist_ok=True)
    lock = FileLock(root() / f".{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BakeoffError(f"another bakeoff is making {name}", "wait for it") from None
    with lock:
        return _install(name, backend, tuple(map(str, wanted)), tell, installer)


def _install(
    name: str,
    backend: str,
    wanted: tuple[str, ...],
    tell: Callable[[str], None],
    installer: str | None,
) -> Environment:
    folder = root() / name
    shutil.rmtree(folder, ignore_errors=True)
    uv = shutil.which("uv") if installer in (None, "uv") else None
    if installer == "uv" and uv is None:
        raise BakeoffError("uv is not on PATH", "install it, or use --installer pip")
    python = str(interpreter(folder))
    tell(f"{name}: {', '.join(wanted)} with {'uv' if uv else 'pip'} into {folder}")
    try:
        if uv:
            _run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)])
            _run([uv, "pip", "install", "--quiet", "--python", python, *wanted])
            told = _run([uv, "pip", "list", "--format", "json", "--python", python])
        else:
            venv.create(folder, with_pip=True, symlinks=os.name != "nt")
            pip = [python, "-m", "pip", "--disable-pip-version-check"]
            _run([*pip, "install", "--quiet", *wanted])
            told = _run([*pip, "list", "--format", "json"])
        installed = {canonicalize_name(one["name"]): one["version"] for one in json.loads(told)}
        names = [canonicalize_name(Requirement(text).name) for text in wanted]
        made = Environment(
            name,
            backend,
            wanted,
            {name: installed[name] for name in names if name in installed},
            datetime.now(UTC).isoformat(timespec="seconds"),
        )
        # Last: a folder without it is not an environment.
        (folder / _FACTS).write_text(json.dumps(asdict(made), indent=1), encoding="utf-8")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return made


def remove(name: str) -> Path:
    """Raises BadInput for an unknown one."""
    folder = find(name).folder
    shutil.rmtree(folder)
    return folder


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BakeoffError(f"{command[0]} could not be run: {error}") from error
    if done.returncode:
        raise BakeoffError(
            f"{' '.join(command[:4])} … failed: {_end(done.stderr or done.stdout)}",
            "look at what the package needs (a compiler, a Python version), or give another version",
        )
    return done.stdout


def _end(text: str, lines: int = 8) -> str:
    return "\n    ".join(["", *text.strip().splitlines()[-lines:]])


def sizes(environments: tuple[Environment, ...]) -> Iterator[tuple[Environment, int]]:
    """Each with the bytes it takes on disk."""
    for one in environments:
        files = (path for path in one.folder.rglob("*") if not path.is_symlink())
        yield one, sum(path.stat().st_size for path in files if path.is_file())
