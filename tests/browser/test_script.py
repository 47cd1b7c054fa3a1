"""What the page's own script adds, and that the page lacks nothing else without it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import made_runs
import pytest
from chromium import Chromium, Page
from documents import PAGES

from reports import view
from reports.tables import Row
from results.metrics import METRICS

TABLE = "document.querySelectorAll('table.sortable')[1]"
BUTTONS = f"[...{TABLE}.querySelectorAll('th button')]"
TITLES = f"{BUTTONS}.map(one => one.textContent)"
#: The words of the first cell of each row, by group, and what is said to be sorted.
NAMES = f"[...{TABLE}.tBodies].map(body => [...body.rows].map(row => row.cells[0].innerText))"
SORTED = f"[...{TABLE}.querySelectorAll('th[aria-sort]')].map(one => one.ariaSort)"


@pytest.fixture
def opened(browser: Chromium, tmp_path: Path) -> Iterator[Page]:
    path = tmp_path / "report.html"
    path.write_text(PAGES["everything"](), encoding="utf-8")
    with browser.open(path) as page:
        yield page


def _ranked(metric: str, largest_first: bool) -> list[list[str]]:
    """What the table should show, from the numbers of its view model."""
    sign = -1 if largest_first else 1

    def place(row: Row) -> tuple[bool, float]:
        found = row.summary.estimates.get(metric)
        return found is None, sign * found.value if found else 0.0

    sections = view.build(made_runs.everything()).tables[1].sections
    return [
        [part.heading, *(f"{r.backend}\n{r.artifact}" for r in sorted(part.rows, key=place))]
        for part in sections
    ]


@pytest.mark.parametrize("metric", ["ttft_ms", "decode_tok_s"])
def test_a_button_ranks_each_group_best_first_then_worst_first_then_as_it_was(
    opened: Page, metric: str
) -> None:
    column = opened.run(TITLES).index(METRICS[metric].title)
    before = opened.run(NAMES)
    # What is shown has a unit of its own, ms here and s there: it is not what is sorted.
    opened.run(f"{TABLE}.querySelectorAll('[data-value] a').forEach(a => {{ a.innerText = 1 }})")
    for largest_first in (metric == "decode_tok_s", metric == "ttft_ms"):
        opened.run(f"{BUTTONS}[{column}].focus()")
        opened.press("Enter", 13, "\r")
        assert opened.run(NAMES) == _ranked(metric, largest_first) != before
        assert opened.run(SORTED) == ["descending" if largest_first else "ascending"]
    opened.press("Enter", 13, "\r")
    assert (opened.run(NAMES), opened.run(SORTED)) == (before, [])


def test_rows_without_a_value_come_last_either_way(opened: Page) -> None:
    column = opened.run(TITLES).index(METRICS["decode_tok_s"].title)
    opened.run(
        f"{TABLE}.tBodies[0].rows[1].cells[{column}].replaceWith(document.createElement('td'))"
    )
    without = opened.run(NAMES)[0][1]
    for _ in range(2):
        opened.run(f"{BUTTONS}[{column}].click()")
        assert opened.run(NAMES)[0][-1] == without
    opened.run(f"{BUTTONS}[0].click()")
    names = opened.run(NAMES)[0][1:]
    assert names == sorted(names) and opened.run(SORTED) == ["ascending"]


def test_distances_rank_by_their_numbers_however_these_are_written(opened: Page) -> None:
    table = "document.querySelector('[aria-labelledby=fidelity] table.sortable')"
    names = f"[...{table}.tBodies[0].rows].map(row => row.cells[0].innerText)"
    opened.run(f"{table}.querySelectorAll('td.number').forEach(one => {{ one.innerText = '≥ 1' }})")
    fidelity = view.build(made_runs.everything()).fidelity
    assert fidelity is not None
    rows = [row for row in fidelity.groups[0].rows if row.found.kl is not None]
    rows.sort(key=lambda row: row.found.kl.mean if row.found.kl else 0.0)
    ranked = [f"{row.backend}\n{row.artifact}" for row in rows]
    for expected in (ranked, ranked[::-1]):
        opened.run(f"{table}.querySelectorAll('th button')[2].click()")
        assert opened.run(names) == expected


def test_a_number_leads_to_its_trials_in_their_closed_box(opened: Page) -> None:
    link = "document.querySelector('table.sortable a.raw')"
    assert not opened.run(f"document.querySelector({link}.hash).closest('details').open")
    opened.run(f"{link}.click()")
    opened.run("new Promise(done => requestAnimationFrame(done))")
    assert opened.run(f"document.querySelector({link}.hash).closest('details').open")


def test_without_its_script_the_page_says_the_same_and_has_no_dead_buttons(
    browser: Chromium, tmp_path: Path
) -> None:
    whole = PAGES["everything"]()
    head, script, tail = whole.partition("<script>")
    texts = []
    for name, text in (("with", whole), ("without", head + tail.partition("</script>")[2])):
        (tmp_path / f"{name}.html").write_text(text, encoding="utf-8")
        with browser.open(tmp_path / f"{name}.html") as page:
            buttons = page.run("document.querySelectorAll('button').length")
            assert (buttons > 0) is (name == "with")
            texts.append(page.run("document.querySelector('main').textContent"))
    assert script and texts[0] == texts[1]
