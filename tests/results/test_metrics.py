from dataclasses import replace

import pytest

from results import metrics


def test_each_generate_metric_has_its_defined_value(make):
    samples = (
        make.sample(first_ms=9_000, gaps_ms=(900, 900), warmup=True),
        make.sample(first_ms=100, gaps_ms=(20, 30), index=1),
        make.sample(first_ms=200, gaps_ms=(40, 60), index=2),
        make.sample(first_ms=400, gaps_ms=(80, 120), index=3),
    )
    values = metrics.derive(
        make.record(make.case(), samples=samples, memory=make.memory()), make.facts(size=200)
    )
    assert values == pytest.approx(
        {
            "ttft_ms": 200,
            "prefill_tok_s": 10 / 0.2,
            "decode_tok_s": 2 / 0.1,
            "tpot_ms": 50,
            "itl_ms": 50,
            "itl_p95_ms": 110,
            "itl_p99_ms": 118,
            "e2e_ms": 305,
            "output_tokens": 3,
            "peak_rss_bytes": 900,
            "peak_pss_bytes": 400,
            "peak_memory_to_model_size": 2,
            "sampler_cpu_share": 0,
        }
    )


def test_each_load_metric_has_its_defined_value_and_gaps_between_phases_count_as_load(make):
    record = make.record(make.case(measure="load"), spans=make.spans(gap_ms=300))
    assert metrics.derive(record) == pytest.approx(
        {
            "load_s": 2.0,
            "process_s": 0.2,
            "import_s": 0.5,
            "open_s": 1.0,
            "load_first_token_ms": 100,
        }
    )


@pytest.mark.parametrize("status", ["failed", "timeout", "crashed", "unsupported"])
def test_a_record_that_is_not_ok_gives_no_metric_though_it_has_samples(make, status):
    record = make.record(make.case(), status=status, memory=make.memory())
    assert metrics.derive(record, make.facts()) == {}
    assert metrics.counted(record) == ()


def test_a_trial_of_warmups_only_gives_no_timing(make):
    record = make.record(make.case(), samples=(make.sample(warmup=True),))
    assert metrics.derive(record) == {}


def test_a_load_trial_does_not_take_its_first_token_from_a_warmup(make):
    samples = (make.sample(first_ms=1, warmup=True), make.sample(first_ms=7, index=1))
    values = metrics.derive(make.record(make.case(measure="load"), samples=samples))
    assert values["load_first_token_ms"] == pytest.approx(7)


def test_one_token_gives_no_decode_metric_and_none_gives_no_ttft(make):
    one = metrics.derive(make.record(make.case(), samples=(make.sample(gaps_ms=()),)))
    assert set(one) == {"ttft_ms", "prefill_tok_s", "e2e_ms", "output_tokens"}
    none = replace(make.sample(), token_ns=(), token_ids=())
    assert set(metrics.derive(make.record(make.case(), samples=(none,)))) == {
        "e2e_ms",
        "output_tokens",
    }


def test_tokens_at_one_instant_are_no_infinite_speed(make):
    values = metrics.derive(make.record(make.case(), samples=(make.sample(gaps_ms=(0, 0)),)))
    assert "decode_tok_s" not in values
    assert "tpot_ms" not in values


def test_ttft_on_a_reused_prefix_is_another_metric_and_prefill_speed_is_none(make):
    case = make.case(reuse_prefix=True)
    values = metrics.derive(make.record(case))
    assert values["ttft_reused_prefix_ms"] == pytest.approx(100)
    assert not {"ttft_ms", "prefill_tok_s"} & set(values)
    assert not {"ttft_ms", "prefill_tok_s"} & {m.name for m in metrics.applicable(case)}
    assert "ttft_reused_prefix_ms" not in {m.name for m in metrics.applicable(make.case())}


def test_without_a_high_water_mark_the_largest_point_is_the_peak_rss(make):
    values = metrics.derive(make.record(make.case(), memory=make.memory(rss=None)))
    assert values["peak_rss_bytes"] == 702


def test_without_pss_the_memory_ratio_takes_rss(make):
    memory = make.memory(rss=900, pss=(None, None))
    values = metrics.derive(make.record(make.case(), memory=memory), make.facts(size=300))
    assert values["peak_memory_to_model_size"] == 3
    assert "peak_pss_bytes" not in values


def test_an_artifact_without_size_gives_no_ratio(make):
    record = make.record(make.case(), memory=make.memory())
    assert "peak_memory_to_model_size" not in metrics.derive(record, make.facts(size=0))
    assert "peak_memory_to_model_size" not in metrics.derive(record, None)


def test_every_metric_says_what_it_means():
    for name, metric in metrics.METRICS.items():
        assert metric.name == name
        assert metric.definition.endswith((".", ".)")) and metric.formula, name
        directionless = ("output_tokens", "peak_file_backed_bytes", "sampler_cpu_share")
        assert (metric.better is None) == (name in directionless)


@pytest.mark.parametrize("count", [1, 2, 3, 20, 101, 707])
def test_percentiles_are_numpys_own_to_the_last_digit(count):
    import numpy as np

    for seed in range(50):
        values = np.random.default_rng(seed).lognormal(2, 0.3, count)
        wanted = np.percentile(values, (50, 95, 99), method=metrics.PERCENTILE_METHOD)
        assert metrics._percentiles(values, (50, 95, 99)) == wanted.tolist()
    assert metrics._percentiles(np.empty(0), (50,)) == [None]
