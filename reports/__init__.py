"""Show a run: terminal, HTML, CSV, Markdown. Every format is fed by one view model (`view`).

    write(run, ("html", "csv"), folder)     files: report.html, report.csv, report.md,
                                            comparisons.csv, samples.csv, templates.csv
    terminal.show(run, console)             a table that fits 80 columns, on a rich console

Engines' and models' text is untrusted: it is made visible and bounded in the view model and
escaped again by each format for its own syntax.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from results.store import Run

#: Format -> file name. `samples` is one row per request and is only made when asked for.
#: `templates` comes with `csv` where the run compared chat templates, `quality` where it asked for
#: answers to tasks; `answers` has one row per request and is only made when asked for.
FILES = {
    "html": "report.html",
    "csv": "report.csv",
    "md": "report.md",
    "comparisons": "comparisons.csv",
    "samples": "samples.csv",
    "templates": "templates.csv",
    "fidelity": "fidelity.csv",
    "quality": "quality.csv",
    "answers": "answers.csv",
    "sampling": "sampling.csv",
}

__all__ = ["FILES", "write"]


def write(run: Run, formats: Iterable[str], folder: Path) -> list[Path]:
    """Write reports into `folder` and return their paths, in the order asked for.

    A file is replaced whole or not at all. Raises ValueError for a format that is not in FILES
    (before anything is written) and OSError where the folder cannot be written.
    """
    wanted = tuple(dict.fromkeys(formats))
    if unknown := [name for name in wanted if name not in FILES]:
        raise ValueError(f"unknown format {unknown[0]!r}, expected one of: {', '.join(FILES)}")
    if "csv" in wanted and "templates" not in wanted and _has_templates(run):
        wanted += ("templates",)
    if "csv" in wanted and "fidelity" not in wanted and _has_fidelity(run):
        wanted += ("fidelity",)
    if "csv" in wanted and "quality" not in wanted and _has_quality(run):
        wanted += ("quality",)
    if "csv" in wanted and "sampling" not in wanted and _has_sampling(run):
        wanted += ("sampling",)
    folder.mkdir(parents=True, exist_ok=True)
    return [_replace(folder / FILES[name], _render(run, name)) for name in wanted]


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
    from reports import html

    return html.render(report)


def _has_templates(run: Run) -> bool:
    from results.summary import TEMPLATES

    return any(trial.case.measure == TEMPLATES for trial in run.info.trials)


def _has_sampling(run: Run) -> bool:
    return any(trial.case.measure == "sampling" for trial in run.info.trials)


def _has_fidelity(run: Run) -> bool:
    return any(trial.case.measure == "fidelity" for trial in run.info.trials)


def _has_quality(run: Run) -> bool:
    return any(trial.case.measure == "quality" for trial in run.info.trials)


def _replace(path: Path, text: str) -> Path:
    """Newlines stay as they are: a CSV row ends in CRLF on every system."""
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(text.encode("utf-8"))
    return part.replace(path)
