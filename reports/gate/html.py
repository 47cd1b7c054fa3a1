"""`gate.html`.

Its own module, since `reports.html` draws with matplotlib: a gate's page is made in a tenth of the time.
"""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from reports import page
from reports.gate import view
from reports.gate.plot import Plot, draw
from reports.gate.view import View
from results.gate.outcome import Outcome

_TEMPLATES = Path(__file__).parent / "templates"


def render(outcome: Outcome) -> str:
    """The whole page."""
    found = view.build(outcome)
    return page.render(
        "gate.html.j2",
        folder=_TEMPLATES,
        style=(_TEMPLATES / "gate.css").read_text(encoding="utf-8"),
        found=found,
        plots=_plots(found),
        margins=any(row.span and row.span.margin for row in found.rows),
        markup=Markup,
    )


def _plots(found: View) -> list[Plot]:
    drawn = (draw(t, rows, f"plot-{n}") for n, (t, rows) in enumerate(found.tasks.items()))
    return [plot for plot in drawn if plot]
