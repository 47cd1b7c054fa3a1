"""A self-contained page from a template: nothing is fetched, everything is escaped, and no script runs
but our own.

Jinja escapes all text. The only markup let through is our own SVG, built by an XML writer. Every HTML
report is made here: its Content-Security-Policy is decided in one place.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_TEMPLATES = Path(__file__).parent / "templates"


def render(
    template: str,
    *,
    folder: Path = _TEMPLATES,
    style: str = "",
    script: str | None = None,
    **values: object,
) -> str:
    """The page from a template of `folder`, with `style` added to the reports' own style sheet, and the file
    `script` of the reports' templates as its script.

    Its Content-Security-Policy allows these two, by their hashes, and nothing else.
    """
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = (_TEMPLATES / "report.css").read_text(encoding="utf-8") + style
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    if script is not None:
        text = (_TEMPLATES / script).read_text(encoding="utf-8")
        policy += f"; script-src {_hash(text)}"
        values["script"] = Markup(text)
    page = environment.get_template(template).render(style=Markup(style), policy=policy, **values)
    return page + "\n"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
