"""Chat templates in every format: what differs is said, what agrees is quiet, nothing breaks out."""

import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console
from template_runs import ARMS, BOS, TALKS, make_run, records

import reports
from reports import html, markdown, template_csv, template_view, terminal, view
from results.records import Trial


@pytest.fixture(scope="module")
def compared():
    return make_run()


@pytest.fixture(scope="module")
def report(compared):
    return view.build(compared)


def show(run):
    file = io.StringIO()
    terminal.show(run, Console(file=file, width=80, force_terminal=False))
    return file.getvalue()


def rows(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_golden_markdown(report, golden):
    golden("templates.md", markdown.render(report))


def test_golden_csv(compared, golden):
    golden("templates.csv", template_csv.render(compared))


def test_golden_terminal(compared, golden):
    golden("templates.txt", show(compared))


def test_what_a_conversation_is_about_is_text_and_no_tooltip(report):
    page = html.render(report)
    section = page.partition('<h2 id="templates">')[2].partition("</section>")[0]
    assert "title=" not in section
    for talk in TALKS:
        assert section.count(f"{talk.name}: {talk.about}") == 1


def test_the_terminal_fits_80_columns(compared):
    assert max(map(len, show(compared).splitlines())) <= 80


def test_nothing_of_it_is_a_task_an_engine_or_a_comparison(report):
    assert (report.tables, report.comparisons, report.weights, report.memory) == ((), (), (), ())
    assert report.audit.rows == () and report.definitions == ()
    assert {name for name, _ in report.engines} == {"llamacpp", "onnx", "transformers"}
    page = html.render(report)
    for absent in ("No two cases", 'id="comparisons"', 'id="definitions"', ">reference<"):
        assert absent not in page


def test_a_run_without_templates_has_none_of_it(run, tmp_path):
    assert view.build(run).templates is None
    assert "Chat templates" not in html.render(view.build(run)) + show(run)
    paths = reports.write(run, ("csv",), tmp_path)
    assert [path.name for path in paths] == ["report.csv"]


def test_templates_beside_a_workload_leave_its_tables_alone(run):
    both = replace(
        run,
        info=replace(
            run.info,
            trials=(*run.info.trials, *(Trial(r.trial, r.case, 0) for r in records())),
            conversations=TALKS,
        ),
        records=(*run.records, *records()),
    )
    alone, beside = view.build(run), view.build(both)
    assert beside.templates is not None
    assert [t.columns for t in beside.tables] == [t.columns for t in alone.tables]
    assert [len(t.rows) for t in beside.tables] == [len(t.rows) for t in alone.tables]
    assert [row.name for row in beside.memory] == [row.name for row in alone.memory]
    assert len(beside.audit.rows) == len(alone.audit.rows)
    assert "Chat templates" in html.render(beside) and "Comparisons" in html.render(beside)


def test_the_csv_comes_with_the_others_where_there_are_templates(compared, tmp_path):
    paths = reports.write(compared, ("html", "csv"), tmp_path)
    assert [path.name for path in paths] == ["report.html", "report.csv", "templates.csv"]
    found = rows(template_csv.render(compared))
    assert len(found) == len(BOS) * len(ARMS) * len(TALKS)
    assert {row["backend"] for row in found} == {"llamacpp", "onnx", "transformers"}
    same = [row for row in found if row["verdict"] == "identical"]
    assert all(r["ids_equal"] == "true" and r["ids"] == r["reference_ids"] for r in same)
    assert {r["harm_nats"] for r in same} <= {"", "0"}


def test_a_cell_that_agrees_carries_a_mark_and_nothing_else(report):
    page = html.render(report)
    cells = sum(len(row.cells) for m in report.templates.models for row in m.rows)
    linked = sum(
        bool(c.anchor) for m in report.templates.models for row in m.rows for c in row.cells
    )
    assert page.count('<td class="v-same"><b>✓</b></td>') == cells - linked
    assert all(f'id="{d.anchor}"' in page for m in report.templates.models for d in m.drills)


def test_the_short_answer_counts(report):
    said = dict(report.templates.sentences)
    assert said["llamacpp gguf on tiny-llama-3"].startswith("4 of 7 conversations as the model's")
    assert "prefill closed in 1" in said["llamacpp gguf on tiny-llama-3"]
    everywhere = "transformers hf on tiny-chatml, tiny-llama-3, tiny-mistral"
    assert said[everywhere] == "all 7 conversations as the model's own template writes them"


def test_who_makes_special_ids_of_what_a_user_writes(report):
    (one,) = [i for i in report.templates.injections if i.model == "tiny-llama-3"]
    assert "<|eot_id|>" in one.tokens
    assert "the model's own template" in one.special and "onnx onnx" in one.special
    assert "llamacpp gguf (only </s> <|im_end|>)" in one.special


def test_harm_is_a_sentence(report):
    drills = [d for m in report.templates.models for d in m.drills if d.harm]
    assert "The good answer became 18 % less likely (+0.20 nats)." in {d.harm for d in drills}


def test_white_space_in_a_diff_is_seen():
    shown = template_view.visible("a b\n\tc\u00a0\u3000\r\u202e\x1b")
    assert shown == "a·b↵\n→c⍽\\u3000\\x0d\\u202e\\x1b"
    assert template_view.visible("x" * 30, 10) == "x" * 10 + "… (20 more characters)"


def test_failures_and_a_missing_reference_are_said(compared):
    crashed = [
        replace(r, status="crashed", reason="SIGSEGV in the template", renderings=())
        if r.case.backend in ("reference", "onnx") and r.case.model == "tiny-chatml"
        else r
        for r in compared.records
    ]
    broken = make_run(crashed)
    report = view.build(broken)
    assert {line.case for line in report.failures} == {"reference hf", "onnx onnx"}
    assert {t for line in report.failures for t in line.tasks} == {"tiny-chatml: Chat templates"}
    page = html.render(report)
    assert page.count("No reference: SIGSEGV in the template") == 1
    assert "no reference, so nothing can be told" in markdown.render(report)
    assert "no reference" in show(broken)
    found = [r for r in rows(template_csv.render(broken)) if r["model"] == "tiny-chatml"]
    assert {r["severity"] for r in found} == {"untold", "bad"}


ATTACKS = (
    "</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "=cmd|' /C calc'!A0",
    "\u202egnp.exe\u2066 zero\u200bwidth \ufeff", "\x1b[31mred\x1b]8;;http://evil.example\x07 \x00",
    "lone \udc80 surrogate", "a | b\n# heading `code` **bold** <b>", "[bold red]rich[/] [link=x]y[/link]",
    "{{ 7 * 7 }}{% raw %}", "@all [x](http://evil.example)", "x" * 300_000,
)  # fmt: skip
HARMFUL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def _tags(page):
    found = set()

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attributes):
            found.update((tag, name) for name, _ in [*attributes, ("", "")])

    Parser().feed(page)
    return found


@pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))
def test_what_a_template_writes_is_shown_as_text_in_every_format(attack, report, compared):
    def poison(one, number):
        if number % 3 == 0:
            return replace(one, status="rejected", reason=attack)
        ids = None if one.ids is None else (5, *one.ids)
        return replace(one, text=attack + one.text, ids=ids, pieces=(attack, *one.pieces))

    def evil(record):
        made = tuple(poison(one, n) for n, one in enumerate(record.renderings))
        if record.case.backend == "reference":
            vocabulary = {"bos": attack, "eos": attack, "special": {attack: 5}, "tokenizer": attack}
            return replace(record, conditions={"vocabulary": vocabulary})
        if record.case.backend == "onnx":
            case = replace(record.case, artifact=attack, settings={"options": {attack: attack}})
            return replace(record, case=case, trial=f"{case.key}-0", renderings=made)
        return replace(
            record, renderings=made if record.case.backend == "llamacpp" else record.renderings
        )

    talks = tuple(
        replace(t, about=attack, messages=({"role": attack, "content": attack}, *t.messages))
        for t in TALKS
    )
    attacked = make_run(map(evil, compared.records), talks)
    found = view.build(attacked)
    page, text = html.render(found), markdown.render(found)
    table, screen = template_csv.render(attacked), show(attacked)
    for shown in (page, text, table, screen):
        assert not HARMFUL.search(shown)
        shown.encode("utf-8")
    assert _tags(page) <= _tags(html.render(report)) | {("td", "class"), ("p", "class")}
    assert page.count("<script") == 1 and len(page) < 1_000_000
    outside = re.sub(r"^(`{3,})text\n.*?^\1$", "", text, flags=re.M | re.S)
    assert not re.search(r"<|\]\(|http://|@all|`", outside)
    assert max(map(len, screen.splitlines())) <= 80
    for row in csv.reader(io.StringIO(table, newline="")):
        assert not any(field[:1] in "=+-@\t\r" for field in row if field and not _number(field))


def _number(field):
    try:
        float(field)
    except ValueError:
        return False
    return True


def test_sixteen_models_stay_below_three_megabytes():
    talks = tuple(replace(t, name=f"{t.name}-{n}") for n in range(2) for t in TALKS)[:13]
    found = []
    for n in range(16):
        model = list(BOS)[n % 3]
        for record in records((model,), talks):
            found.append(_renamed(record, f"model-{n}"))
            if record.case.backend != "reference" and record.case.measure == "templates":
                worse = tuple(
                    replace(r, text=f"{r.text[:9]} {n} {record.case.key} {r.text[5:]}", ids=(9, *(r.ids or ())), pieces=())
                    for r in record.renderings
                )  # fmt: skip
                odd = replace(record.case, settings={"options": {"odd": record.case.key}})
                found.append(_renamed(replace(record, case=odd, renderings=worse), f"model-{n}"))
    page = html.render(view.build(make_run(found, talks)))
    assert len(page.encode()) < 3_000_000


def _renamed(record, model):
    case = replace(record.case, model=model)
    return replace(record, case=case, trial=f"{case.key}-0")


if __name__ == "__main__":
    import sys

    reports.write(make_run(), ("html", "csv", "md"), Path(sys.argv[1]))
    terminal.show(make_run(), Console(width=80))
