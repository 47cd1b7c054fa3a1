import math
from dataclasses import replace

import pytest

from results import samples, timings
from results.encoding import record_from_json, to_json
from results.samples import Samples


@pytest.fixture
def several(make):
    return (
        make.sample(first_ms=9, gaps_ms=(9,), warmup=True),
        make.sample(first_ms=100, gaps_ms=(20, 30), index=1, claims={"prefill_ms": 90.0}),
        replace(make.sample(index=2, claims={"decode_ms": 5.0}), token_ns=(), token_ids=()),
        make.sample(first_ms=200, gaps_ms=(), index=3, prompt="q"),
    )


def test_columns_are_equal_to_the_samples_they_were_made_of(several):
    columns = Samples(several)
    assert columns == several and several == columns and tuple(columns) == several
    assert len(columns) == 4 and columns[1] == several[1] and columns[-1] == several[-1]
    assert columns[1:3] == several[1:3]
    assert columns != several[:3] and columns != (*several[:3], replace(several[3], prompt="r"))
    assert Samples(()) == () and Samples(several[:1]) != ()
    assert Samples(tuple(columns)) == columns


def test_what_comes_out_is_plain_python_that_json_can_hold(several, make):
    record = make.record(make.case(), samples=Samples(several))
    assert record_from_json(to_json(record)) == record
    sample = Samples(several)[1]
    kinds = {type(value) for value in vars(sample).values()}
    assert kinds == {int, bool, str, tuple, dict}


def test_a_claim_that_is_not_made_is_none_at_all(several):
    assert [sample.claims for sample in Samples(several)] == [s.claims for s in several]
    assert [v == v for v in Samples(several).claimed("prefill_ms")] == [False, True, False, False]
    assert not any(v == v for v in Samples(several).claimed("nobody's"))


def test_gaps_are_inside_of_requests_and_not_of_warmups(several):
    assert Samples(several).gaps_ns().tolist() == [20_000_000, 30_000_000]


def test_a_request_without_the_tokens_for_a_time_has_none(several):
    columns = Samples(several)
    assert _known(timings.ttft_ms(columns)) == pytest.approx([9, 100, None, 200])
    assert _known(timings.tpot_ms(columns)) == pytest.approx([9, 25, None, None])
    assert _known(timings.decode_tok_s(columns)) == pytest.approx([1000 / 9, 40, None, None])
    assert _known(timings.prefill_tok_s(columns)) == pytest.approx([10 / 0.009, 100, None, 50])


def _known(values):
    return [None if math.isnan(v) else v for v in values.tolist()]


def test_a_record_that_was_just_made_is_read_like_one_from_disk(several, make):
    made = make.record(make.case(), samples=several)
    read = record_from_json(to_json(made))
    assert isinstance(read.samples, Samples) and samples.of(read) is read.samples
    assert samples.of(made) == read.samples


def test_a_record_without_samples_is_read_back_equal(make):
    audit = make.audit(make.case())
    assert record_from_json(to_json(audit)) == audit
