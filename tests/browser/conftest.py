"""Pages opened in a real browser. Skipped, with the reason, where there is no Chromium.

`pytest tests/browser --report runs/20260101-120000-quickstart` checks the pages of that run too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent / "reports")]

if TYPE_CHECKING:
    from chromium import Chromium, Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for `page` runs once for every page, each opened once."""
    from documents import PAGES

    if "page" in metafunc.fixturenames:
        given = [
            str(p)
            for folder in metafunc.config.getoption("--report")
            for p in folder.glob("*.html")
        ]
        real = pytest.param("quickstart", marks=pytest.mark.engine)
        metafunc.parametrize("page", [*PAGES, real, *given], indirect=True, scope="module")


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """`BAKEOFF_CHROMIUM` names another one than is found on the PATH."""
    from chromium import Chromium

    found = os.environ.get("BAKEOFF_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with Chromium(found, tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(scope="session")
def axe() -> str:
    """The script that gives a page `axe`."""
    from axe import Unavailable, source

    from harness import places

    try:
        return source(places.cache())
    except Unavailable as error:
        pytest.skip(f"axe-core can't be had: {error}")


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The file of a page: one that is made up, the quickstart's, run here, or one of `--report`."""
    from documents import PAGES

    folder = tmp_path_factory.mktemp("pages")

    def write(name: str) -> Path:
        if name == "quickstart":
            return _run(name, folder / name)
        if name not in PAGES:
            return Path(name)
        path = folder / f"{name}.html"
        if not path.exists():
            path.write_text(PAGES[name](), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="module")
def page(
    request: pytest.FixtureRequest, browser: Chromium, written: Callable[[str], Path]
) -> Iterator[Page]:
    """One page in its tab. What a test changes of it, it changes back."""
    with browser.open(written(request.param)) as opened:
        yield opened


def _run(scenario: str, folder: Path) -> Path:
    """The page of a real run, with one trial of everything."""
    if not folder.exists():
        command = [Path(sys.executable).parent / "bakeoff", "run", scenario, "--trials", "1"]
        done = subprocess.run(
            [*command, "--out", folder], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "report.html"
