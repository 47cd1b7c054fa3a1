"""`bakeoff engines install|list|remove`: environments that engines live in."""

from __future__ import annotations

from typing import Annotated

import typer


def install_command(
    engine: Annotated[
        str, typer.Argument(help="A backend, or one with a version: llamacpp==0.3.30.")
    ],
    name: Annotated[
        str | None, typer.Option("--as", help="Name of the environment; default: the backend's.")
    ] = None,
    installer: Annotated[
        str | None, typer.Option(help="uv or pip; default: uv where there is one.")
    ] = None,
) -> None:
    """Make a virtual environment with the engine and nothing of ours, for `python: NAME`."""
    from harness import console, environments
    from harness.errors import BadInput, Problem

    if installer not in (None, "uv", "pip"):
        raise BadInput("--installer", [Problem(f"{installer!r}: expected uv or pip")])
    made = environments.install(engine, name, console.say, installer)
    _show(made.name)
    console.say(f"use it: `python: {made.name}` in a scenario, python={made.name} as a gate's arm")


def list_command() -> None:
    """What is installed, where, and whether the engine runs there."""
    from harness import console, environments

    known = list(environments.sizes(environments.known()))
    if not known:
        console.say(f"none in {environments.root()}; make one: bakeoff engines install BACKEND")
    for one, size in known:
        _show(one.name)
        where = f"  {one.folder}  {size / 1e6:.0f} MB  made {one.made_at}"
        console.results.print(where, markup=False, soft_wrap=True)


def remove_command(
    name: Annotated[str, typer.Argument(help="An environment's name, see `bakeoff engines list`.")],
) -> None:
    """Delete an environment."""
    from harness import console, environments

    console.say(f"removed {environments.remove(name)}")


def _show(name: str) -> None:
    from harness import console, environments
    from harness.probe import probe
    from harness.registry import adapters

    one = environments.find(name)
    versions = ", ".join(f"{package} {version}" for package, version in one.installed.items())
    console.results.print(f"{one.name}: {one.backend}, {versions}", markup=False, soft_wrap=True)
    adapter = adapters().get(one.backend)
    if adapter is None:
        console.results.print(f"  the backend {one.backend} is no longer there", markup=False)
        return
    found = probe(adapter, str(one.python))
    said = f"runs: {found.version}" if found.available else f"can't run: {found.reason}"
    console.results.print(f"  {said}", markup=False, soft_wrap=True)
    if found.remedy:
        console.results.print(f"  → {found.remedy}", markup=False, soft_wrap=True)
