"""Text that attacks the page, in a browser: it is shown, and nothing runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import made_runs
import pytest
from attacks import ATTACKS, LONG, TURNS, everywhere
from chromium import Chromium
from documents import history, report
from test_page import OPEN_ALL

from reports.gate import html as gate_html

#: Events that an attack may wait for.
TOUCH = """
document.querySelectorAll('*').forEach(one => ['mouseover', 'focus', 'click', 'load', 'error']
  .filter(kind => kind !== 'click' || !one.closest('a, summary'))
  .forEach(kind => one.dispatchEvent(new Event(kind, {bubbles: true}))))
"""

#: Elements and attributes that would load or run something, and links that leave the page.
FOREIGN = """
[...document.querySelectorAll('*')].filter(one =>
  one.matches('img, iframe, object, embed, form, base, link, video, audio, input') ||
  one.matches('button:not(table.sortable thead button), script:not(body > script:last-child)') ||
  [...one.attributes].some(({name, value}) => name.startsWith('on') || name === 'style' ||
    name === 'srcdoc' || (/href$|^src$|^action$/.test(name) && !value.startsWith('#')))
).map(one => one.outerHTML.slice(0, 200))
"""


@dataclass(frozen=True)
class Seen:
    """What came of opening a page and touching all of it. `shown` is its text."""

    shown: str
    ran: list[str]
    said: list[str]
    asked: list[str]
    foreign: list[str]

    @property
    def harmless(self) -> bool:
        return not (self.ran or self.said or self.foreign) and len(self.asked) == 1


def _seen(browser: Chromium, path: Path, text: str) -> Seen:
    path.write_text(text, encoding="utf-8")
    with browser.open(path) as page:
        page.run(OPEN_ALL)
        page.run(TOUCH)
        shown, foreign = page.run("document.body.innerText"), page.run(FOREIGN)
        return Seen(shown, page.ran, page.said, page.asked, foreign)


@pytest.mark.parametrize("turn", range(TURNS))
def test_attacks_in_every_place_of_a_report_are_shown_and_do_nothing(
    browser: Chromium, tmp_path: Path, turn: int
) -> None:
    attacked = report(everywhere(made_runs.everything(), ATTACKS, turn))
    seen = _seen(browser, tmp_path / "report.html", attacked)
    assert seen.harmless, seen
    for text in ("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\\x1b[31mred",
                 "\\u202egnp.exe", "lone \\udc80", "javascript:alert(1)", "{{ 7 * 7 }}", "\\x00"):  # fmt: skip
        assert text in seen.shown, text


def test_a_megabyte_of_text_does_not_fill_the_page(browser: Chromium, tmp_path: Path) -> None:
    attacked = report(everywhere(made_runs.one_case(), LONG))
    seen = _seen(browser, tmp_path / "report.html", attacked)
    assert seen.harmless, seen
    assert "more characters)" in seen.shown and len(seen.shown) < 500_000


@pytest.mark.parametrize("number", range(len(ATTACKS)))
def test_attacks_in_a_gate_are_shown_and_do_nothing(
    browser: Chromium, tmp_path: Path, number: int
) -> None:
    outcome = made_runs.made("gate/conftest.py").hostile(ATTACKS[number])
    seen = _seen(browser, tmp_path / "gate.html", gate_html.render(outcome))
    assert seen.harmless, seen


def test_attacks_in_a_history_are_shown_and_do_nothing(browser: Chromium, tmp_path: Path) -> None:
    seen = _seen(browser, tmp_path / "history.html", history(evil=True))
    assert seen.harmless, seen
    assert "<script>alert(1)</script>" in seen.shown


@pytest.mark.parametrize(
    "text",
    ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<b onmouseover=alert(1)>x</b>"],
)
def test_an_attack_that_succeeds_would_be_seen(
    browser: Chromium, tmp_path: Path, text: str
) -> None:
    seen = _seen(browser, tmp_path / "bad.html", f"<!doctype html><body>{text}</body>")
    assert "alert: 1" in seen.ran and not seen.harmless


def test_what_the_policy_of_a_page_stops_would_be_seen(browser: Chromium, tmp_path: Path) -> None:
    clean = report(made_runs.one_case())
    broken = clean.replace("<main>", "<main><script>alert(1)</script><img src='http://x.invalid/'>")
    seen = _seen(browser, tmp_path / "broken.html", broken)
    assert seen.ran == [] and len(seen.foreign) == 2
    # Chromium tells of a request that it then blocks, too.
    assert seen.asked[1:] == ["http://x.invalid/"]
    assert any("Content Security Policy" in said for said in seen.said)
