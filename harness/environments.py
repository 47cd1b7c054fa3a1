"""Engine environments: a virtual environment per engine or version, with nothing of ours in it.

Engines' dependencies conflict, and two versions of one engine can't share an interpreter. A worker
runs under whichever the scenario names (`python: llamacpp-old`), or else under the one that has the
engine's own name; bakeoff itself is put on its path by an import hook (see `harness.worker`), so only
the engine is installed.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from harness import places
from harness.errors import BadInput, BakeoffError, Problem
from harness.yaml_source import suggestion

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
SERVERS = "openai"
"""The backend whose engines are servers: an environment may have the name of one."""
_FACTS = "engine.json"


@dataclass(frozen=True)
class Environment:
    """`requirements` are what the installer was given, `installed` what came, by distribution. A
    converter's has no backend: it is "". The last four are what the user asked for; environments
    made before these were kept have none of them."""

    name: str
    backend: str
    requirements: tuple[str, ...]
    installed: dict[str, str]
    made_at: str
    engine: str = ""
    given: str = ""
    links: str = ""
    installer: str = ""

    @property
    def folder(self) -> Path:
        return root() / self.name

    @property
    def python(self) -> Path:
        return interpreter(self.folder)


def root() -> Path:
    return places.data() / "engines"


def interpreter(folder: Path) -> Path:
    return folder / "bin" / "python"


def usual(backend: str, options: Mapping[str, Any]) -> str | None:
    """The interpreter for a backend whose scenario names none: of the environment with the name of
    the backend, or of the server that `options` name. None where there is none: bakeoff's own."""
    server = options.get("server", "") if backend == SERVERS else ""
    for name in (server, backend):
        if isinstance(name, str) and NAME.fullmatch(name) and (root() / name / _FACTS).is_file():
            return str(interpreter(root() / name))
    return None


def resolve(python: str) -> str:
    """The interpreter that a scenario names: an environment's if there is one of that name."""
    if NAME.fullmatch(python) and (root() / python / _FACTS).is_file():
        return str(interpreter(root() / python))
    return python


def known() -> tuple[Environment, ...]:
    """Finished environments, by name. One that is put aside, or whose facts can't be read, is none."""
    found = []
    for path in sorted(root().glob(f"*/{_FACTS}")):
        if not NAME.fullmatch(path.parent.name):
            continue
        try:
            found.append(_read(path))
        except (OSError, ValueError, TypeError, KeyError):
            continue
    return tuple(found)


def _read(path: Path) -> Environment:
    data = json.loads(path.read_text(encoding="utf-8"))
    data["requirements"] = tuple(map(str, data["requirements"]))
    data["installed"] = {
        str(name): str(version) for name, version in dict(data["installed"]).items()
    }
    return Environment(
        **{one.name: data[one.name] for one in fields(Environment) if one.name in data}
    )


def write(made: Environment) -> None:
    """The last step of making one: a folder without its facts is not an environment."""
    partial = made.folder / f".{_FACTS}"
    partial.write_text(json.dumps(asdict(made), indent=1), encoding="utf-8")
    partial.replace(made.folder / _FACTS)


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


@contextmanager
def held(name: str) -> Iterator[Path]:
    """The folder of that name, for one bakeoff at a time. Raises BakeoffError while another has it."""
    root().mkdir(parents=True, exist_ok=True)
    lock = FileLock(root() / f".{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BakeoffError(f"another bakeoff is making {name}", "wait for it") from None
    with lock:
        yield root() / name


@contextmanager
def anew(folder: Path) -> Iterator[None]:
    """What was there is put aside, and put back if its successor can't be made. A rename keeps it
    whole: an environment knows its own path."""
    _settle(folder)
    if folder.exists():
        folder.rename(_aside(folder))
    try:
        yield
    finally:
        _settle(folder)


def _aside(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _settle(folder: Path) -> None:
    """One is left, and it is finished, or none: a kill may come at any moment."""
    old = _aside(folder)
    if not (folder / _FACTS).is_file():
        shutil.rmtree(folder, ignore_errors=True)
        if (old / _FACTS).is_file():
            old.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def remove(name: str) -> Path:
    """Also what a kill left of one, half made or put aside: the facts go first, so that what a kill
    leaves of this counts as half made. Raises BadInput for an unknown one."""
    folder = root() / name
    if not NAME.fullmatch(name) or not (folder.is_dir() or _aside(folder).is_dir()):
        return find(name).folder
    with held(name):
        _settle(folder)
        (folder / _FACTS).unlink(missing_ok=True)
        if folder.exists():
            shutil.rmtree(folder)
    return folder


def sizes(environments: tuple[Environment, ...]) -> Iterator[tuple[Environment, int]]:
    """Each with the bytes it takes on disk."""
    for one in environments:
        files = (path for path in one.folder.rglob("*") if not path.is_symlink())
        yield one, sum(path.stat().st_size for path in files if path.is_file())
