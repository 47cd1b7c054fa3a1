from dataclasses import replace

import pytest

from results import memory, metrics
from results.records import Memory, MemoryPoint, Span

MS = 1_000_000


def _record(make, *points, samples=None, spans=None):
    if spans is None:
        spans = (*make.spans(), Span("close", 5_000 * MS, 5_100 * MS))
    found = tuple(
        MemoryPoint(at * MS, pss, pss, anonymous=pss - 10, file_backed=10, swap=3)
        for at, pss in points
    )
    # submitted at 1000 ms: first token at 1100, last at 1150, done at 1155
    shifted = samples or (_late(make.sample()),)
    return make.record(make.case(), samples=shifted, spans=spans, memory=Memory(0.05, 0.02, found))


def _late(sample, by_ms=1_000):
    by = by_ms * MS
    return replace(
        sample,
        submitted_ns=sample.submitted_ns + by,
        token_ns=tuple(at + by for at in sample.token_ns),
        done_ns=sample.done_ns + by,
    )


def test_each_phase_has_its_own_peak(make):
    record = _record(
        make, (100, 999), (300, 50), (1_500, 70), (1_701, 75), (2_050, 90), (2_120, 95), (2_400, 96),
        (5_050, 500),
    )  # fmt: skip
    found = metrics.derive(record)
    assert found["peak_load_pss_bytes"] == 75, "the reading just after the span counts as load"
    assert found["peak_prefill_pss_bytes"] == 90
    assert found["peak_decode_pss_bytes"] == 96, "and the one after the last request as decode"
    assert found["peak_pss_bytes"] == 999


def test_a_phase_without_a_reading_has_no_peak(make):
    found = metrics.derive(_record(make, (300, 50)))
    assert "peak_prefill_pss_bytes" not in found and "peak_decode_pss_bytes" not in found
    assert "peak_load_pss_bytes" not in metrics.derive(_record(make, (300, 50), spans=()))


def test_a_warmup_is_no_phase(make):
    warm = replace(_late(make.sample()), warmup=True)
    cold = _late(make.sample(index=1), 2_000)
    record = _record(make, (2_050, 90), (2_120, 95), (3_050, 60), samples=(warm, cold))
    found = metrics.derive(record)
    assert found["peak_prefill_pss_bytes"] == 60 and "peak_decode_pss_bytes" not in found


def test_what_the_peak_is_made_of_adds_up(make):
    record = _record(make, (300, 50), (2_050, 90))
    point = memory.at_pss_peak(record.memory)
    assert point.anonymous + point.file_backed == point.pss == 90
    found = metrics.derive(record)
    assert (found["peak_anonymous_bytes"], found["peak_file_backed_bytes"]) == (80, 10)
    assert found["peak_swap_bytes"] == 3
    assert memory.at_pss_peak(None) is None and memory.at_pss_peak(Memory(1, 0)) is None


def test_the_samplers_cost_is_a_share_of_the_trial(make):
    assert metrics.derive(_record(make, (1, 1)))["sampler_cpu_share"] == pytest.approx(0.02)


def test_a_server_that_ran_already_has_no_memory_of_ours(make):
    record = _record(make, (300, 50))
    at = replace(record, case=replace(record.case, settings={"options": {"url": "http://h/v1"}}))
    started = replace(record, case=replace(record.case, settings={"options": {"server": "vllm"}}))
    assert not [name for name in metrics.derive(at) if name.startswith("peak_")]
    assert metrics.derive(started)["peak_pss_bytes"] == 50


def test_a_reading_of_nothing_is_no_peak(make):
    assert not {"peak_pss_bytes", "peak_rss_bytes"} & metrics.derive(_record(make, (300, 0))).keys()


@pytest.mark.parametrize(
    ("cases", "expected"),
    [
        ([{"peak_pss_bytes", "peak_rss_bytes"}, {"decode_tok_s"}], "peak_pss_bytes"),
        ([{"peak_pss_bytes", "peak_rss_bytes"}, {"peak_rss_bytes"}], "peak_rss_bytes"),
        ([set()], "peak_pss_bytes"),
    ],
)
def test_cases_side_by_side_have_one_metric_of_peak_memory(cases, expected):
    assert memory.peak_metric(cases) == expected
