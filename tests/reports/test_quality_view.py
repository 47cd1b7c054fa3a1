"""Answers to tasks in every format: numbers with intervals, nothing breaks out, 80 columns."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import reports
from reports import html, markdown, quality_csv, quality_lines, quality_view, terminal, view
from results import quality
from results.records import Case, Record, RunInfo, Trial
from results.store import Run

GREEDY = {
    "temperature": 0.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "seed": 0,
}
WARM = {**GREEDY, "temperature": 0.8, "top_p": 0.95}
EVIL = "<script>alert(1)</script> | `x` \x1b[31m\u202e [red]=cmd"
ITEMS = [
    {"name": f"q{n}", "kind": ("sum", "copy")[n % 2],
     "messages": [{"role": "user", "content": f"What is {n} + 1? {EVIL if n == 1 else ''}"}],
     "check": {"how": "number", "answer": n + 1}}
    for n in range(12)
]  # fmt: skip


def observed(worse: int = 0, text: str = "", seedless: bool = False) -> list[dict[str, Any]]:
    found = []
    for n in range(12):
        said = text if n < worse else f"It is {n + 1}"
        for setting, seed, run in ((0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 0, 1), (1, 0, 1)):
            if run and n > 7:
                continue
            last = 9 if n >= worse else 10 + n + (0 if seedless else seed)
            found.append(
                {"item": f"q{n}", "setting": setting, "seed": seed, "run": run, "ids": [5, 6, last],
                 "text": said, "sizes": [2, 1, len(said) - 3] if len(said) > 3 else [], "ended": True}
            )  # fmt: skip
    return found


def make(**arms: Any) -> Run:
    records, trials = [], []
    for name, observations in arms.items():
        parameters = {
            "tasks": "standard",
            "output_tokens": 8,
            "seeds": 2,
            "settings": [GREEDY, WARM],
        }
        case = Case("smol", name, f"{name}-f32", "quality", parameters)
        trials.append(Trial(f"t-{name}", case, 0))
        status = "ok" if isinstance(observations, list) else "failed"
        reason = None if status == "ok" else observations
        kept = tuple(observations) if status == "ok" else ()
        records.append(
            Record(f"t-{name}", case, 0, 1, status, "2026", 1.0, reason, observations=kept)  # type: ignore[arg-type]
        )
    info = RunInfo(
        "r", "0", "2026", ("bakeoff",), "quality", "", "", "", 0, {}, tuple(trials), (), (), {}, "",
        {}, {}, items={"quality": ITEMS},
    )  # fmt: skip
    return Run(Path(), info, tuple(records), ())


RUN = make(alpha=observed(), beta=observed(9, EVIL), gamma="the engine <b>broke</b>")


def shown(run: Run) -> str:
    stream = io.StringIO()
    terminal.show(run, Console(file=stream, width=80, force_terminal=False))
    return stream.getvalue()


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value[1:] for name, value in attrs if name == "href" and value[0] == "#"]


def test_the_section_is_there_only_with_such_records() -> None:
    empty = make()
    assert view.build(empty).quality is None
    assert "Answers to tasks" not in html.render(view.build(empty))
    assert "Answers to tasks" not in markdown.render(view.build(empty)) + shown(empty)


def test_a_count_of_several_sorts_by_its_share() -> None:
    page = html.render(view.build(RUN))
    assert '<td class="number" data-value="0.75">9 of 12</td>' in page
    assert '<td class="number" data-value="0.25">25 % [8, 58]</td>' in page
    failed = [
        {**one, "error": "out of memory"} if one["item"] == "q0" else one for one in observed()
    ]
    page = html.render(view.build(make(alpha=failed)))
    assert f'<td class="number bad" data-value="{2 / 24}">2 of 24</td>' in page


def test_the_view_says_numbers_with_intervals() -> None:
    found = quality_view.build(quality.groups(RUN))
    assert found is not None
    (group,) = found.groups
    assert [row.accuracy[:5] for row in group.rows] == ["100 %", "100 %", "25 % ", "25 % "]
    assert group.rows[0].again == "8 of 8" and group.rows[0].other_seed == "–"
    assert group.rows[3].other_seed == "9 of 12"
    said = dict(found.sentences)
    assert "“Temperature helps” with temperature 0.8, top p 0.95" in said["beta beta-f32"]
    assert "more right answers than beta" in " ".join(text for _, text in found.sentences)
    assert said["gamma gamma-f32"] == "No answers: the engine <b>broke</b>."
    (pair,) = [p for p in group.pairs if p.setting == "greedy"]
    assert pair.only == ("9", "0") and pair.p == "0.004"


def test_a_seed_that_does_nothing_is_told() -> None:
    found = quality_view.build(quality.groups(make(alpha=observed(12, "no", seedless=True))))
    assert found and "The seed does nothing" in found.sentences[0][1]


def test_answers_are_aligned_at_the_first_differing_token() -> None:
    found = quality_view.build(quality.groups(RUN))
    assert found is not None
    samples = {sample.name: sample for sample in found.groups[0].samples}
    assert set(samples) == {f"q{n}" for n in range(9)}
    lines = samples["q2"].lines
    assert [line.mark for line in lines] == ["✓", "✓", "✗", "✗"]
    assert lines[0].tokens == "3 of 3" and lines[0].same == "It is 3" and lines[0].rest == ""
    assert lines[2].tokens == "2 of 3" and lines[2].same == EVIL[:3]
    assert lines[2].rest.startswith("ript>")


def test_html_escapes_and_its_links_lead_somewhere() -> None:
    text = html.render(view.build(RUN))
    page = Page()
    page.feed(text)
    assert page.tags.count("script") == 1 and "\x1b" not in text and "\u202e" not in text
    assert "<b>broke" not in text
    assert set(page.links) <= set(page.ids) and len(page.ids) == len(set(page.ids))
    assert "quality" in page.links


def test_markdown_has_whole_tables() -> None:
    text = markdown.render(view.build(RUN))
    part = text[text.index("## Answers to tasks") :]
    assert "<script" not in part and "\x1b" not in part
    rows = [line for line in part.split("\n## ")[0].splitlines() if line.startswith("|")]
    assert len(rows) >= 10
    assert {line.count("|") for line in rows[:6]} == {rows[0].count("|")}


def test_the_terminal_fits_80_columns() -> None:
    text = shown(RUN)
    assert "Answers to tasks" in text and max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text and "[red]" not in text.split("Answers")[0]


def test_ids_and_json_are_whole_and_long_text_is_cut() -> None:
    ids = [*range(100_000, 104_000)]
    long = [{**one, "ids": ids, "text": "x" * 3000, "sizes": []} for one in observed()]
    run = make(alpha=long)
    options = {"options": {"note": "y" * 5000}}
    trials = [replace(t, case=replace(t.case, settings=options)) for t in run.info.trials]
    records = [replace(r, case=replace(r.case, settings=options)) for r in run.records]
    run = replace(run, info=replace(run.info, trials=tuple(trials)), records=tuple(records))
    told = next(csv.DictReader(io.StringIO(quality_csv.answers(run))))
    assert told["ids"].split() == [str(one) for one in ids]
    assert json.loads(told["settings"]) == options
    assert told["text"] == "x" * 2000 + "… (1000 more characters)"


def test_csv_files_are_tidy_and_safe(tmp_path: Path) -> None:
    paths = reports.write(RUN, ["csv", "answers"], tmp_path)
    assert {path.name for path in paths} >= {"quality.csv", "answers.csv"}
    rows = list(csv.DictReader(io.StringIO((tmp_path / "quality.csv").read_text())))
    assert len(rows) == 5 and rows[0]["accuracy"] == "1" and rows[-1]["trouble"]
    assert all(None not in row for row in rows) and rows[0]["again_of"] == "8"
    told = list(csv.DictReader(io.StringIO(quality_csv.answers(RUN))))
    assert len(told) == 2 * (12 * 3 + 8 * 2)
    assert {row["right"] for row in told} <= {"True", "False", "true", "false", "1", "0"}


def test_without_sacrebleu_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("results.quality._has_bleu", lambda: False)
    found = quality_view.build(quality.groups(RUN))
    assert found and "sacrebleu is not installed" in found.groups[0].note
    assert all(row.self_bleu == "–" for row in found.groups[0].rows)


def test_right_answers_are_drawn_by_setting_where_there_are_several() -> None:
    report = view.build(RUN)
    assert report.quality is not None
    (plot,) = quality_lines.plots(report.quality.groups, {"alpha": 0, "beta": 1, "gamma": 2})
    assert plot is not None and "1 greedy; 2 temperature 0.8, top p 0.95" in plot.note
    assert "alpha alpha-f32: setting 1 100 %" in plot.svg and "gamma" not in plot.svg
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", plot.svg)
    assert texts.count("alpha alpha-f32") == texts.count("beta beta-f32") == 1
    assert str(plot.svg) in html.render(report)
    first = [replace(group, rows=group.rows[:1]) for group in report.quality.groups]
    assert list(quality_lines.plots(first, {"alpha": 0})) == [None]
