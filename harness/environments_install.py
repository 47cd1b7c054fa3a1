"""Make an engine environment: with uv where there is one, else with pip."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from harness import environments, environments_child
from harness.environments import Environment
from harness.environments_asked import backend_of, engines, parse, wanted
from harness.errors import BadInput, BakeoffError, Problem


def install(
    given: str,
    name: str | None,
    tell: Callable[[str], None],
    installer: str | None = None,
    links: str | None = None,
) -> Environment:
    """Make an environment; one of that name is made anew. Raises BakeoffError, leaving what was there.

    `installer` is `uv` or `pip`; without it uv where there is one. `links` is a page or a folder of
    wheels beyond the package index; with it, pre-releases are taken too.
    """
    engine, _ = parse(given)
    asked = tuple(map(str, wanted(given)))
    name = name or engine
    if not environments.NAME.fullmatch(name):
        raise BadInput("--as", [Problem(f"{name!r}: expected letters, digits, '.', '_' and '-'")])
    # By any spelling: some file systems make no difference between capitals and small letters.
    if name.lower() != engine.lower() and name.lower() in {one.lower() for one in engines()}:
        raise BadInput(
            "--as", [Problem(f"{name!r} is another engine's name: its cases would run in {engine}")]
        )
    uv = shutil.which("uv") if installer in (None, "uv") else None
    if installer == "uv" and uv is None:
        raise BakeoffError("uv is not on PATH", "install it, or use --installer pip")
    with environments.held(name) as folder:
        tell(f"{name}: {', '.join(asked)} with {'uv' if uv else 'pip'} into {folder}")
        with environments.anew(folder):
            _fill(folder, uv, asked, links)
            versions = environments_child.look(environments.interpreter(folder)).versions
            names = [canonicalize_name(Requirement(text).name) for text in asked]
            made = Environment(
                name,
                backend_of(engine),
                asked,
                {name: versions[name] for name in names if name in versions},
                datetime.now(UTC).isoformat(timespec="seconds"),
                engine=engine,
                given=given.strip(),
                links=_to_keep(links or ""),
                installer=installer or "",
            )
            environments.write(made)
    return made


def _fill(folder: Path, uv: str | None, asked: tuple[str, ...], links: str | None) -> None:
    python = str(environments.interpreter(folder))
    if uv:
        environments_child.install([uv, "venv", "--quiet", "--python", sys.executable, str(folder)])
        command = [uv, "pip", "install", "--quiet", "--python", python]
        command += ["--find-links", links, "--prerelease", "allow"] if links else []
    else:
        environments_child.install([sys.executable, "-m", "venv", "--symlinks", str(folder)])
        command = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        command += ["-f", links, "--pre"] if links else []
    environments_child.install([*command, *asked])


def _to_keep(links: str) -> str:
    """For the same again from any folder; a password is no part of it."""
    if Path(links).exists():
        return str(Path(links).resolve()) if links else ""
    parts = urlsplit(links)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
