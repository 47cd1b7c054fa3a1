"""Text that attacks whoever reads a gate's outcome: shown as text, in every format."""

import io
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

from junitparser import JUnitXml
from rich.console import Console

from reports.gate import data, github, html, junit, markdown, terminal

_HARMFUL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufffe\ud800-\udfff]"
)


def _structure(page):
    found = set()

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attributes):
            found.update((tag, name) for name, _ in [*attributes, ("", "")])

    Parser().feed(page)
    return found


def test_html(attacked, samples):
    page = html.render(attacked)
    page.encode("utf-8")
    assert not _HARMFUL.search(page)
    plain = _structure(html.render(samples["red"]))
    assert _structure(page) <= plain
    assert len(page) < 400_000


def test_terminal(attacked):
    file = io.StringIO()
    console = Console(file=file, width=80, force_terminal=True, color_system="truecolor")
    terminal.show(attacked, console)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())
    assert not _HARMFUL.search(plain)
    assert "\x1b]8" not in file.getvalue()
    assert max(map(len, plain.splitlines())) <= 80


def test_markdown(attacked):
    text = markdown.render(attacked)
    assert not _HARMFUL.search(text)
    assert len(text) <= markdown.LIMIT
    ours = re.sub(r"</?(details|summary)>", "", text)
    assert text.count("<details>") == text.count("</details>") == 2
    assert not re.search(r"<|\]\(|http://|@all|`", ours)
    tables = {line.count("|") for line in text.splitlines() if line.startswith("| ")}
    assert tables == {7, 5}, "a cell broke out of its row"


def test_the_markdown_of_many_attacks_still_fits_a_comment(make_hostile):
    for text in ("|" * 5000, "\U0001f642" * 5000, "a"):
        assert len(markdown.render(make_hostile(text, count=40))) <= markdown.LIMIT


def test_markdown_renders_to_our_own_tags_only(attacked):
    from markdown_it import MarkdownIt

    shown = (
        MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown.render(attacked))
    )
    tags = set(re.findall(r"<(\w+)", shown))
    assert tags <= {
        "h2", "p", "ul", "li", "strong", "table", "thead", "tbody", "tr", "th", "td",
        "details", "summary",
    }  # fmt: skip
    assert not re.search(r"\son\w+=|href|src=", re.sub(r">[^<]*<", "><", shown))


def test_junit(attacked):
    text = junit.render(attacked)
    assert not _HARMFUL.search(text)
    root = ElementTree.fromstring(text.encode("utf-8"))
    assert {e.tag for e in root.iter()} <= {
        "testsuites", "testsuite", "testcase", "properties", "property", "failure", "skipped", "error",
    }  # fmt: skip
    suites = JUnitXml.fromstring(text.encode("utf-8"))
    assert sum(1 for suite in suites for _ in suite) == len(list(root.iter("testcase")))
    assert all(case.get("name") and case.get("classname") for case in root.iter("testcase"))


def test_annotations_hold_one_command_a_line(attacked):
    text = github.render(attacked)
    assert not _HARMFUL.search(text)
    assert "\r" not in text
    for line in text.splitlines():
        title, _, message = line.partition(" title=")[2].partition("::")
        assert re.match(r"::(error|warning|notice) title=", line)
        assert ":" not in title and "," not in title.replace("%2C", "")
        assert not re.search(r"%(?!25|3A|2C|0A|0D)", title + message)
        assert len(line) < 4000


def test_json(attacked):
    text = data.render(attacked)
    text.encode("utf-8")
    assert not _HARMFUL.search(text)
    found = json.loads(text)
    assert found["minutes"] is None
    assert len(found["findings"]) == len(attacked.findings)
    assert len(text) < 200_000


def test_a_percent_sign_is_not_read_as_an_escape(make_hostile):
    line = github.render(make_hostile("a%0Ab"))
    assert "a%250Ab" in line and "a%0Ab" not in line
