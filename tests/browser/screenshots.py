"""The pictures of the README's gallery: real pages of real runs, as a person sees them.

    make screenshots        of the newest runs in runs/; RUNS=FOLDER for others

Writes docs/screenshots/*.png. A scenario without a run there is run first, which takes minutes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from chromium import Chromium, Page
from conftest import NAMES
from PIL import Image

import reports
from reports import gate
from results import store
from results.gate import verdict
from results.store import Run

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "docs" / "screenshots"
BAKEOFF = Path(sys.executable).parent / "bakeoff"


@dataclass(frozen=True)
class Shot:
    """A part of a page, from just above the element `start` names; sizes in CSS pixels."""

    name: str
    scenario: str
    page: str
    start: str
    height: int
    width: int = 1000
    dark: bool = False
    prepare: str = ""


SHOTS = (
    Shot("report", "quickstart", "report.html", "header", 900),
    Shot("decision", "quickstart", "report.html", "#decision", 560, dark=True),
    Shot("task", "quickstart", "report.html", "#task-2", 800),
    Shot("phone", "quickstart", "report.html", "header", 844, width=390, dark=True),
    Shot("templates", "templates", "report.html", "#templates", 760),
    Shot("gate", "gate", "gate.html", "header", 900),
)


def main() -> None:
    runs = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "runs")
    binary = os.environ.get("BAKEOFF_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)))
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, Chromium(binary, Path(name) / "profile") as browser:
        made: dict[str, Path] = {}
        for shot in SHOTS:
            if shot.scenario not in made:
                made[shot.scenario] = Path(name) / shot.scenario
                _write(_run(runs, shot.scenario), made[shot.scenario])
            with browser.open(made[shot.scenario] / shot.page) as page:
                print(_take(page, shot))


def _run(runs: Path, scenario: str) -> Run:
    """The newest run of the scenario."""
    found = [path.parent for path in runs.glob("*/run.json")]
    for folder in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True):
        run = store.read(folder)
        if run.info.scenario_name == scenario and not run.missing:
            return run
    command = "gate" if scenario == "gate" else "run"
    # A gate that fails and a run with failures have pages, too.
    subprocess.run([BAKEOFF, command, scenario], cwd=runs.parent, check=False)
    return _run(runs, scenario)


def _write(run: Run, folder: Path) -> None:
    """The pages as this version makes them; the run's own folder stays as it is."""
    reports.write(run, ("html",), folder)
    if (outcome := verdict.of(run)) is not None:
        gate.write(outcome, ("html",), folder)


def _take(page: Page, shot: Shot) -> Path:
    page.show(shot.width, dark=shot.dark, scale=1.5)
    if shot.prepare:
        page.run(shot.prepare)
    top = page.run(f"document.querySelector({shot.start!r}).getBoundingClientRect().top + scrollY")
    rest = page.run("document.documentElement.scrollHeight") - top
    path = FOLDER / f"{shot.name}.png"
    height = min(shot.height, rest)
    page.picture(path, {"x": 0, "y": max(0, top - 12), "width": shot.width, "height": height})
    # A page has few colours: a palette of them makes a third of the size. Rare ones are kept.
    picture, rare = Image.open(path).convert("RGB"), Image.Quantize.MAXCOVERAGE
    picture.quantize(256, rare, dither=Image.Dither.NONE).save(path, optimize=True)
    return path


if __name__ == "__main__":
    main()
