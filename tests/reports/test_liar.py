"""A run in which one engine lies: every format says so by name, and gives it no ratio."""

import csv
import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from reports import csv as table
from reports import html, markdown, terminal, view
from reports.comparisons import REFUSED
from results.records import Check, Trial

LIES = {
    "prefix_not_reused": "it evaluated 1 of 32 prompt tokens of a prompt it had seen before",
    "threads_as_told": "it was told 2 threads and 4 worked",
}


def _lie(record):
    """onnx-f32 fails two checks; the rest of its arm's records stay as good as they look."""
    if (record.case.artifact, record.case.measure) != ("onnx-f32", "audit"):
        return record
    checks = (Check(c.name, c.name not in LIES, LIES.get(c.name, c.detail)) for c in record.checks)
    return replace(record, checks=tuple(checks))


@pytest.fixture(scope="module")
def lying(run):
    return replace(run, records=tuple(_lie(record) for record in run.records))


@pytest.fixture(scope="module")
def report(lying):
    return view.build(lying)


def _show(run):
    file = io.StringIO()
    terminal.show(run, Console(file=file, width=80, force_terminal=False))
    return file.getvalue()


def _rows(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("lie", LIES)
def test_each_lie_is_named_beside_its_arm_in_every_format(lying, report, lie):
    page = html.render(report)
    assert page.count(f"✗ {lie}</span>") == len(report.tables)
    assert f"✗ <code>{lie}</code>: {LIES[lie]}" in page
    text = markdown.render(report)
    assert len(re.findall(rf"^\| onnx onnx-f32 .*✗ {markdown.escape(lie)}", text, re.M)) == 3
    assert f"**onnx onnx-f32 ✗ {markdown.escape(lie)}**: {LIES[lie]}" in text
    shown = _show(lying)
    assert f"onnx onnx-f32 ✗ {lie}: {LIES[lie]}" in " ".join(shown.split())
    beside = [line for line in shown.splitlines() if line.startswith("   ✗ ") and lie in line]
    assert len(beside) == 3 and max(map(len, shown.splitlines())) <= 80
    for row in _rows(table.cases(lying, report)):
        assert (lie in row["failed_checks"]) == (row["artifact"] == "onnx-f32")
    for row in _rows(table.comparisons(lying, report)):
        assert (f"{lie}: onnx onnx-f32: {LIES[lie]}" in row["audit"]) == (
            row["artifact"] == "onnx-f32"
        )


def test_a_refused_ratio_has_no_number_anywhere(lying, report):
    found = [row for one in report.comparisons for row in one.rows if row.name == "onnx onnx-f32"]
    assert len(found) == 3
    for row in found:
        assert row.grade == "refused" and row.blamed == ("audit",)
        assert {(c.value, c.interval, c.verdict) for c in row.cells} == {
            (REFUSED, "", "incomparable")
        }
    for row in _rows(table.comparisons(lying, report)):
        refused = row["artifact"] == "onnx-f32"
        assert (row["grade"] == "refused") == refused
        assert not refused or {row["ratio"], row["low"], row["high"], row["level"]} == {""}
    text = markdown.render(report)
    part = text[text.index("## Comparisons") : text.index("## Audit")]
    (first, *_) = [line for line in part.splitlines() if line.startswith("| onnx onnx-f32")]
    assert first.startswith("| onnx onnx-f32 | refused | refused | ")
    page = html.render(report)
    for body in re.findall(r'<tr><th scope="row">onnx onnx-f32</th>\n(.*?)</tr>', page, re.S):
        if "certificate" in body:
            assert ">refused<" in body and "×" not in body
    shown = " ".join(_show(lying).split())
    assert "audit, against llamacpp gguf-f32: onnx onnx-f32" in shown


def test_the_liar_is_no_base_and_no_winner(report):
    assert {one.base for one in report.comparisons} == {"llamacpp gguf-f32"}
    answers = [h for h in report.headlines if h.question != "Truest"]
    assert len(answers) == 4
    for statement in (s for headline in answers for s in headline.statements):
        assert not statement.lead.startswith("onnx onnx-f32")
        if "tasks" not in statement.task:
            assert "(failed its audit: prefix_not_reused, threads_as_told)" in statement.text


def test_an_honest_run_has_one_line_about_its_audits_and_refuses_nothing(run):
    honest = replace(
        run,
        records=tuple(
            replace(r, checks=tuple(replace(c, passed=True) for c in r.checks))
            for r in run.records
            if r.case.backend != "mlx"
        ),
        info=replace(run.info, trials=tuple(t for t in run.info.trials if t.case.backend != "mlx")),
    )
    shown = _show(honest)
    assert "\nAudit\n  all 17 checks passed for 5 arms\n" in "\n".join(
        line.rstrip() for line in shown.splitlines()
    )
    assert "Refused ratios" not in shown and "✗" not in shown


def test_an_audit_is_never_a_table_nor_a_row_of_the_case_metrics(run):
    report = view.build(run)
    assert "audit" not in {one.measure for one in report.tables}
    assert "audit" not in {row["measure"] for row in _rows(table.cases(run, report))}


def test_an_unaudited_run_says_that_it_is_not_known(run):
    info = replace(run.info, trials=tuple(t for t in run.info.trials if t.case.measure != "audit"))
    bare = replace(
        run, info=info, records=tuple(r for r in run.records if r.case.measure != "audit")
    )
    report = view.build(bare)
    assert report.audit.rows == () and 'id="audit"' not in html.render(report)
    grades = {row.grade for one in report.comparisons for row in one.rows}
    assert grades == {"fair as far as known", "with caveats"}
    assert "onnx onnx-f32 was not audited" in markdown.render(report)
    assert "\nAudit\n" not in _show(bare)


def test_a_reference_that_is_no_arm_is_not_missed_in_the_audit(run):
    first = run.records[0]
    case = replace(first.case, backend="truth", artifact="hf-f64", measure="reference")
    trial = Trial("reference", case, 0)
    added = replace(first, trial=trial.id, case=case, samples=())
    both = replace(
        run,
        info=replace(run.info, trials=(*run.info.trials, trial)),
        records=(*run.records, added),
    )
    assert view.build(both).audit == view.build(run).audit


def test_a_failed_audit_is_a_failure_with_its_reason(run):
    def crash(record):
        if record.case.measure == "audit" and record.case.backend == "llamacpp":
            return replace(record, status="crashed", reason="boom", checks=record.checks[:3])
        return record

    report = view.build(replace(run, records=tuple(map(crash, run.records))))
    assert any(line.tasks == ("Audit",) and line.reason == "boom" for line in report.failures)
    row = next(row for row in report.audit.rows if row.name == "llamacpp gguf-f32")
    assert row.summary == "the audit did not end well (crashed): boom"
    assert row.marks == ("passed",) * 3 + ("missing",) * 14
