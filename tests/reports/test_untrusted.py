"""Text that attacks the reader: shown as text, in every format."""

import csv
import io
import json
import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser

import made_runs
import pytest
from attacks import ATTACKS, LONG, TURNS, everywhere
from rich.console import Console

import reports
from reports import csv as table
from reports import html, markdown, terminal, untrusted, view
from reports import json as report_json

WHOLE, SMALL = made_runs.everything(), made_runs.one_case()


@pytest.fixture(scope="module", params=[*range(TURNS), "long"])
def attacked(request):
    """Every section that a report has; where the attack is a megabyte, one case."""
    if request.param == "long":
        return everywhere(SMALL, LONG)
    return everywhere(WHOLE, ATTACKS, request.param)


@cache
def _usual():
    """The elements and attributes of a page that nobody attacked."""
    return _structure(html.render(view.build(WHOLE)))


_HARMFUL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def test_html_shows_attacks_as_text(attacked):
    page = html.render(view.build(attacked))
    assert not _HARMFUL.search(page)
    page.encode("utf-8")
    assert _structure(page) <= _usual()
    assert len(page) < 3_000_000


def test_json_shows_attacks_as_text(attacked):
    text = report_json.render(view.build(attacked))
    assert not _HARMFUL.search(text)
    assert len(text) < 5_000_000
    json.loads(text)


def _structure(page):
    found = set()

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attributes):
            found.update((tag, name) for name, _ in [*attributes, ("", "")])

    Parser().feed(page)
    return found


def test_the_terminal_shows_attacks_as_text(attacked):
    file = io.StringIO()
    terminal.show(
        attacked, Console(file=file, width=80, force_terminal=True, color_system="truecolor")
    )
    plain = re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())
    assert not _HARMFUL.search(plain)
    assert "\x1b]8" not in file.getvalue()
    assert max(map(len, plain.splitlines())) <= 80


def test_rich_markup_is_not_obeyed(run):
    text = "[bold red]x[/]"
    marked = replace(run, info=replace(run.info, scenario_name=text))
    file = io.StringIO()
    terminal.show(marked, Console(file=file, width=80))
    assert text in file.getvalue()


def test_markdown_shows_attacks_as_text(attacked):
    text = markdown.render(view.build(attacked))
    assert not _HARMFUL.search(text)
    outside = re.sub(r"^(`{3,})text\n.*?^\1$", "", text, flags=re.M | re.S)
    assert not re.search(r"<|\]\(|http://|@all|`", outside)
    widths = {}
    for block in re.split(r"\n\n", outside):
        rows = [line for line in block.splitlines() if line.startswith("| ")]
        widths[block[:30]] = {row.count("|") for row in rows}
    assert all(len(found) <= 1 for found in widths.values()), "a cell broke out of its row"


def test_a_scenario_with_backticks_stays_inside_its_fence(run):
    text = "a\n````\n# out\n````"
    shown = markdown.render(view.build(replace(run, info=replace(run.info, scenario_text=text))))
    assert f"`````text\n{text}\n`````" in shown


def test_no_csv_field_starts_a_formula(attacked, tmp_path):
    names = [name for name, file in reports.FILES.items() if file.endswith(".csv")]
    for path in reports.write(attacked, names, tmp_path):
        text = path.read_bytes().decode()
        assert not _HARMFUL.search(text), path
        for row in csv.reader(io.StringIO(text, newline="")):
            assert not any(
                field[:1] in "=+-@\t\r" and field and not _number(field) for field in row
            )


def _number(field):
    try:
        float(field)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "\u200b=1",
        "\ufeff\u200b=1",
        "  =1",
        "\u00a0@x",
        "\uff1d1",
        "\x00=1",
    ],
)
def test_a_formula_is_guarded_behind_spaces_and_invisible_characters_too(text):
    assert table.guard(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "a=1", "1-2", "x", "   ", "'=1"])
def test_other_text_is_left_alone(text):
    assert table.guard(text) == text


def test_hidden_characters_become_visible_and_others_stay():
    assert untrusted.one_line("a\x1b\n\t\u202e\udc80\U000e0041é漢🙂") == (
        "a\\x1b\\n\\x09\\u202e\\udc80\\U000e0041é漢🙂"
    )
    assert untrusted.lines("a\r\n\tb\x00") == "a\n\tb\\x00"


def test_length_is_bounded_and_what_is_missing_is_said():
    assert untrusted.one_line("x" * 1000, 10) == "x" * 10 + "… (990 more characters)"
    assert untrusted.one_line("x" * 10, 10) == "x" * 10
