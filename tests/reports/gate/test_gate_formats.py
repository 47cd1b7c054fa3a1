"""The formats of a gate's outcome: they agree, hide nothing, and say the colour in words."""

import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from junitparser import Error, Failure, JUnitXml, Skipped
from rich.console import Console

from reports import gate
from reports.gate import data, github, html, junit, markdown, terminal, view

COLOURS = ("green", "red", "yellow", "incomparable")


def _show(outcome, width=80):
    file = io.StringIO()
    terminal.show(outcome, Console(file=file, width=width, force_terminal=False))
    return file.getvalue()


def _flat(text):
    return " ".join(text.split())


def _visible(page):
    found = []

    class Parser(HTMLParser):
        skip = False

        def handle_starttag(self, tag, attributes):
            self.skip = tag == "style"

        def handle_data(self, text):
            if not self.skip:
                found.append(text)

    Parser().feed(page)
    return _flat(" ".join(found))


def _unescaped(text):
    return re.sub(r"&#(\d+);", lambda match: chr(int(match[1])), text)


@pytest.mark.parametrize("name", ["green", "red", "crash", "yellow", "blocking", "incomparable"])
def test_golden(samples, golden, name):
    golden(f"{name}.txt", _show(samples[name]))
    golden(f"{name}.md", markdown.render(samples[name]))
    golden(f"{name}.json", data.render(samples[name]))


def test_golden_for_the_machines(samples, golden):
    golden("red.xml", junit.render(samples["red"]))
    golden("red.github", github.render(samples["red"]))


def test_the_first_line_is_the_sentence_unchanged(outcome):
    head = _flat(outcome.sentence)
    assert _flat(_show(outcome)).startswith(head)
    assert _unescaped(markdown.render(outcome)).startswith(f"## {head}\n")
    assert _visible(html.render(outcome)).partition("bakeoff gate ")[2].startswith(head)
    assert json.loads(data.render(outcome))["sentence"] == outcome.sentence
    assert head in github.render(outcome).splitlines()[0].replace("%25", "%")


def test_a_sentence_without_its_colour_gets_it(samples):
    bare = replace(samples["yellow"], sentence="one metric could not be decided")
    assert view.build(bare).headline == "YELLOW: one metric could not be decided"
    assert _show(bare).startswith("YELLOW: one metric")


def test_a_task_that_the_sentence_names_is_not_said_twice(samples):
    red = samples["red"]
    task = red.findings[1].task
    whole = replace(red.findings[1], sentence=f"it got slower in {task}")
    shown = _flat(_show(replace(red, findings=(whole,), rows=(), exact=()), width=500))
    assert shown.count(task) == 1 and "RED regressed: it got slower" in shown


def test_the_terminal_fits_80_columns(outcome):
    assert max(map(len, _show(outcome).splitlines())) <= 80


def test_every_format_shows_every_finding_row_and_check(outcome):
    texts = {
        "terminal": _flat(_show(outcome, width=500)),
        "markdown": _flat(_unescaped(markdown.render(outcome))),
        "html": _visible(html.render(outcome)),
        "json": _flat(data.render(outcome)),
    }
    for where, text in texts.items():
        for one in outcome.findings:
            for said in (one.sentence, one.remedy or "", one.task):
                assert said in text, where
        for one in outcome.exact:
            assert one.name in text and one.detail in text, where
        for row in outcome.rows:
            assert row.task in text and row.metric.title in text and row.why in text, where
    for where in ("terminal", "markdown", "html"):
        found = view.build(outcome)
        for row in found.rows:
            assert row.base in texts[where] and row.shown in texts[where]
            assert f"{row.ratio} {row.interval}".strip() in texts[where]
        assert found.consequence in texts[where]
        for arm in found.arms:
            assert arm.overlay in texts[where] and arm.engines[0] in texts[where]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("green", "The gate passes."),
        ("red", "The gate fails."),
        (
            "yellow",
            "The gate passes: something could not be decided, and the policy does not block",
        ),
        ("blocking", "The gate fails: something could not be decided, and the policy blocks on"),
        ("incomparable", "The gate fails: what can't be compared can't pass."),
    ],
)
def test_what_the_gate_does_is_said(samples, name, said):
    for text in (_show(samples[name]), markdown.render(samples[name]), html.render(samples[name])):
        assert said in _flat(_unescaped(text))


def test_inconclusive_and_not_judged_never_look_like_a_pass(samples):
    for name in ("yellow", "crash"):
        for row in view.build(samples[name]).rows:
            assert ("pass" in row.shown) == (row.verdict == "pass")
            assert ("✓" in row.shown) == (row.verdict == "pass")
    cells = [
        line.rsplit("|", 2)[1]
        for line in markdown.render(samples["yellow"]).splitlines()
        if "inconclusive |" in line or "inconclusive:" in line
    ]
    assert len(cells) == 2 and not any("✓" in cell for cell in cells)


def test_the_colour_is_a_word_in_every_format(samples):
    for colour in COLOURS:
        one = samples[colour]
        for text in (
            _show(one), markdown.render(one), html.render(one), github.render(one),
        ):  # fmt: skip
            assert colour.upper() in text
        assert f'"colour": "{colour}"' in data.render(one)
        assert f'name="colour" value="{colour}"' in junit.render(one)


def _junit(outcome):
    return JUnitXml.fromstring(junit.render(outcome).encode())


def _results(outcome):
    return [
        (case.classname, case.name, type(case.result[0]) if case.result else None)
        for suite in _junit(outcome)
        for case in suite
    ]


def test_junit_has_a_case_per_row_check_and_other_finding(samples):
    red = samples["red"]
    found = _results(red)
    assert len(found) == len(red.rows) + len(red.exact)
    assert (red.rows[3].task, "decode speed", Failure) in found
    assert (red.rows[4].task, "time to first token", Skipped) in found
    assert (red.exact[0].task, "templates", Failure) in found
    assert (red.exact[2].task, "greedy", Skipped) in found
    assert (red.rows[0].task, "load", None) in found
    crash = samples["crash"]
    found = _results(crash)
    assert len(found) == len(crash.rows) + len(crash.exact) + len(crash.findings)
    assert (crash.findings[0].task, "crashed", Failure) in found
    assert (crash.findings[0].task, "crashed (2)", Failure) in found
    assert len({case[:2] for case in found}) == len(found)


def test_a_difference_that_is_only_yellow_is_no_failure_and_no_pass(samples):
    red = samples["red"]
    mild = replace(red.findings[0], colour="yellow")
    found = _results(replace(samples["yellow"], findings=(mild,), exact=red.exact))
    assert (mild.task, "templates", Skipped) in found


def test_junit_counts_agree_with_its_cases(outcome):
    root = ElementTree.fromstring(junit.render(outcome).encode())
    for element in (root, root.find("testsuite")):
        for name, tag in (
            ("tests", "testcase"), ("failures", "failure"), ("errors", "error"), ("skipped", "skipped"),
        ):  # fmt: skip
            assert int(element.get(name)) == len(root.findall(f".//{tag}"))


def test_no_failing_gate_gives_a_file_without_a_failure(outcome):
    kinds = {kind for _, _, kind in _results(outcome)}
    assert bool(kinds & {Failure, Error}) == (not outcome.passed)
    if outcome.colour == "yellow":
        assert Skipped in kinds
    if outcome.colour == "incomparable":
        assert Error in kinds
    assert kinds == {None} or outcome.colour != "green"


@pytest.mark.parametrize("colour", ["red", "incomparable"])
def test_a_gate_that_fails_for_no_stated_reason_fails_in_junit_too(samples, colour):
    bare = replace(samples["green"], colour=colour, passed=False, findings=())
    assert _results(bare)[0][:2] == ("gate", "verdict")
    assert _results(bare)[0][2] is {"red": Failure, "incomparable": Error}[colour]


def test_a_failure_says_the_numbers_the_sentence_and_the_remedy(samples):
    text = junit.render(samples["red"])
    assert "✗ regressed: 0.898× [0.878, 0.918]" in text
    assert "base 92.4 tok/s, candidate 83.0 tok/s" in text
    assert "bisect between llamacpp 0.3.35 and 0.3.36" in text


@pytest.mark.parametrize("index", [3, 1], ids=["regressed", "pass"])
def test_a_ratio_that_the_certificate_refuses_is_shown_nowhere(samples, index):
    red = samples["red"]
    why = "not the same: prompt_ids"
    row = replace(red.rows[index], refused=True, why=why)
    outcome = replace(red, sentence="RED", findings=(), exact=(), rows=(row,))
    (shown,) = view.build(outcome).rows
    assert (shown.ratio, shown.interval, shown.verdict, shown.span) == (
        "–",
        "",
        "incomparable",
        None,
    )
    (plain,) = json.loads(data.render(outcome))["rows"]
    assert plain["verdict"] == "incomparable" and plain["base"]["value"] == row.base.value
    assert {plain[k] for k in ("ratio", "low", "high", "p_regressed", "p_pass")} == {None}
    assert (row.task, row.metric.title, Error) in _results(outcome)
    page = html.render(outcome)
    assert "<svg" not in page
    for text in (_show(outcome), markdown.render(outcome), _visible(page), junit.render(outcome)):
        text = _flat(_unescaped(text))
        assert "≠ incomparable" in text and why in text
        assert "×" not in text and "✓ pass" not in text and "✗ regressed" not in text


def test_annotations_are_errors_warnings_and_notices(samples):
    def commands(name):
        lines = github.render(samples[name]).splitlines()
        return [re.match(r"::(\w+) title=[^:]*::", line)[1] for line in lines]

    assert commands("green") == ["notice"]
    assert commands("yellow") == ["warning", "warning"]
    assert commands("blocking") == ["error", "warning"]
    assert commands("red") == ["error", "error", "error", "error", "warning"]
    assert commands("incomparable") == ["error", "error"]


def test_annotations_stay_within_what_github_shows(samples):
    red = samples["red"]
    lines = github.render(replace(red, findings=red.findings * 9)).splitlines()
    assert len(lines) == github.LIMIT
    assert "and 28 more findings" in lines[-1]
    assert len(github.render(replace(red, findings=red.findings[:3] * 3)).splitlines()) == 10


def test_json_has_every_number(samples):
    red = samples["red"]
    found = json.loads(data.render(red))
    assert found["schema"] == 1 and found["passed"] is False
    for row, plain in zip(red.rows, found["rows"], strict=True):
        assert plain["metric"] == row.metric.name and plain["unit"] == row.metric.unit
        assert plain["ratio"] == row.judged.ratio and plain["high"] == row.judged.high
        assert plain["base"]["value"] == row.base.value
        assert plain["verdict"] == row.judged.verdict
    assert found["rows"][5]["slow_mode"] is True
    missing = json.loads(data.render(samples["crash"]))["rows"][2]
    assert missing["candidate"] is None and missing["verdict"] is None and missing["why"]
    assert set(missing) == set(found["rows"][0])


def test_the_keys_of_the_json_are_documented(samples):
    def keys(value):
        if isinstance(value, dict):
            for name, inner in value.items():
                yield name
                if name != "engines":
                    yield from keys(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from keys(inner)

    for name in set(keys(json.loads(data.render(samples["red"])))):
        assert re.search(rf"\b{name}\b", data.__doc__), name


def test_the_summary_of_the_markdown_counts_the_checks(samples):
    text = markdown.render(samples["red"])
    assert "Exact checks: 2 same, 1 not the same, 1 not checked" in text
    assert text.count("<details>") == text.count("</details>") == 2


def test_markdown_of_any_size_fits_a_comment_and_says_what_it_left_out(samples):
    red = samples["red"]
    big = replace(red, rows=red.rows * 400, findings=red.findings * 400, exact=red.exact * 400)
    text = markdown.render(big)
    assert len(text) <= markdown.LIMIT
    assert text.count("<details>") == text.count("</details>") == 2
    shown = sum(line.startswith("| ") and "90 %" not in line for line in text.splitlines()) - 3
    left = [int(n) for n in re.findall(r"… and (\d+) more (?:row|check)", text)]
    assert shown + sum(left) == len(big.rows) + len(big.exact)
    assert "more findings: see gate.html" in text


def test_the_page_fetches_and_runs_nothing(outcome):
    import base64
    import hashlib

    page = html.render(outcome)
    assert not re.search(r"<(script|link|iframe|object|embed|form|base)\b|@import|url\(", page)
    assert not re.search(r"\s(on\w+|style|src|href)=", page)
    style = re.search(r"<style>(.*?)</style>", page, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in page.replace("&#39;", "'")
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(set(ids)) == len(ids)
    for names in re.findall(r'aria-labelledby="([^"]*)"', page):
        assert set(names.split()) <= set(ids)


def test_the_page_draws_every_ratio(samples):
    red = samples["red"]
    page = html.render(red)
    drawings = re.findall(r"<svg.*?</svg>", page, re.S)
    assert len(drawings) == len({row.task for row in red.rows})
    assert sum(d.count("<circle") for d in drawings) == 4
    assert sum(d.count("<polygon") for d in drawings) == 2
    assert all(d.count("<title") == d.count("<desc") == 1 for d in drawings)
    assert html.render(red) == page


def test_write_makes_the_files_asked_for_and_replaces_them(samples, tmp_path):
    paths = gate.write(samples["red"], ("md", "json", "md"), tmp_path / "out")
    assert [p.name for p in paths] == ["gate.md", "gate.json"]
    gate.write(samples["green"], ("md",), tmp_path / "out")
    assert (tmp_path / "out" / "gate.md").read_text().startswith("## GREEN")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["gate.json", "gate.md"]
    gate.write(samples["red"], gate.FILES, tmp_path / "all")
    assert {p.name for p in (tmp_path / "all").iterdir()} == set(gate.FILES.values())


def test_an_unknown_format_writes_nothing(samples, tmp_path):
    with pytest.raises(ValueError, match="unknown format 'pdf', expected one of: md, junit, json"):
        gate.write(samples["red"], ("md", "pdf"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
