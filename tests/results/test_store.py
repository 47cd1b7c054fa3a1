import json
from dataclasses import replace

import pytest

from results import store
from results.encoding import MalformedRecord, record_from_json, to_json
from results.records import Engine, Prompt
from results.store import Store, StoreError


@pytest.fixture
def run(make):
    return make.run(
        [
            make.record(
                make.case(), r, engine=Engine("1", {"b": "x"}, ("cpu",)), memory=make.memory(),
                spans=make.spans(), conditions={"threads": 2}, log_tail="line\n\udc80",
            )
            for r in range(3)
        ],
        facts=[make.facts()],
        prompts=[Prompt("p", (1, 2), "a\u2028b")],
    )  # fmt: skip


@pytest.fixture
def folder(run, tmp_path):
    written = Store.create(tmp_path / "r", run.info, run.prompts)
    for record in run.records:
        written.append(record)
    return tmp_path / "r"


def _lines(folder):
    return (folder / "records.jsonl").read_text().splitlines(keepends=True)


def _put(folder, lines):
    (folder / "records.jsonl").write_text("".join(lines))


def test_what_is_written_is_read_back_equal(run, folder):
    found = store.read(folder)
    assert (found.info, found.records, found.prompts) == (run.info, run.records, run.prompts)
    assert found.caveats == () and found.missing == ()


def test_an_unfinished_last_line_costs_that_trial_only(run, folder):
    lines = _lines(folder)
    _put(folder, [*lines[:2], lines[2][:40]])
    found = store.read(folder)
    assert found.records == run.records[:2] and found.missing == (run.records[2].trial,)
    assert any("unfinished line" in caveat for caveat in found.caveats)


def test_a_damaged_but_ended_last_line_costs_that_trial_only(run, folder):
    lines = _lines(folder)
    _put(folder, [*lines[:2], lines[2][:40] + "\n"])
    found = store.read(folder)
    assert found.records == run.records[:2]
    assert any(caveat.startswith("records.jsonl:3 is damaged") for caveat in found.caveats)


@pytest.mark.parametrize("damage", ["{", '{"schema": 1}', "null", "\x00\x00"])
def test_a_damaged_middle_line_is_an_error_that_names_the_line(folder, damage):
    lines = _lines(folder)
    _put(folder, [lines[0], damage + "\n", lines[2]])
    with pytest.raises(StoreError, match=r"records\.jsonl:2: "):
        store.read(folder)


def test_repair_drops_the_unfinished_line_so_that_the_next_record_stands_alone(run, folder):
    lines = _lines(folder)
    _put(folder, [*lines[:2], lines[2][:40]])
    opened = Store(folder)
    opened.repair()
    opened.append(run.records[2])
    assert store.read(folder).records == run.records


def test_of_two_records_of_one_trial_the_first_counts(run, folder):
    again = replace(run.records[0], status="failed", reason="again")
    Store(folder).append(again)
    found = store.read(folder)
    assert found.records == run.records
    assert any("twice; the first one counts" in caveat for caveat in found.caveats)


def test_a_record_that_was_never_planned_is_left_out_and_said(run, folder):
    Store(folder).append(replace(run.records[0], trial="stranger"))
    found = store.read(folder)
    assert found.records == run.records
    assert any("stranger" in caveat and "never planned" in caveat for caveat in found.caveats)


def test_a_folder_without_run_json_is_not_a_run(tmp_path):
    with pytest.raises(StoreError, match=r"not a run folder: it has no run\.json"):
        store.read(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"schema": 99}'])
def test_a_broken_run_json_is_an_error_that_names_the_file(folder, text):
    (folder / "run.json").write_text(text)
    with pytest.raises(StoreError, match=r"run\.json"):
        store.read(folder)


def test_missing_records_are_a_caveat(folder):
    (folder / "records.jsonl").unlink()
    found = store.read(folder)
    assert found.records == () and found.caveats == ("records.jsonl is missing",)


def test_attempts_count_starts_less_those_given_up(folder):
    opened = Store(folder)
    opened.start("t", 0)
    opened.start("t", 1)
    opened.give_up("t")
    opened.start("u", 0)
    assert opened.attempts() == {"t": 1, "u": 1}


def test_create_refuses_a_folder_that_exists(run, folder):
    with pytest.raises(FileExistsError):
        Store.create(folder, run.info, ())


def test_nan_is_refused_when_written(run):
    with pytest.raises(ValueError):
        to_json(replace(run.records[0], wall_s=float("nan")))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("schema", 2, "schema 2"),
        ("status", "fine", "status: .*'fine'"),
        ("case", {}, "not a record"),
    ],
)
def test_a_record_of_another_shape_is_refused_with_its_reason(run, field, value, message):
    data = {**json.loads(to_json(run.records[0])), field: value}
    with pytest.raises(MalformedRecord, match=message):
        record_from_json(json.dumps(data))


def test_tokens_without_time_stamps_are_refused(run):
    data = json.loads(to_json(run.records[0]))
    data["samples"][0]["token_ns"].pop()
    with pytest.raises(MalformedRecord, match="time stamps"):
        record_from_json(json.dumps(data))
