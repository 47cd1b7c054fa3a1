"""Show what a gate found. Every format says the colour in words and gives the same verdicts.

    write(outcome, ("md", "junit"), folder)     gate.md, gate.xml, gate.json, gate.html, gate.github
    terminal.show(outcome, console)             fits 80 columns, on a rich console

An outcome holds text of engines, models and arms: it is made visible and bounded in `view` and
escaped again by each format for its own syntax.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from reports import files
from results.gate.outcome import Outcome

#: Format -> file name. `github` holds annotations, one a line, for a step to print to its log.
FILES = {
    "md": "gate.md",
    "junit": "gate.xml",
    "json": "gate.json",
    "html": "gate.html",
    "github": "gate.github",
}

__all__ = ["FILES", "write"]


def write(outcome: Outcome, formats: Iterable[str], folder: Path) -> list[Path]:
    """Write reports into `folder` and return their paths, in the order asked for.

    A file is replaced whole or not at all. Raises ValueError for a format that is not in FILES
    (before anything is written) and OSError where the folder cannot be written.
    """
    return files.write(formats, FILES, folder, lambda name: _render(outcome, name))


def _render(outcome: Outcome, name: str) -> str:
    # Imported late: jinja2 is only for the page.
    if name == "json":
        from reports.gate import data

        return data.render(outcome)
    if name == "junit":
        from reports.gate import junit

        return junit.render(outcome)
    if name == "github":
        from reports.gate import github

        return github.render(outcome)
    if name == "md":
        from reports.gate import markdown

        return markdown.render(outcome)
    from reports.gate import html

    return html.render(outcome)
