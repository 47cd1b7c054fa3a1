"""Samplers in every format: a verdict per parameter, what failed and how, nothing breaks out."""

import csv
import io
import random
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

import reports
from reports import html, markdown, sampling_csv, sampling_view, terminal, view
from results.records import Case, Record, RunInfo, Trial
from results.sampling_settings import DEFAULT, active
from results.store import Run

EVIL = "<script>alert(1)</script>\x1b[31m=1+1|`*"


def setting_of(told, truth=0, draws=2000, prompt="sea", **more):
    """An observation whose draws are made under hypothesis number `truth`."""
    flat, steep = [0.3, 0.3, 0.2, 0.2, 0.0], [0.6, 0.2, 0.1, 0.1, 0.0]
    wide = [0.2, 0.2, 0.2, 0.2, 0.2]
    on = list(active(told))
    hypotheses = [
        {"kind": "told", "of": "", "how": "", "order": on, "probabilities": steep},
        {"kind": "without", "of": on[-1], "how": "", "order": on[:-1], "probabilities": wide},
        {"kind": "order", "of": "", "how": "", "order": on[::-1], "probabilities": flat},
    ]
    drawn = random.Random(1).choices(range(5), hypotheses[truth]["probabilities"], k=draws)
    for one in hypotheses:
        p = one["probabilities"]
        one.update(allowed=9, outside=sum(p[b] == 0 for b in drawn))
    return {
        "kind": "setting", "prompt": prompt, "sampling": {**told}, "draws": draws, "way": "draw",
        "compared": 2, "agreed": 2, "tokens": [1, 1, 1, 1, 9], "likeliest": 4,
        "counts": [drawn.count(b) for b in range(5)], "hypotheses": hypotheses, **more,
    }  # fmt: skip


def seeds_of(repeated=12):
    return {
        "kind": "seeds", "prompt": "sea", "asked": 12, "repeated": repeated, "distinct": 9,
        "collision": 0.1,
    }  # fmt: skip


def refused(told, why):
    return {"kind": "setting", "prompt": "sea", "sampling": {**told}, "refused": why}


ENGINES = {
    "llamacpp": [seeds_of(), *(setting_of(told) for told in DEFAULT)],
    "liar": [
        seeds_of(1),
        *(
            setting_of(t, truth=int(active(t)[-1] == "min_p" and len(active(t)) == 1))
            for t in DEFAULT
        ),
    ],
    "onnx": [
        seeds_of(),
        *(
            refused(t, f"min_p: no such filter {EVIL}") if "min_p" in active(t) else setting_of(t)
            for t in DEFAULT
        ),
    ],
    "blind": [{"kind": "prompt", "prompt": "sea", "error": f"NaN logits {EVIL}"}, {"kind": EVIL}],
}


@pytest.fixture
def run(tmp_path):
    cases = [Case("m", name, "a-f32", "sampling", {}, {}) for name in (*ENGINES, "late")]
    trials = tuple(Trial(case.key, case, 0) for case in cases)
    info = RunInfo(
        id="r", bakeoff="1", created_at="2026-01-01", command=("bakeoff",), scenario_name="s",
        scenario_description="", scenario_text="", scenario_sha256="0", seed=1, plan={},
        trials=trials, artifacts=(), budgets=(), host={}, fingerprint="f", tokenizer={},
        environment={},
    )  # fmt: skip
    records = tuple(
        Record(t.id, t.case, 0, 1, "ok", "x", 1.0, observations=tuple(ENGINES[t.case.backend]))
        for t in trials
        if t.case.backend in ENGINES
    )
    return Run(tmp_path, info, records, ())


def test_the_view_has_a_verdict_for_each_parameter(run):
    found = sampling_view.build(run)
    rows = {row.backend: row for row in found.rows}
    verdicts = {name: [cell.verdict for cell in row.cells] for name, row in rows.items()}
    assert verdicts["llamacpp"] == ["honoured"] * 6
    assert verdicts["liar"][4] in ("ignored", "differs") and verdicts["liar"][5] == "ignored"
    assert verdicts["onnx"][4] == "refused"
    assert set(verdicts["blind"]) == set(verdicts["late"]) == {"untold"}
    assert "NaN" in rows["blind"].trouble and "1 observations" in rows["blind"].warning
    assert {line.said for line in rows["liar"].lines} >= {"as told", "as without min-p"}
    assert any(where.startswith("liar") for where, _ in found.sentences)


def test_every_format_shows_it_and_nothing_breaks_out(run, tmp_path):
    report = view.build(run)
    assert not report.has_tasks
    page = html.render(report)
    assert page.count("<script") == 1 and 'id="samplers"' in page and "does nothing" in page
    text = markdown.render(report)
    assert "## Samplers" in text and "<script" not in text and "\x1b" not in text
    console = Console(width=80, record=True, file=io.StringIO())
    terminal.show(run, console)
    shown = console.export_text()
    assert max(map(len, shown.splitlines())) <= 80 and "Samplers" in shown and "\x1b" not in shown
    rows = list(csv.DictReader(io.StringIO(sampling_csv.render(run))))
    assert len(rows) == 3 * len(DEFAULT)
    assert {row["status"] for row in rows} == {"as told", "not as told", "refused"}
    assert not any(value.startswith("=") for row in rows for value in row.values())
    written = reports.write(run, ["csv"], tmp_path)
    assert [path.name for path in written] == ["report.csv", "sampling.csv"]


def test_a_run_without_samplers_has_no_such_section(run, tmp_path):
    plain = replace(run, info=replace(run.info, trials=()), records=())
    assert sampling_view.build(plain) is None
    assert 'id="samplers"' not in html.render(view.build(plain))
    assert "## Samplers" not in markdown.render(view.build(plain))


def test_templates_of_the_page_are_there():
    assert (Path(html.__file__).parent / "templates" / "sampling.html.j2").is_file()
