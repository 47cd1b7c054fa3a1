"""One self-contained page: nothing is fetched, nothing runs, everything is escaped.

Jinja escapes all text. The only markup let through is our own SVG, built by an XML writer. The
Content-Security-Policy allows the page's own style sheet, by its hash, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from reports.plots import Plot, plots
from reports.quality_words import LEGEND as QUALITY_LEGEND
from reports.tables import Table
from reports.template_words import LEGEND, MARKS
from reports.view import Report

_TEMPLATES = Path(__file__).parent / "templates"


def render(report: Report) -> str:
    """`report.html`."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = (_TEMPLATES / "report.css").read_text(encoding="utf-8")
    page = environment.get_template("report.html.j2").render(
        report=report,
        style=Markup(style),
        policy=_policy(style),
        plots=_plots(report.tables),
        markup=Markup,
        legend=LEGEND,
        marks=MARKS,
        quality_legend=QUALITY_LEGEND,
    )
    return page + "\n"


def _plots(tables: tuple[Table, ...]) -> dict[str, list[Plot]]:
    backends = sorted({row.backend for table in tables for row in table.rows})
    colors = {backend: number for number, backend in enumerate(backends)}
    return {table.anchor: list(plots(table, colors)) for table in tables}


def _policy(style: str) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
