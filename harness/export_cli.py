"""`bakeoff export`: a run in a format of another tool."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

FORMATS = ("pytest-benchmark",)


def export_command(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    format_: Annotated[
        str, typer.Option("--format", help=f"Of {', '.join(FORMATS)}.")
    ] = "pytest-benchmark",
    out: Annotated[
        Path | None, typer.Option(help="The file; default: FORMAT.json in the run folder.")
    ] = None,
) -> None:
    """Write a run for tools that read it: `pytest-benchmark compare`, dashboards."""
    from harness import console
    from harness.errors import BakeoffError
    from harness.running import read
    from reports import pytest_benchmark

    if format_ not in FORMATS:
        raise BakeoffError(f"unknown format {format_!r}", f"formats: {', '.join(FORMATS)}")
    text = pytest_benchmark.render(read(run))
    path = out or run / f"{format_}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    console.say(f"wrote {path}")
