import pytest

from results import claims
from results.summary import summarise


def _check(make, *samples, **parameters):
    record = make.record(make.case(**parameters), samples=samples)
    return {c.name: c for c in claims.check(summarise(make.run([record]))[0])}


def _sample(make, index=0, warmup=False, **said):
    """100 ms to the first token, then gaps of 20 and 30 ms, for a prompt of 10."""
    return make.sample(index=index, warmup=warmup, claims=said)


def test_a_claim_within_five_percent_agrees_and_one_beyond_does_not(make):
    good = _check(make, _sample(make, prefill_ms=96.0, decode_ms=49.0, decode_tokens=2.0))
    assert [c.agrees for c in good.values()] == [True, True]
    assert good["decode_ms per token"].claimed == 24.5
    assert good["decode_ms per token"].observed == pytest.approx(25)
    bad = _check(make, _sample(make, prefill_ms=80.0))["prefill_ms"]
    assert not bad.agrees and bad.off == pytest.approx(0.25)


def test_a_token_count_must_be_exact(make):
    found = _check(make, _sample(make, prefill_tokens=9.0))["prefill_tokens"]
    assert (found.claimed, found.observed, found.agrees) == (9, 10, False)
    assert _check(make, _sample(make, prefill_tokens=10.0))["prefill_tokens"].agrees


def test_fewer_tokens_are_no_disagreement_where_the_prefix_is_reused(make):
    assert _check(make, _sample(make, prefill_tokens=1.0), reuse_prefix=True) == {}


def test_medians_are_compared_over_all_requests_but_warmups(make):
    samples = [_sample(make, i, prefill_ms=ms) for i, ms in enumerate((99.0, 100.0, 10.0))]
    found = _check(make, _sample(make, 9, warmup=True, prefill_ms=1.0), *samples)["prefill_ms"]
    assert (found.claimed, found.requests, found.agrees) == (99.0, 3, True)


def test_a_claim_of_nothing_is_not_compared(make):
    assert _check(make, _sample(make, prefill_ms=0.0, decode_ms=5.0, decode_tokens=0.0)) == {}
