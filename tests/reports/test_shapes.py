"""Runs of every size and age: each format of each is made, and says what there is."""

import csv
import io
import json
import re

import made_runs
import pytest
from rich.console import Console

import reports
from reports import terminal
from results import store
from results.encoding import _ADDED_LATER
from results.store import Run, Store

SHAPES = {
    "one case": made_runs.one_case,
    "two cases": made_runs.two_cases,
    "forty cases": made_runs.forty_cases,
    "failures only": made_runs.failures,
    "every measure": made_runs.everything,
}


def _shown(run) -> str:
    file = io.StringIO()
    terminal.show(run, Console(file=file, width=80, force_terminal=False))
    return file.getvalue()


@pytest.mark.parametrize("shape", SHAPES)
def test_every_format_of_every_shape_is_made_and_names_every_case(shape, tmp_path):
    run = SHAPES[shape]()
    texts = {path.name: path.read_text() for path in reports.write(run, reports.FILES, tmp_path)}
    assert set(texts) == set(reports.FILES.values())
    shown = _shown(run)
    assert max(map(len, shown.splitlines())) <= 80
    rows = list(csv.DictReader(io.StringIO(texts["report.csv"], newline="")))
    timed = [t.case for t in run.info.trials if t.case.measure in ("load", "generate")]
    assert {row["backend"] for row in rows} == {case.backend for case in timed}
    plain = " ".join(shown.split())
    for case in timed:
        for text in (texts["report.html"], texts["report.md"], texts["report.json"], plain):
            assert case.backend in text, (shape, case.backend)


def test_failures_only_are_told_with_what_to_do_and_nothing_is_called_fast(tmp_path):
    run = made_runs.failures()
    texts = {path.name: path.read_text() for path in reports.write(run, reports.FILES, tmp_path)}
    for text in (texts["report.html"], texts["report.json"], " ".join(_shown(run).split())):
        assert "pip install mlx-lm" in text and "SIGSEGV" in text
        assert not re.search("(?<!which )has the (highest|lowest|shortest)", text)


@pytest.fixture
def old(tmp_path) -> Run:
    """A run folder as a version wrote it that had none of the fields which came later."""
    run = made_runs.speed()
    made = Store.create(tmp_path / "old", run.info, run.prompts)
    for record in run.records:
        made.append(record)
    for name in ("run.json", "records.jsonl"):
        path = tmp_path / "old" / name
        text = path.read_text()
        parts = [text] if name == "run.json" else text.splitlines()
        kept = [
            {k: v for k, v in json.loads(part).items() if k not in _ADDED_LATER} for part in parts
        ]
        assert all(_ADDED_LATER & json.loads(part).keys() for part in parts)
        path.write_text("".join(json.dumps(one) + "\n" for one in kept))
    return store.read(tmp_path / "old")


def test_a_run_of_an_old_version_reads_as_it_did(old, tmp_path):
    today = reports.write(made_runs.speed(), reports.FILES, tmp_path / "today")
    again = reports.write(old, reports.FILES, tmp_path / "again")
    for first, second in zip(today, again, strict=True):
        assert first.read_text() == second.read_text(), first.name
    assert _shown(old) == _shown(made_runs.speed())


@pytest.mark.parametrize("name", ["quality.csv", "sampling.csv", "fidelity.csv", "answers.csv"])
def test_golden_of_the_other_tables(name, golden, tmp_path):
    formats = [kind for kind, file in reports.FILES.items() if file == name]
    (path,) = reports.write(made_runs.everything(), formats, tmp_path)
    golden(name, path.read_bytes().decode())


def test_golden_of_a_report_with_every_measure(golden, tmp_path):
    (path,) = reports.write(made_runs.everything(), ("md",), tmp_path)
    golden("everything.md", path.read_bytes().decode())
