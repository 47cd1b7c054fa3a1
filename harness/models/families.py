"""Chat families: tiny models with a family's chat template and special tokens, made on the spot.

A family is `scenarios/families/<name>.yaml` with its template beside it; `convert/tiny.py` makes a
Hugging Face folder from it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import places
from harness.models import conversions

FOLDER = places.SCENARIOS / "families"
_PASSAGES = places.SCENARIOS / "prompts" / "passages.jsonl"


def known() -> dict[str, Path]:
    """The families' files by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def recipe(name: str) -> dict[str, Any]:
    """What decides the folder's content, today: the family's files, the script, its tools."""
    tools = conversions.tools(conversions.TINY)
    family = FOLDER / f"{name}.yaml"
    return {
        "family": name,
        "family_sha256": _sha256(family),
        "template_sha256": _sha256(_template(family)),
        "passages_sha256": _sha256(_PASSAGES),
        "script_sha256": _sha256(conversions.TINY.script),
        "tool": tools.tool,
        "versions": dict(tools.versions),
    }


def make(name: str, target: Path, *, scratch: Path, log: Path, on_poll: Callable[[], None]) -> None:
    """Write the folder `target`. Raises PrepareFailed."""
    conversions.convert(
        conversions.TINY,
        FOLDER / f"{name}.yaml",
        target,
        {},
        scratch=scratch,
        log=log,
        interpreter=sys.executable,
        on_poll=on_poll,
    )


def _template(family: Path) -> Path | None:
    """The file that holds the template's text; None where its package is not installed."""
    import yaml

    fields = yaml.safe_load(family.read_text("utf-8"))
    if fields.get("template") is not None:
        return family.parent / str(fields["template"])
    package, *inner = str(fields["template_from"]["module"]).split(".")
    # Finds the package without importing it: importing an engine here would cost seconds.
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent.joinpath(*inner).with_suffix(".py")


def _sha256(path: Path | None) -> str | None:
    if path is None or not path.is_file():
        return None
    return hashlib.sha256(path.read_bytes()).hexdigest()
