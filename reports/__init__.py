"""Show a run: terminal, HTML, CSV, Markdown, JSON, pictures. One view model (`view`) feeds them all.

    write(run, ("html", "csv"), folder)     the files of FILES
    draw(run, ("svg",), folder)             each plot of the page as a file
    terminal.show(run, console)             a table that fits 80 columns, on a rich console

Engines' and models' text is untrusted: it is made visible and bounded in the view model and
escaped again by each format for its own syntax.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from reports import files
from results.store import Run

#: Format -> file name. `samples` is one row per request and is only made when asked for.
#: `answers` has one row per request, too. The formats of _MEASURED come with `csv` where the run has
#: that measure.
FILES = {
    "html": "report.html",
    "csv": "report.csv",
    "md": "report.md",
    "json": "report.json",
    "comparisons": "comparisons.csv",
    "samples": "samples.csv",
    "templates": "templates.csv",
    "fidelity": "fidelity.csv",
    "quality": "quality.csv",
    "answers": "answers.csv",
    "sampling": "sampling.csv",
}

_MEASURED = ("templates", "fidelity", "quality", "sampling")

#: What a plot is written as, where that is asked for.
PLOTS = ("png", "svg")

__all__ = ["FILES", "PLOTS", "draw", "write"]


def write(run: Run, formats: Iterable[str], folder: Path) -> list[Path]:
    """Write reports into `folder` and return their paths, in the order asked for.

    A file is replaced whole or not at all. Raises ValueError for a format that is not in FILES
    (before anything is written) and OSError where the folder cannot be written.
    """
    wanted = tuple(formats)
    if "csv" in wanted:
        measured = {trial.case.measure for trial in run.info.trials}
        wanted = (*wanted, *(name for name in _MEASURED if name in measured))
    return files.write(wanted, FILES, folder, lambda name: _render(run, name))


def draw(run: Run, kinds: Iterable[str], folder: Path) -> list[Path]:
    """Write every plot of the page as a file of its own, once for each of `kinds`, of PLOTS."""
    from reports import html, pictures, view

    return pictures.write(html.drawings(view.build(run)), tuple(kinds), folder)


def _render(run: Run, name: str) -> str:
    # Imported late: matplotlib and jinja2 are a second that `bakeoff --help` must not pay.
    if name == "samples":
        from reports import csv

        return csv.samples(run)
    if name == "templates":
        from reports import template_csv

        return template_csv.render(run)
    if name == "sampling":
        from reports import sampling_csv

        return sampling_csv.render(run)
    if name == "fidelity":
        from reports import fidelity_text

        return fidelity_text.csv(run)
    if name in ("quality", "answers"):
        from reports import quality_csv

        return (quality_csv.render if name == "quality" else quality_csv.answers)(run)
    from reports import view

    report = view.build(run)
    if name in ("csv", "comparisons"):
        from reports import csv

        return (csv.cases if name == "csv" else csv.comparisons)(run, report)
    if name == "md":
        from reports import markdown

        return markdown.render(report)
    if name == "json":
        from reports import json

        return json.render(report)
    from reports import html

    return html.render(report)
