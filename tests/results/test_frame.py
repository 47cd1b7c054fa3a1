import pandas as pd
import pytest

import results
from results import frame
from results.records import Engine, Prompt
from results.store import Store


@pytest.fixture
def run(make):
    samples = (
        make.sample(index=0, warmup=True),
        make.sample(index=1),
        make.sample(index=2, gaps_ms=()),
    )
    records = [
        make.record(make.case(), 0, samples=samples, engine=Engine("1.2"), memory=make.memory()),
        make.record(make.case("b", "b-f32"), 0, "crashed", samples=(), reason="gone"),
        make.record(
            make.case("c", "a-f32", reuse_prefix=True), 0, samples=(make.sample(prompt="?"),)
        ),
    ]
    return make.run(records, facts=[make.facts()], prompts=[Prompt("p", (7, 8), "text")])


def test_load_reads_a_folder_into_one_row_per_sample(run, tmp_path):
    store = Store.create(tmp_path / "r", run.info, run.prompts)
    for record in run.records:
        store.append(record)
    data = results.load(tmp_path / "r")
    assert len(data) == 3 + 1 + 1
    assert list(data.backend) == ["a", "a", "a", "b", "c"]
    pd.testing.assert_frame_equal(data, frame.of(run))


def test_a_row_has_trial_parameters_and_sample(run):
    row = frame.of(run).iloc[1]
    assert row.run == "run-1" and row.engine_version == "1.2" and row.weights == "w"
    assert (row.temperature, row.top_k, row.prompt_tokens, row.output_tokens) == (0.0, 0, 10, 3)
    assert (row["sample"], row.warmup, row.prompt_digest) == (1, False, "p")
    assert (row.prompt_ids, row.output_ids) == ([7, 8], [0, 1, 2])
    assert (row.sent_tokens, row.received_tokens) == (10, 3)
    assert row.ttft_ms == pytest.approx(100) and row.decode_tok_s == pytest.approx(40)
    assert row.peak_pss_bytes == 400 and row.peak_memory_to_model_size == 2


def test_a_record_without_samples_is_a_row_with_sample_columns_missing(run):
    row = frame.of(run).iloc[3]
    assert (row.status, row.reason) == ("crashed", "gone")
    assert all(pd.isna(row[name]) for name in frame.SAMPLE_COLUMNS)


def test_one_token_gives_no_decode_speed_and_warmups_are_marked(run):
    data = frame.of(run)
    assert list(data.warmup[:3]) == [True, False, False]
    assert pd.isna(data.decode_tok_s[2]) and data.ttft_ms[2] == pytest.approx(100)
    assert len(data.query("status == 'ok' and not warmup")) == 3


def test_a_reused_prefix_has_a_column_of_its_own_and_an_unknown_prompt_no_ids(run):
    row = frame.of(run).iloc[4]
    assert pd.isna(row.ttft_ms) and pd.isna(row.prefill_tok_s)
    assert row.ttft_reused_prefix_ms == pytest.approx(100)
    assert row.prompt_ids is None


def test_a_parameter_never_overwrites_a_column(make):
    data = frame.of(make.run([make.record(make.case(status="mine"))]))
    assert list(data.status) == ["ok"] and list(data.parameter_status) == ["mine"]


def test_an_empty_run_gives_an_empty_frame_with_the_columns(make):
    data = frame.of(make.run([]))
    assert len(data) == 0 and set(frame.TRIAL_COLUMNS + frame.SAMPLE_COLUMNS) <= set(data.columns)


def test_sizes_and_columns_hold_for_many_samples(make):
    samples = tuple(make.sample(index=i) for i in range(200))
    data = frame.of(make.run([make.record(make.case(), r, samples=samples) for r in range(50)]))
    assert len(data) == 10_000 and data.repetition.iloc[-1] == 49
    assert data.ttft_ms.dtype == "float64" and data["sample"].dtype == "Int64"
