"""Text that attacks the reader: shown as text, in every format."""

import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from rich.console import Console

from reports import csv as table
from reports import html, markdown, terminal, untrusted, view

ATTACKS = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</title></svg></style><svg onload=alert(1)>",
    "[click](javascript:alert(1)) ![x](http://evil.example/x.png) http://evil.example @all",
    "a | b\n# heading `code` **bold** <b>",
    "\u202egnp.exe\u2066 zero\u200bwidth \ufeff",
    "\x1b[31mred\x1b]8;;http://evil.example\x07link\x1b]8;;\x07 \x00 \x07",
    "lone \udc80 surrogate",
    "[bold red]rich markup[/] [link=http://evil.example]x[/link]",
    "$\\frac{1}{0}$ _x_",
    "=cmd|' /C calc'!A0",
    "{{ 7 * 7 }}{% raw %}",
    "x" * 1_000_000,
)


@pytest.fixture(params=ATTACKS, ids=range(len(ATTACKS)))
def attacked(request, run):
    """The run with one attack wherever an engine, model or run folder puts text."""
    text = request.param

    def poison(case):
        return replace(case, backend=text, artifact=text) if case.backend == "onnx" else case

    return replace(
        run,
        info=replace(
            run.info,
            scenario_name=text,
            scenario_description=text,
            scenario_text=text,
            command=("bakeoff", text),
            host={text: text, "list": [text]},
            environment={text: text},
            trials=tuple(replace(t, case=poison(t.case)) for t in run.info.trials),
            artifacts=tuple(
                replace(a, artifact=text, precision=text, provenance={text: {text: text}})
                if a.format == "onnx"
                else a
                for a in run.info.artifacts
            ),
        ),
        records=tuple(
            replace(
                r,
                case=poison(r.case),
                reason=r.reason and text,
                remedy=r.remedy and text,
                log_tail=text,
                signal=r.signal and text,
                engine=r.engine and replace(r.engine, version=text, build={text: text}),
                checks=tuple(
                    replace(c, name=text, detail=text, passed=False) if n == 3 else c
                    for n, c in enumerate(r.checks)
                ),
                conditions={"busy_threads": text, "disturbance": text, "page_cache": {text: text}}
                if r.case.backend == "onnx"
                else r.conditions,
            )
            for r in run.records
        ),
    )


_HARMFUL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def test_html_shows_attacks_as_text(attacked, run):
    page = html.render(view.build(attacked))
    assert not _HARMFUL.search(page)
    page.encode("utf-8")
    assert _structure(page) <= _structure(html.render(view.build(run)))
    assert len(page) < 1_000_000


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


def test_no_csv_field_starts_a_formula(attacked):
    report = view.build(attacked)
    texts = (table.cases(attacked, report), table.comparisons(attacked, report))
    for text in (*texts, table.samples(attacked)):
        assert not _HARMFUL.search(text)
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
