"""Chat templates in every format: what differs is said, what agrees is quiet, nothing breaks out."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

import reports
from reports import html, markdown, template_csv, template_view, terminal, view
from results.records import Case, Conversation, Record, Rendering, RunInfo, Score, Trial, digest_ids
from results.store import Run

SPECIAL = {
    "<s>": 1, "</s>": 2, "<|im_start|>": 3, "<|im_end|>": 4, "<|eot_id|>": 5,
    "<|start_header_id|>": 6, "<|end_header_id|>": 7, "<|begin_of_text|>": 8,
}  # fmt: skip
PARTS = re.compile("|".join(map(re.escape, SPECIAL)) + r"|[^\W_]+|.", re.DOTALL)
TALKS = (
    Conversation("user", "one user turn", ({"role": "user", "content": "What is the capital of France?"},), answer="Paris."),
    Conversation("system", "a system message, then a user turn", (
        {"role": "system", "content": "You are Rosa, the captain of the ship Blue Heron."},
        {"role": "user", "content": "What is the name of your ship?"},
    ), answer="Blue Heron."),
    Conversation("turns", "three turns", (
        {"role": "user", "content": "My dog is called Biscuit."},
        {"role": "assistant", "content": "That is a lovely name for a dog!"},
        {"role": "user", "content": "What is my dog called?"},
    )),
    Conversation("prefill", "the beginning of the answer is given", (
        {"role": "user", "content": "Which colour is the sky?"},
        {"role": "assistant", "content": "On a clear day, the sky"},
    ), prefill=True),
    Conversation("spaces", "white space around and inside", ({"role": "user", "content": "\n  Count to\u00a0five.\n\n\tUse words.  "},)),
    Conversation("injection", "special tokens written by the user", ({"role": "user", "content": "Translate <|im_end|> and </s> and <|eot_id|>."},)),
    Conversation("two-users", "two user turns in a row", (
        {"role": "user", "content": "I have a question."}, {"role": "user", "content": "What is two plus two?"},
    )),
)  # fmt: skip
ARMS = (
    ("llamacpp", "gguf", {}),
    ("llamacpp", "gguf", {"options": {"chat_call": "native"}}),
    ("onnx", "onnx", {}),
    ("transformers", "hf", {}),
)
BOS = {"tiny-chatml": None, "tiny-llama-3": "<|begin_of_text|>", "tiny-mistral": "<s>"}


def tokens(text, plain=()):
    """(ids, pieces): special tokens, words, characters; the first of each in `plain` stays text."""
    left, pieces = list(plain), []
    for found in PARTS.findall(text):
        if found in left:
            left.remove(found)
            pieces += found
        else:
            pieces.append(found)
    ids = (SPECIAL.get(p) or 100 + sum((n + 1) * ord(c) for n, c in enumerate(p)) for p in pieces)
    return tuple(ids), tuple(pieces)


def reference(model, talk):
    last = talk.messages[-1]["content"]
    roles = [m["role"] for m in talk.messages]
    if model == "tiny-mistral":
        if "system" in roles or roles[:2] == ["user", "user"]:
            return None
        parts = (
            f"[INST] {m['content']} [/INST]" if m["role"] == "user" else f" {m['content']}</s>"
            for m in talk.messages
        )
        text = "<s>" + "".join(parts)
        return text.removesuffix("</s>") if talk.prefill else text
    if model == "tiny-llama-3":
        head, middle, end = "<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>"
    else:
        head, middle, end = "<|im_start|>", "\n", "<|im_end|>\n"
    turns = (
        f"{head}{m['role']}{middle}"
        f"{m['content'].strip() if model == 'tiny-llama-3' else m['content']}{end}"
        for m in talk.messages
    )
    text = (BOS[model] or "") + "".join(turns)
    return (
        text[: text.rindex(last) + len(last)] if talk.prefill else f"{text}{head}assistant{middle}"
    )


def engine(model, arm, talk):
    """(text, special tokens that stay text, BOS that only the ids have) or None: rejected."""
    text, bos = reference(model, talk), BOS[model]
    backend, _, settings = ARMS[arm]
    if backend == "transformers":
        return text and (text, (), "")
    if backend == "onnx":
        if text and model == "tiny-chatml":
            return text.replace("<|im_end|>\n", "<|im_end|>\n\n"), (), ""
        return text and (text, (), (bos or "") if model == "tiny-mistral" else "")
    if settings:
        return text and (text.removeprefix(bos or ""), (), bos or "")
    if model == "tiny-mistral":
        said = [m["content"] for m in talk.messages if m["role"] == "user"]
        return "".join(f"[INST] {s} [/INST]" for s in said), (), "<s>"
    if model == "tiny-chatml" and talk.messages[0]["role"] != "system":
        text = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n" + text
    if talk.prefill:
        tail = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
        text += tail if model == "tiny-llama-3" else "<|im_end|>\n<|im_start|>assistant\n"
    if model == "tiny-llama-3" and talk.name == "spaces":
        text = text.replace("Count", "\n  Count")
    return text, ("<|eot_id|>",) if talk.name == "injection" else (), ""


def rendering(talk, made):
    if made is None:
        reason = "Conversation roles must alternate user/assistant/user/assistant/..."
        return Rendering(talk.name, "rejected", reason=reason)
    text, plain, extra = made
    ids, pieces = tokens(extra + text, plain)
    return Rendering(talk.name, "rendered", text, ids, pieces)


def records(models=tuple(BOS), talks=TALKS) -> Iterator[Record]:
    for model in models:
        vocabulary = {
            "bos": BOS[model], "eos": None, "special": SPECIAL, "tokenizer": "tokenizers 0.22",
        }  # fmt: skip
        made = [reference(model, talk) for talk in talks]
        ours = tuple(
            rendering(t, text if text is None else (text, (), ""))
            for t, text in zip(talks, made, strict=True)
        )
        yield _record(model, "reference", "hf", {}, ours, conditions={"vocabulary": vocabulary})
        scores = {}
        for arm, (backend, artifact, settings) in enumerate(ARMS):
            theirs = tuple(rendering(talk, engine(model, arm, talk)) for talk in talks)
            yield _record(model, backend, artifact, settings, theirs)
            for talk, one in zip(talks, theirs, strict=True):
                if talk.answer and one.ids:
                    scores[talk.name, digest_ids(one.ids)] = (-1.2 - arm / 7, -0.4)
        for talk, one in zip(talks, ours, strict=True):
            if talk.answer and one.ids:
                scores[talk.name, digest_ids(one.ids)] = (-1.0, -0.4)
        found = tuple(Score(c, prompt, "answer", logs) for (c, prompt), logs in scores.items())
        yield replace(_record(model, "transformers", "hf", {}, (), "harm"), scores=found)


def _record(model, backend, artifact, settings, made, measure="templates", **more):
    case = Case(model, backend, artifact, measure, {}, settings)
    return Record(f"{case.key}-0", case, 0, 1, "ok", "2026-05-04", 1.0, renderings=made, **more)


def make_run(found=None, talks=TALKS):
    found = tuple(records()) if found is None else tuple(found)
    info = RunInfo(
        "templates-1", "0.1.0", "2026-05-04T09:30:00Z", ("bakeoff", "run", "templates"),
        "templates", "Does each engine write the prompt that the model was trained on?",
        "name: templates\n", "c1" * 32, 7, {}, tuple(Trial(r.trial, r.case, 0) for r in found),
        (), (), {"cpu": "AMD EPYC 7B13"}, "3f9ac2017e4b55d0", {}, {}, conversations=talks,
    )  # fmt: skip
    return Run(Path("runs/templates"), info, found, ())


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
    assert "<script" not in page and "script-src" not in page and len(page) < 1_000_000
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
