"""One self-contained page, as `reports.html` makes them: nothing fetched, nothing run.

Its own module, since that one draws with matplotlib: a gate's page is made in a tenth of the time.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import reports
from reports.gate import view
from reports.gate.plot import Plot, draw
from reports.gate.view import View
from results.gate.outcome import Outcome

_TEMPLATES = Path(__file__).parent / "templates"
_SHARED = Path(reports.__file__).parent / "templates" / "report.css"


def render(outcome: Outcome) -> str:
    """`gate.html`."""
    found = view.build(outcome)
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = _SHARED.read_text(encoding="utf-8")
    style += (_TEMPLATES / "gate.css").read_text(encoding="utf-8")
    page = environment.get_template("gate.html.j2").render(
        found=found,
        style=Markup(style),
        policy=_policy(style),
        plots=_plots(found),
        margins=any(row.span and row.span.margin for row in found.rows),
        markup=Markup,
    )
    return page + "\n"


def _plots(found: View) -> list[Plot]:
    drawn = (draw(t, rows, f"plot-{n}") for n, (t, rows) in enumerate(found.tasks.items()))
    return [plot for plot in drawn if plot]


def _policy(style: str) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
