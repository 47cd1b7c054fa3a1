"""`bakeoff compare`: two runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare_command(
    first: Annotated[Path, typer.Argument(help="A run folder.")],
    second: Annotated[Path, typer.Argument(help="Another one.")],
    markdown: Annotated[
        Path | None, typer.Option(help="Also write the comparison as Markdown to this file.")
    ] = None,
) -> None:
    """Show two runs side by side. Timings of two sessions are described, never judged.

    For a verdict with a known error rate run both in one session: bakeoff gate.
    """
    from harness import console, running
    from reports import between as shown
    from results import between

    found = between.compare(running.read(first), running.read(second))
    shown.show(found, console.results)
    if markdown is not None:
        markdown.write_text(shown.markdown(found), encoding="utf-8")
