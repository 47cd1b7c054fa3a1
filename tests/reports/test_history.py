"""What is shown of a history: the view model, 80 columns, a page that runs nothing, a safe CSV."""

from __future__ import annotations

import csv as standard_csv
import io
import random
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest
from rich.console import Console

from reports import history_csv, history_html, history_terminal, history_view
from results import history
from results.history import History, Point, Series
from results.metrics import METRICS
from results.records import Case

PARAMETERS = {"prompt_tokens": 32, "output_tokens": 24, "sampling": {"temperature": 0.0}}
START = datetime(2026, 3, 1, tzinfo=UTC)
EVIL = "</title><script>alert(1)</script>\x1b[31m\u202e=cmd()"


def _series(
    values, *, backend="a", base=None, metric="decode_tok_s", versions=None, arm="", lies=()
):
    points = tuple(
        Point(f"run-{n}", START + timedelta(days=n), value, 3, (versions or ["1"] * 999)[n], lies)
        for n, value in enumerate(values)
    )
    case = Case("m", backend, f"{backend}-f32", "generate", PARAMETERS, arm=arm)
    changes = history.find_changes(values)
    level = values[changes[-1].at if changes else 0 :]
    expected = history.expect(level[:-1])
    return Series("f" * 16, case, base, METRICS[metric], points, changes, expected)


def _noise(n, center=50.0):
    noise = random.Random(n)
    return [center * noise.lognormvariate(0, 0.01) for _ in range(n)]


@pytest.fixture(scope="module")
def found() -> History:
    slower = [v * (1 if n < 12 else 0.9) for n, v in enumerate(_noise(24))]
    return History(
        runs=24,
        series=(
            _series(slower, backend="slower", versions=["1"] * 12 + ["2"] * 12),
            _series([*_noise(20), 40.0], backend="jumped"),
            _series(_noise(3), backend="new"),
        ),
        caveats=("runs/x was left out: no",),
    )


@pytest.fixture(scope="module")
def report(found):
    return history_view.build(found)


@pytest.fixture(scope="module")
def evil() -> History:
    series = _series(_noise(24), backend=EVIL, versions=[EVIL] * 24, lies=(EVIL,))
    return History(24, (series,), (EVIL,))


def _shown(report) -> str:
    console = Console(width=80, file=io.StringIO(), force_terminal=False)
    history_terminal.show(report, console)
    return console.file.getvalue()


def test_a_change_says_when_by_how_much_and_with_which_versions(report):
    (change,) = report.rows[0].changes
    assert change.when == "2026-03-13" and change.versions == "1 → 2" and change.worse
    assert re.fullmatch(r"50\.\d tok/s → 4\d\.\d tok/s \(-1[01]%\)", change.text)


def test_only_the_latest_run_that_is_not_as_expected_gets_advice(report):
    advised = {row.name: row.advice for row in report.rows if row.advice}
    assert set(advised) == {"jumped jumped-f32"}
    assert "the latest run gave 40.0 tok/s; after 20 earlier ones" in advised["jumped jumped-f32"]


def test_too_few_runs_let_nothing_expect(report):
    row = report.rows[2]
    assert (row.runs, row.expected, row.advice, row.changes) == (3, "", "", ())


def test_a_ratio_is_named_and_shown_as_one():
    base = Case("m", "a", "a-f32", "generate", PARAMETERS, arm="base")
    series = _series(_noise(12, 1.0), base=base, arm="candidate", metric="ttft_ms")
    (row,) = history_view.build(History(12, (series,), ())).rows
    assert row.name == "a a-f32: candidate / base" and row.latest.endswith("×")


def test_a_sparkline_does_not_blow_noise_up():
    assert set(history_view.sparkline([100, 100.5, 99.5])) <= set("▄▅")
    assert history_view.sparkline([1, 2, 3, 4]) == "▁▃▆█"
    assert len(history_view.sparkline(list(range(1, 100)))) == 20
    assert len(history_view.sparkline([0.0, 0.0])) == 2


def test_the_terminal_shows_trends_in_80_columns_and_calls_them_advice(report):
    text = _shown(report)
    assert max(map(len, text.splitlines())) <= 80
    said = " ".join(text.split())
    for words in ("Generate 32 → 24 tokens, greedy · decode speed · higher is better",
                  "2026-03-13", "Not as expected", "Advice only, never a verdict",
                  "runs/x was left out"):  # fmt: skip
        assert words in said, words


def test_the_page_draws_each_trend_and_says_what_the_table_says(report):
    page = history_html.render(report)
    assert page.count("<svg") == 3 and "not drawn" not in page
    for words in ("2026-03-13", "40.0 tok/s", "Advice only, never a verdict", "1 → 2"):
        assert words in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_a_page_does_not_draw_without_end(report, monkeypatch):
    monkeypatch.setattr(history_html, "MOST_PLOTS", 2)
    page = history_html.render(report)
    assert page.count("<svg") == 2
    assert "1 more trends are in the tables and the CSV" in page


def test_many_runs_are_a_line_not_thousands_of_dots():
    few, many = (
        history_html.render(history_view.build(History(n, (_series(_noise(n)),), ())))
        for n in (150, 151)
    )
    assert few.count("<use") >= 150 and many.count("<use") < 20


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [v for n, v in attrs if n in ("href", "xlink:href", "src") and v]


def test_hostile_names_stay_text_everywhere(evil):
    report = history_view.build(evil)
    page = history_html.render(report)
    parsed = _Page()
    parsed.feed(page)
    assert "script" not in parsed.tags and "img" not in parsed.tags
    assert not any(name == "style" or name.startswith("on") for name in parsed.attributes)
    assert all(link.startswith("#") for link in parsed.links)
    assert "default-src &#39;none&#39;" in page
    for text in (page, _shown(report), history_csv.render(evil)):
        assert "\x1b" not in text and "\u202e" not in text


def test_the_csv_has_a_row_per_run_and_no_formula(found):
    rows = list(standard_csv.DictReader(io.StringIO(history_csv.render(found))))
    assert len(rows) == 24 + 21 + 3
    assert [row["level"] for row in rows[:24]] == ["1"] * 12 + ["2"] * 12
    assert float(rows[0]["value"]) == found.series[0].points[0].value
    attacked = _series(_noise(2), backend="=1+1", lies=("@x",))
    text = history_csv.render(History(2, (attacked,), ()))
    assert "'=1+1" in text and "'@x" in text
