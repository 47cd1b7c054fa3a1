"""`bakeoff compare`: runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare_command(
    first: Annotated[Path, typer.Argument(help="A run folder.")],
    others: Annotated[list[Path], typer.Argument(help="Others, each compared with the first.")],
    markdown: Annotated[
        Path | None, typer.Option(help="Also write the comparison as Markdown to this file.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="The same as a page.")] = None,
) -> None:
    """Show runs side by side. Timings of two sessions are described, never judged.

    For a verdict with a known error rate run both in one session: bakeoff gate.
    """
    from harness import console, running
    from reports import between as shown
    from reports import between_html
    from results import between

    base = running.read(first)
    found = between.together([between.compare(base, running.read(other)) for other in others])
    for number, one in enumerate(found):
        if number:
            console.results.print()
        shown.show(one, console.results)
    if html is not None:
        _write(html, between_html.render(found))
    if markdown is not None:
        _write(markdown, "\n".join(map(shown.markdown, found)))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
