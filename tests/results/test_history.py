import math
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from statistics import mean, stdev

import pytest

from results import history
from results.records import Engine
from results.store import Store, StoreError


@pytest.fixture
def nightly(make, tmp_path):
    """`nightly(day, {("a", arm): pace})`: a run folder of that day, tokens coming `pace` × 20 ms apart."""

    def write(day, paces, fingerprint="f", checks=None, version="1.0", run=None):
        records = []
        for (backend, arm), pace in paces.items():
            case = replace(make.case(backend, f"{backend}-f32"), arm=arm)
            sample = make.sample(first_ms=100 * pace, gaps_ms=(20 * pace, 20 * pace))
            records += [
                make.record(case, r, samples=(sample,), engine=Engine(version)) for r in range(2)
            ]
            if checks:
                records.append(make.audit(case, **checks))
        built = make.run(records)
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)
        info = replace(
            built.info, id=run or f"run-{day}", created_at=at.isoformat(), fingerprint=fingerprint
        )
        folder = tmp_path / "runs" / f"{99 - day:03}-{fingerprint}-{run}"
        store = Store.create(folder, info, ())
        for record in built.records:
            store.append(record)
        return folder

    return write


def _noise(n, at=0.01, seed=1):
    noise = random.Random(seed)
    return [100 * noise.lognormvariate(0, at) for _ in range(n)]


def _one(found, **wanted):
    (series,) = [
        s for s in found.series
        if all(getattr(s.case, k, None) == v for k, v in wanted.items())
        and s.metric.name == "decode_tok_s" and s.base is None
    ]  # fmt: skip
    return series


def test_each_run_gives_one_value_per_case_and_metric_in_order_of_time(nightly, tmp_path):
    for day in (2, 0, 1):
        nightly(day, {("a", ""): 1 + day, ("b", ""): 1})
    found = history.collect([tmp_path / "runs"])
    assert found.runs == 3 and found.caveats == ()
    assert {s.metric.name for s in found.series} == {"decode_tok_s", "ttft_ms"}
    points = _one(found, backend="a").points
    assert [p.run for p in points] == ["run-0", "run-1", "run-2"]
    assert [p.value for p in points] == pytest.approx([50, 25, 50 / 3])
    assert points[0].trials == 2 and points[0].version == "1.0"


def test_other_machines_are_other_series(nightly, tmp_path):
    for day in range(4):
        nightly(day, {("a", ""): 1}, fingerprint="fg"[day % 2])
    found = history.collect([tmp_path / "runs"])
    assert {s.fingerprint: len(s.points) for s in found.series} == {"f": 2, "g": 2}


def test_a_run_can_be_named_itself_and_counts_once(nightly, tmp_path):
    folder = nightly(0, {("a", ""): 1})
    nightly(1, {("a", ""): 1})
    nightly(2, {("a", ""): 1}, run="run-1")
    found = history.collect([folder, tmp_path / "runs"])
    assert found.runs == 2 and len(_one(found, backend="a").points) == 2
    assert len([c for c in found.caveats if "it is the run that" in c]) == 2


def test_only_the_metrics_that_were_asked_for(nightly, tmp_path):
    nightly(0, {("a", ""): 1})
    found = history.collect([tmp_path / "runs"], ["e2e_ms"])
    assert [s.metric.name for s in found.series] == ["e2e_ms"]


def test_a_run_that_cannot_be_read_is_left_out_and_said(nightly, tmp_path):
    nightly(0, {("a", ""): 1})
    (nightly(1, {("a", ""): 1}) / "run.json").write_text("{")
    undated = nightly(2, {("a", ""): 1}) / "run.json"
    undated.write_text(undated.read_text().replace("2026-01-03", "yesterday"))
    found = history.collect([tmp_path / "runs"])
    assert found.runs == 1
    assert len(found.caveats) == 2 and all("was left out" in c for c in found.caveats)


def test_without_any_run_there_is_an_error(tmp_path):
    with pytest.raises(StoreError, match="no run in"):
        history.collect([tmp_path])
    with pytest.raises(StoreError, match="neither a run nor a folder of runs"):
        history.collect([tmp_path / "nowhere"])


def test_what_an_audit_caught_stays_with_the_point(nightly, tmp_path):
    nightly(0, {("a", ""): 1}, checks={"prompt_evaluated": False})
    (point,) = _one(history.collect([tmp_path / "runs"]), backend="a").points
    assert point.failed_checks == ("prompt_evaluated",)


def test_a_gates_arms_give_their_ratio_from_which_drift_cancels(nightly, tmp_path):
    for day in range(3):
        nightly(day, {("a", "base"): 1 + day, ("a", "candidate"): 1.1 * (1 + day)})
    found = history.collect([tmp_path / "runs"], ["decode_tok_s"])
    (ratio,) = [s for s in found.series if s.base]
    assert ratio.case.arm == "candidate" and ratio.base.arm == "base"
    assert [p.value for p in ratio.points] == pytest.approx([1 / 1.1] * 3)
    assert len(found.series) == 3, "and each arm has a series of its own"


def test_a_ratio_that_its_certificate_refuses_is_left_out_and_said_once(nightly, tmp_path):
    pair = {("a", "base"): 1, ("a", "candidate"): 1.1}
    for day in range(2):
        nightly(day, pair, checks={"prompt_evaluated": False})
    assert not [s for s in history.collect([tmp_path / "runs"]).series if s.base]
    nightly(2, pair)
    found = history.collect([tmp_path / "runs"], ["decode_tok_s"])
    (ratio,) = [s for s in found.series if s.base]
    assert [p.run for p in ratio.points] == ["run-2"]
    assert len(_one(found, arm="candidate").points) == 3, "and each arm keeps its own"
    (said,) = found.caveats
    assert said.startswith(
        "the ratio a a-f32, generate 10→3: candidate / base was left out of 2 runs"
    )
    assert "prompt_evaluated: a a-f32 (candidate): it did prompt_evaluated" in said


def test_no_ratio_where_it_is_not_clear_which_are_the_pair(nightly, tmp_path):
    nightly(0, {("a", "base"): 1, ("a", "candidate"): 1, ("b", "candidate"): 1})
    assert not [s for s in history.collect([tmp_path / "runs"]).series if s.base]


def test_a_change_of_level_is_found_where_it_is():
    values = [v * (1 if n < 12 else 1.05) for n, v in enumerate(_noise(24))]
    (change,) = history.find_changes(values)
    assert abs(change.at - 12) <= 1
    assert change.after / change.before == pytest.approx(1.05, abs=0.01)


@pytest.mark.parametrize("seed", range(20))
def test_noise_alone_is_no_change(seed):
    assert history.find_changes(_noise(30, seed=seed)) == ()


def test_two_outliers_are_no_change():
    values = _noise(30)
    values[10] *= 2
    values[20] /= 2
    assert history.find_changes(values) == ()


def test_a_change_needs_four_runs_on_each_side():
    assert history.find_changes([100, 101, 100, 101, 150, 151, 150]) == ()
    (change,) = history.find_changes([100, 101, 100, 101, 150, 151, 150, 151])
    assert change.at == 4


def test_values_that_never_vary_change_only_where_they_do():
    assert history.find_changes([5.0] * 20) == ()
    assert history.find_changes([0.0] * 20) == ()
    (change,) = history.find_changes([5.0] * 10 + [6.0] * 10)
    assert (change.at, change.before, change.after) == (10, 5.0, 6.0)
    (change,) = history.find_changes([0.0] * 10 + [6.0] * 10)
    assert change.at == 10


def test_only_the_latest_runs_are_searched(monkeypatch):
    monkeypatch.setattr(history, "LOOK_BACK", 20)
    values = [v * (1 if n < 30 else 1.5) for n, v in enumerate(_noise(60))]
    assert history.find_changes(values) == ()
    (change,) = history.find_changes(values[:40])
    assert change.at == 30


def test_an_expectation_takes_ten_earlier_values():
    assert history.expect(_noise(9)) is None
    assert history.expect(_noise(10)).earlier == 10


def test_an_expectation_is_a_t_prediction_interval_on_logarithms():
    expected = history.expect([90.0, 110.0] * 5)
    logs = [math.log(90), math.log(110)] * 5
    half = 2.262157 * stdev(logs) * math.sqrt(1 + 1 / 10)  # the quantile of t with 9 degrees
    wanted = [math.exp(mean(logs) - half), math.exp(mean(logs) + half)]
    assert [expected.low, expected.high] == pytest.approx(wanted, rel=1e-6)


def test_an_expectation_holds_the_next_value_as_often_as_it_says():
    hits = 0
    for seed in range(400):
        *earlier, last = _noise(13, seed=seed)
        expected = history.expect(earlier)
        hits += expected.low <= last <= expected.high
    assert 0.92 <= hits / 400 <= 0.98


def test_equal_values_are_expected_again():
    expected = history.expect([7.0] * 10)
    assert expected.low < 7.0 < expected.high and expected.high / expected.low < 1.003


def test_the_latest_run_is_judged_by_the_runs_on_its_level_only(nightly, tmp_path):
    noise = random.Random(2)
    for day in range(30):
        pace = (1 if day < 15 else 1.5) * noise.lognormvariate(0, 0.01)
        nightly(
            day, {("a", ""): pace, ("b", ""): 2 if day == 29 else noise.lognormvariate(0, 0.01)}
        )
    found = history.collect([tmp_path / "runs"])
    steady, jumped = _one(found, backend="a"), _one(found, backend="b")
    assert [c.at for c in steady.changes] == [15]
    assert steady.expected.earlier == 14 and not steady.surprising
    assert jumped.changes == () and jumped.surprising
