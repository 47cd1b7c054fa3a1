"""`bakeoff open`: a run's page in the browser."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer


def open_command(
    run: Annotated[
        Path | None, typer.Argument(help="A run folder; default: the newest in runs/.")
    ] = None,
) -> None:
    """Open the page of a run, or of a gate its verdict. Prints the path; makes what is missing."""
    from harness import console, running

    folder = run or _newest(running.RUNS)
    page = _page(folder)
    if not _is_fresh(page, folder):
        try:
            running.report(folder, show=False, formats=("html",))
        except OSError as error:
            if not page.is_file():
                raise
            console.say(
                f"this page is older than its run: no new one can be written: {error.strerror}"
            )
        page = _page(folder)
    typer.echo(page)
    if not (_has_screen() and webbrowser.open(page.resolve().as_uri())):
        console.say("no browser can be opened here: open that file in one")


def _page(folder: Path) -> Path:
    gate = folder / "gate.html"
    return gate if gate.is_file() else folder / "report.html"


def _is_fresh(page: Path, folder: Path) -> bool:
    """Whether the page was made after the last record. A folder that is no run has none."""
    records = folder / "records.jsonl"
    if not page.is_file() or not records.is_file():
        return False
    return page.stat().st_mtime >= records.stat().st_mtime


def _newest(runs: Path) -> Path:
    from harness.errors import BakeoffError

    found = sorted((path.stat().st_mtime, path.parent) for path in runs.glob("*/run.json"))
    if not found:
        raise BakeoffError(f"{runs}/ holds no run", "name a run folder, or: bakeoff run quickstart")
    return found[-1][1]


def _has_screen() -> bool:
    """Without one, Python would start a browser in this terminal."""
    names = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    return sys.platform == "darwin" or any(os.environ.get(name) for name in names)
