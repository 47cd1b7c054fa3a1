"""Run folders that are damaged, edited by hand or made to harm: a clear error, or a caveat."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import reports
from results import encoding, store
from results.store import Store, StoreError

BAKEOFF = Path(sys.executable).parent / "bakeoff"
PAIR = "\\ud83d"  # half a surrogate pair, as JSON escapes it


@pytest.fixture
def folder(make, tmp_path):
    case = make.case()
    records = [
        make.record(case, r, memory=make.memory(), spans=make.spans(), conditions={"threads": 2})
        for r in range(3)
    ]
    run = make.run(records, facts=[make.facts()])
    written = Store.create(tmp_path / "r", run.info, ())
    for record in run.records:
        written.append(record)
    return tmp_path / "r"


def _change(folder: Path, at: tuple, value: object, line: int = 1) -> None:
    """Put a value at a place in one line of records.jsonl; at () the whole line."""
    path = folder / "records.jsonl"
    lines = path.read_text().splitlines()
    lines[line] = json.dumps(_put(json.loads(lines[line]), at, value)) if at else str(value)
    path.write_text("\n".join(lines) + "\n")


def _put(data, at, value):
    if not at:
        return value
    data[at[0]] = _put(data[at[0]] if at[1:] else None, at[1:], value)
    return data


def _report(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BAKEOFF, "report", folder], capture_output=True, text=True, check=False, timeout=120
    )


DAMAGED = {
    "a word for a number": (("wall_s",), "long", r"wall_s: Expected `float`, got `str`"),
    "a word for a time": (("samples", 0, "done_ns"), "late", r"samples: .*done_ns|\$\[0\]\.done_ns"),
    "a fraction of a nanosecond": (("samples", 0, "token_ns", 1), 0.5, r"\$\[0\]\.token_ns\[1\]"),
    "a time beyond 64 bits": (("samples", 0, "done_ns"), 10**30, "too large|64 bits"),
    "memory beyond 64 bits": (("memory", "peak_rss"), 10**400, "memory"),
    "more times than tokens": (("samples", 0, "token_ns"), [1, 2, 3, 4], "time stamps"),
    "an unknown field": (("colour",), "red", "unknown field 'colour'"),
    "an unknown field of a sample": (("samples", 0, "colour"), "red", "colour"),
    "a later schema": (("schema",), 2, "schema 2; this version of bakeoff reads 1"),
    "no schema": (("schema",), None, "schema None"),
    "a list for a mapping": (("conditions",), [], "conditions: Expected `object`, got `array`"),
    "an unknown status": (("status",), "fine", "status: .*'fine'"),
    "a check that is neither": (("checks",), [{"name": "a", "passed": 1, "detail": ""}], "checks"),
    "no object": ((), "[]", "not a record"),
    "NaN": ((), '{"wall_s": NaN}', "NaN is not JSON|malformed"),
    "nothing": ((), "", "not a record"),
    "binary": ((), "\x00\x01", "not a record"),
    "deep nesting": ((), "[" * 100_000 + "]" * 100_000, "not a record"),
    "deep nesting inside": (("conditions",), json.loads("[" * 90 + "]" * 90), "conditions"),
}  # fmt: skip


@pytest.mark.parametrize("fault", DAMAGED)
def test_a_damaged_line_in_the_middle_is_an_error_that_names_it(folder, fault):
    at, value, message = DAMAGED[fault]
    _change(folder, at, value)
    with pytest.raises(StoreError, match=r"records\.jsonl:2: ") as caught:
        store.read(folder)
    assert re.search(message, str(caught.value))
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize("fault", DAMAGED)
def test_the_same_damage_in_the_last_line_costs_that_trial_only(folder, fault):
    at, value, _ = DAMAGED[fault]
    _change(folder, at, value, line=2)
    run = store.read(folder)
    assert len(run.records) == 2 and len(run.missing) == 1
    assert any(caveat.startswith("records.jsonl:3 is damaged") for caveat in run.caveats)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "Infinity", "NaN"])
def test_what_is_no_number_is_refused_wherever_it_stands(folder, number):
    path = folder / "records.jsonl"
    path.write_text(path.read_text().replace('"threads":2}', f'"threads":{number}}}'))
    with pytest.raises(StoreError, match=r"records\.jsonl:1: "):
        store.read(folder)


def test_half_a_surrogate_pair_is_text_and_does_not_open_a_way_around_the_checks(folder):
    path = folder / "records.jsonl"
    lines = path.read_text().splitlines()
    lines = [line.replace('"log_tail":""', f'"log_tail":"{PAIR}"') for line in lines]
    path.write_text("\n".join(lines) + "\n")
    assert [record.log_tail for record in store.read(folder).records] == ["\ud83d"] * 3
    for old, new in (('"threads":2}', '"threads":NaN}'), ('"threads":2}', '"threads":1e999}'),
                     ('"wall_s":1.0', '"wall_s":"long"'), ('"schema":1', '"schema":7')):  # fmt: skip
        path.write_text("\n".join([lines[0].replace(old, new), *lines[1:]]) + "\n")
        with pytest.raises(StoreError, match=r"records\.jsonl:1: "):
            store.read(folder)


def test_a_record_under_another_case_than_planned_is_left_out_and_said(folder):
    _change(folder, ("case", "backend"), "another")
    run = store.read(folder)
    assert len(run.records) == 2
    assert any("another case than run.json planned" in caveat for caveat in run.caveats)


def test_a_longer_line_than_is_ever_written_is_not_read_into_memory(folder, monkeypatch):
    monkeypatch.setattr(store, "MAX_LINE", 100)
    with pytest.raises(StoreError, match=r"records\.jsonl:1: the line is longer than 100 bytes"):
        store.read(folder)


def test_a_longer_description_than_is_ever_written_is_not_read_into_memory(folder, monkeypatch):
    monkeypatch.setattr(store, "MAX_DESCRIPTION", 100)
    with pytest.raises(StoreError, match=r"run\.json: .* at most 100 are read"):
        store.read(folder)


@pytest.mark.parametrize("name", ["run.json", "records.jsonl", "prompts.jsonl"])
def test_a_folder_where_a_file_belongs_is_an_error(folder, name):
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(StoreError, match="not a"):
        store.read(folder)


def test_a_run_of_an_earlier_version_is_read(folder):
    """Such records lack the fields that came later, and their cases have no arm."""
    path, described = folder / "records.jsonl", folder / "run.json"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        for name in ("renderings", "scores", "observations"):
            del line[name]
        del line["case"]["arm"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    info = json.loads(described.read_text())
    for name in ("engines", "conversations", "items"):
        del info[name]
    for trial in info["trials"]:
        del trial["case"]["arm"]
    described.write_text(json.dumps(info))
    run = store.read(folder)
    assert len(run.records) == 3 and run.caveats == ()
    assert [r.case.key for r in run.records] == [t.case.key for t in run.info.trials]


@pytest.mark.parametrize("name", ["samples", "memory", "status", "checks"])
def test_a_field_that_was_always_written_must_be_there(folder, name):
    path = folder / "records.jsonl"
    lines = path.read_text().splitlines()
    data = json.loads(lines[0])
    del data[name]
    path.write_text("\n".join([json.dumps(data), *lines[1:]]) + "\n")
    with pytest.raises(StoreError, match=f"field '{name}' is missing"):
        store.read(folder)


@pytest.mark.parametrize("change", [
    lambda info: info.update(trials=[]),
    lambda info: info.update(host={}, plan={}, fingerprint=""),
    lambda info: info.update(budgets=[{"metric": "nobody_knows", "max": 1.0, "min": None}]),
])  # fmt: skip
def test_a_run_that_holds_next_to_nothing_still_gives_every_report(folder, change, tmp_path):
    described = folder / "run.json"
    info = json.loads(described.read_text())
    change(info)
    described.write_text(json.dumps(info))
    run = store.read(folder)
    assert reports.write(run, ("html", "csv", "md", "comparisons", "samples"), tmp_path / "out")


def test_a_run_whose_records_are_all_empty_still_gives_every_report(folder, tmp_path):
    (folder / "records.jsonl").write_text("")
    run = store.read(folder)
    assert len(run.missing) == 3
    assert reports.write(run, ("html", "csv", "md", "comparisons", "samples"), tmp_path / "out")


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_times_that_stand_still_or_run_backwards_give_no_speed_and_no_traceback(
    folder, value, tmp_path
):
    for line in range(3):
        _change(folder, ("wall_s",), value, line)
        _change(folder, ("samples", 0, "done_ns"), 0, line)
        _change(folder, ("samples", 0, "token_ns"), [5, 4, 3], line)
    run = store.read(folder)
    assert reports.write(run, ("html", "csv", "md", "samples"), tmp_path / "out")


DESCRIPTIONS = {
    "not JSON": ('{"schema": 1,\n "id": }', r"run\.json:2: "),
    "deep": ("[" * 100_000, r"run\.json"),
    "a number for trials": ('"trials": 5', r"trials: Expected `array`, got `int`"),
    "a word for the seed": ('"seed": "lucky"', r"seed: Expected `int`, got `str`"),
    "a NaN in the plan": ('"plan": {"x": NaN}', r"run\.json"),
}


@pytest.mark.parametrize("fault", DESCRIPTIONS)
def test_a_broken_description_ends_the_command_with_its_place_and_no_traceback(folder, fault):
    text, message = DESCRIPTIONS[fault]
    if not text.startswith(("{", "[")):
        info = json.loads((folder / "run.json").read_text())
        name, _, value = text.partition(": ")
        del info[json.loads(name)]
        text = json.dumps(info)[:-1] + f", {name}: {value}}}"
    (folder / "run.json").write_text(text)
    result = _report(folder)
    assert result.returncode == 2 and "Traceback" not in result.stderr, result.stderr
    assert "run.json" in result.stderr and re.search(message, result.stderr.replace("\n", " "))
    assert len(result.stderr) < 1_000


def test_a_damaged_record_ends_the_command_with_file_and_line(folder):
    _change(folder, ("wall_s",), "long")
    result = _report(folder)
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert "records.jsonl:2: not a record: wall_s" in result.stderr
    assert not (folder / "report.html").exists()


def test_a_damaged_last_line_is_reported_on_with_a_caveat(folder):
    path = folder / "records.jsonl"
    path.write_text(path.read_text()[:-40])
    result = _report(folder)
    assert result.returncode == 0, result.stderr
    assert "unfinished line" in result.stdout.replace("\n", " ")
    assert (folder / "report.html").exists()


def test_what_is_read_can_be_written_and_is_the_same_again(folder):
    for record in store.read(folder).records:
        assert encoding.record_from_json(encoding.to_json(record)) == record
