"""`bakeoff engines install|list|remove|doctor`: environments that engines live in."""

from __future__ import annotations

from typing import Annotated

import typer

EXIT_UNSOUND = 1


def install_command(
    engine: Annotated[
        str, typer.Argument(help="An engine, or one with a version: llamacpp==0.3.35.")
    ],
    name: Annotated[
        str | None, typer.Option("--as", help="Name of the environment; default: the engine's.")
    ] = None,
    installer: Annotated[
        str | None, typer.Option(help="uv or pip; default: uv where there is one.")
    ] = None,
    find_links: Annotated[
        str | None, typer.Option(help="A folder or page of wheels beyond the package index.")
    ] = None,
) -> None:
    """Make a virtual environment with the engine and nothing of ours, for `python: NAME`."""
    from harness import console
    from harness.environments_install import install
    from harness.errors import BadInput, Problem

    if installer not in (None, "uv", "pip"):
        raise BadInput("--installer", [Problem(f"{installer!r}: expected uv or pip")])
    made = install(engine, name, console.say, installer, find_links)
    _show(made.name)
    if made.backend:
        told = f"use it: `python: {made.name}` in a scenario, python={made.name} as a gate's arm"
        console.say(told)


def list_command() -> None:
    """What is installed, where, and whether the engine runs there."""
    from harness import console, environments

    known = list(environments.sizes(environments.known()))
    if not known:
        console.say(f"none in {environments.root()}; make one: bakeoff engines install BACKEND")
    for one, size in known:
        _show(one.name)
        where = f"  {one.folder}  {size / 1e6:.0f} MB  made {one.made_at}"
        console.results.print(console.plain(where), soft_wrap=True)


def remove_command(
    name: Annotated[str, typer.Argument(help="An environment's name, see `bakeoff engines list`.")],
) -> None:
    """Delete an environment."""
    from harness import console, environments

    console.say(f"removed {environments.remove(name)}")


def doctor_command(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[ENGINE]...", help="Engines or environments.")
    ] = None,
) -> None:
    """Look at each engine: whether it runs here, and what to do where it does not.

    Exit code 1: an environment that was installed does not work.
    """
    from rich.padding import Padding

    from harness import console
    from harness.console import plain
    from harness.engines_doctor import checkups

    unsound = False
    for found in checkups(names or ()):
        mark = "[green]✓[/]" if not found.troubles else "[dim]–[/]" if found.absent else "[red]✗[/]"
        console.results.print(f"{mark} [bold]{plain(found.name)}[/]  {plain(found.where)}")
        lines = [plain(fact) for fact in found.facts]
        for trouble, remedy in found.troubles:
            lines += [plain(" ".join(trouble.split())), *([f"→ {plain(remedy)}"] if remedy else [])]
        for line in lines:
            console.results.print(Padding(line, (0, 0, 0, 4)), highlight=False)
        unsound |= bool(found.troubles) and not found.absent
    if unsound:
        raise typer.Exit(EXIT_UNSOUND)


def _show(name: str) -> None:
    from harness import environments
    from harness.console import plain, results
    from harness.environments_asked import as_server
    from harness.probe import probe
    from harness.registry import adapters

    one = environments.find(name)
    holds = [f"{package} {version}" for package, version in one.installed.items()]
    held = ", ".join([one.backend, *holds] if one.backend else holds)
    results.print(plain(f"{one.name}: {held}"), soft_wrap=True)
    if one.backend == environments.SERVERS:
        results.print(plain(f"  {as_server(one)}"), soft_wrap=True)
        return
    if not one.backend:
        results.print(plain("  a converter, for `bakeoff models prepare`"))
        return
    adapter = adapters().get(one.backend)
    if adapter is None:
        results.print(plain(f"  the backend {one.backend} is no longer there"))
        return
    found = probe(adapter, str(one.python))
    said = f"runs: {found.version}" if found.available else f"can't run: {found.reason}"
    results.print(plain(f"  {said}"), soft_wrap=True)
    if found.remedy:
        results.print(plain(f"  → {found.remedy}"), soft_wrap=True)
