"""The sampler table: honest samplers are left alone at the stated rate, dishonest ones are caught."""

import json
import math
import random
from dataclasses import replace

import numpy
import pytest
from bakeoff_fake import adapter, model
from bakeoff_fake.adapter import Fake
from bakeoff_liars import liars

from backends.api import Artifact, GenerationFailed, LoadOptions, Sampling, Unsupported
from harness.worker import sampling as worker
from results.records import Case, Record
from results.sampling import tabulate
from results.sampling_settings import DEFAULT, FILTERS, OFF, PARAMETERS
from results.sampling_tests import ALPHA, expected_variation, holm, p_value, total_variation

CASE = Case("m", "toy", "a", "sampling")
PROMPTS = {"sea": "The best thing about the sea", "colours": "red, blue, green, red, blue,"}


class Kept(list):
    """A channel that keeps what is sent, as JSON would give it back."""

    def send(self, kind, **fields):
        assert kind == "observation"
        self.append(json.loads(json.dumps(fields["data"])))


class Scored:
    """Logits for a toy engine: its letters; no other byte can come."""

    def logits(self, ids):
        rows = numpy.full((len(ids), model.VOCABULARY), -numpy.inf, dtype=numpy.float32)
        for token, value in model.logits(self.weights, ids).items():
            rows[-1, token] = value
        return rows


def observed(adapter_class, tmp_path, settings=DEFAULT, draws=2000, weights=b"w", prompts=PROMPTS):
    """What the worker sends about a toy engine."""
    (tmp_path / "w").write_bytes(weights)
    engine = type(adapter_class.__name__, (Scored, adapter_class), {})()
    engine.load(Artifact("m", "a", "fake", tmp_path / "w"), LoadOptions(64, 1))
    channel = Kept()
    items = [{"name": name, "ids": engine.tokenize(text)} for name, text in prompts.items()]
    job = {"parameters": {"draws": draws, "settings": settings}, "items": items}
    worker.sampling(engine, job, channel)
    return channel


def arm_of(observations, case=CASE):
    record = Record("t", case, 0, 1, "ok", "2026-01-01", 1.0, observations=tuple(observations))
    return tabulate([(case, record)])[0]


def verdicts(observations):
    return {one.name: one.verdict for one in arm_of(observations).parameters}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The toy's work is asleep; here nothing is timed."""
    monkeypatch.setattr(adapter, "DECODE_S", 0.0)
    monkeypatch.setattr(adapter, "PREFILL_S", 0.0)
    monkeypatch.setattr(adapter.time, "sleep", lambda seconds: None)
    kept = {}
    plain = model.logits

    def remembered(weights, ids):
        key = weights, tuple(ids)
        if key not in kept:
            kept[key] = plain(weights, ids)
        return kept[key]

    monkeypatch.setattr(model, "logits", remembered)
    monkeypatch.setattr(adapter, "logits", remembered)


# An honest sampler


@pytest.fixture(scope="module")
def expectations():
    """What is expected of each default setting on a broad distribution of 3,000 tokens."""
    generator = numpy.random.default_rng(5)
    found = []
    for spread in (1.5, 3.0):
        logits = generator.normal(0, spread, 3000)
        for told in DEFAULT:
            setting = Sampling(**told)
            cuts = {name: getattr(setting, name) for name in FILTERS}
            p = worker._filtered(logits, (1, 2, 3), FILTERS, cuts)
            drawn = [int(p.argmax())] * 2000
            found.append(worker._expect(logits, (1, 2, 3), setting, drawn)["hypotheses"][0])
    return [numpy.asarray(h["probabilities"]) for h in found]


def test_honest_tables_alarm_no_oftener_than_stated(expectations):
    draws = 2000
    generator = numpy.random.default_rng(11)
    tables = 1000
    smallest = []
    counts = [generator.multinomial(draws, p / p.sum(), size=tables).tolist() for p in expectations]
    for table in range(tables):
        values = [p_value(c[table], p.tolist()) for c, p in zip(counts, expectations, strict=True)]
        smallest.append(min(holm(values)))
    for rate in (ALPHA, 0.01, 0.05):
        alarms = sum(value < rate for value in smallest)
        allowed = tables * rate + 3 * math.sqrt(tables * rate)
        assert alarms <= allowed, (rate, alarms)


def test_a_real_engine_that_is_honest_is_left_alone_thirty_times(tmp_path):
    for repeat in range(30):
        settings = [{**told, "seed": repeat} for told in DEFAULT[:6]]
        prompts = dict([list(PROMPTS.items())[repeat % 2]])
        found = observed(Fake, tmp_path, settings, 400, b"%d" % repeat, prompts)
        bad = {k: v for k, v in verdicts(found).items() if v not in ("honoured", "untold")}
        assert not bad, (repeat, arm_of(found).parameters)


def test_an_honest_engine_is_honoured_in_all(tmp_path):
    arm = arm_of(observed(Fake, tmp_path))
    assert {p.name: p.verdict for p in arm.parameters} == dict.fromkeys(PARAMETERS, "honoured")
    assert arm.order == "repetition penalty, temperature, top-k, top-p, min-p"
    assert all(line.as_told and line.draws == 2000 and not line.outside for line in arm.lines)
    assert {line.way for line in arm.lines} == {"generate"}
    size = max(len(json.dumps(line)) for line in observed(Fake, tmp_path, draws=300))
    assert size < 100_000


# Samplers that do otherwise


class _Picks(Fake):
    """The honest toy with another way to pick."""

    def changed(self, sampling):
        return sampling

    def generate(self, request):
        yield from super().generate(replace(request, sampling=self.changed(request.sampling)))


class HotterByATenth(_Picks):
    def changed(self, sampling):
        return replace(sampling, temperature=sampling.temperature * 1.1)


class OneMoreForTopK(_Picks):
    def changed(self, sampling):
        return replace(sampling, top_k=sampling.top_k + 1) if sampling.top_k else sampling


class OneLessForTopK(_Picks):
    def changed(self, sampling):
        return replace(sampling, top_k=sampling.top_k - 1) if sampling.top_k else sampling


class RefusesMinP(Fake):
    def generate(self, request):
        if request.sampling.min_p:
            raise Unsupported("min_p: this engine has no such filter")
        yield from super().generate(request)


class TemperatureLast(Fake):
    """As llama.cpp's own tools do."""

    def generate(self, request):
        told = request.sampling
        scores = model.logits(self.weights, request.prompt_ids)
        cold = replace(told, temperature=1.0)
        kept = _kept(scores, set(request.prompt_ids), cold)
        weights = [math.exp(value / told.temperature) for value in kept.values()]
        token = random.Random(told.seed).choices(list(kept), weights)[0]
        yield adapter.Token(token, chr(token))


def _kept(scores, seen, sampling):
    """The logits that the filters leave."""
    penalty = sampling.repetition_penalty
    scores = {t: s / penalty if t in seen else s for t, s in scores.items()}
    ranked = sorted(scores, key=lambda t: -scores[t])[: sampling.top_k or None]
    weights = [math.exp(scores[t]) for t in ranked]
    kept, mass = 0, 0.0
    while kept < len(weights) and mass < sampling.top_p:
        mass += weights[kept] / sum(weights)
        kept += 1
    enough = sampling.min_p * weights[0]
    return {t: scores[t] for t, w in zip(ranked[:kept], weights, strict=False) if w >= enough}


@pytest.mark.parametrize(
    ("engine", "parameter", "verdict", "how"),
    [
        (liars.IgnoresMinP, "min_p", "ignored", "as if it had not been set"),
        (liars.IgnoresTopK, "top_k", "ignored", "as if it had not been set"),
        (liars.IgnoresTopP, "top_p", "ignored", "as if it had not been set"),
        (liars.IgnoresThePenalty, "repetition_penalty", "ignored", "as if it had not been set"),
        (liars.IgnoresTemperature, "temperature", "ignored", "likeliest token"),
        (liars.SamplesAtItsOwnTemperature, "temperature", "differs", "fit no known"),
        (liars.IgnoresTheSeed, "seed", "ignored", "the same seed gives other tokens"),
        (liars.OneSeedForAll, "seed", "ignored", "every seed gives the same token"),
        (HotterByATenth, "temperature", "differs", "as if it were"),
        (OneMoreForTopK, "top_k", "differs", "keeps 6 tokens, not 5"),
        (OneLessForTopK, "top_k", "differs", "keeps 4 tokens, not 5"),
        (TemperatureLast, "temperature", "differs", "is applied after"),
        (RefusesMinP, "min_p", "refused", "no such filter"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_dishonest_sampler_is_caught_by_name(tmp_path, engine, parameter, verdict, how):
    arm = arm_of(observed(engine, tmp_path, prompts={"colours": PROMPTS["colours"]}))
    found = {one.name: one for one in arm.parameters}
    assert (found[parameter].verdict, how in found[parameter].detail) == (verdict, True), found
    others = {one.verdict for one in arm.parameters if one.name != parameter}
    assert others <= {"honoured", "untold"}, found
    if engine is TemperatureLast:
        assert arm.order.endswith("temperature")


def test_cheap_draws_are_checked_against_whole_requests(tmp_path):
    class Cheats(Fake):
        def draw(self, prompt_ids, sampling, seeds):
            return [97] * len(seeds)

    arm = arm_of(observed(Cheats, tmp_path, draws=300))
    assert len(arm.dishonest) > 10
    assert "honoured" not in {p.verdict for p in arm.parameters if p.name in FILTERS}


def test_cheap_draws_that_are_refused_are_made_by_whole_requests(tmp_path):
    class Picky(Fake):
        def draw(self, prompt_ids, sampling, seeds):
            if sampling.repetition_penalty != 1.0:
                raise Unsupported("no penalty here")
            request = adapter.Request(tuple(prompt_ids), 1, sampling=sampling)
            told = (replace(request, sampling=replace(sampling, seed=s)) for s in seeds)
            return [next(self.generate(one)).id for one in told]

    arm = arm_of(observed(Picky, tmp_path, draws=300))
    assert {line.way for line in arm.lines} == {"draw", "generate"}
    assert not arm.dishonest


# What cannot be told


def test_an_engine_without_logits_or_with_nan_has_a_clear_record(tmp_path):
    class Nan(Fake):
        def logits(self, ids):
            return [[float("nan")] * 256 for _ in ids]

    class Broken(Fake):
        def logits(self, ids):
            raise GenerationFailed("the logits are lost")

    for engine, why in ((Nan, "NaN"), (Broken, "lost"), (Fake, "shows no logits")):
        (tmp_path / "w").write_bytes(b"w")
        backend = engine()
        backend.load(Artifact("m", "a", "fake", tmp_path / "w"), LoadOptions(64, 1))
        channel = Kept()
        job = {
            "parameters": {"draws": 9, "settings": DEFAULT},
            "items": [{"name": "a", "ids": [99]}],
        }
        worker.sampling(backend, job, channel)
        arm = arm_of(channel)
        assert why in arm.trouble and not arm.parameters


def test_observations_of_any_shape_are_read(tmp_path):
    good = observed(Fake, tmp_path, DEFAULT[:3], 300)
    assert arm_of(good).unread == 0
    generator = random.Random(3)
    junk = [None, -1, 10**12, "x" * 9, [], {}, float("nan"), float("inf"), True, ["a"], [1, 2]]
    for _ in range(300):
        data = json.loads(json.dumps(generator.choice(good)))
        place = data
        if "hypotheses" in data and generator.random() < 0.5:
            place = generator.choice([data["hypotheses"][0], data["sampling"]])
        key = generator.choice(list(place))
        if generator.random() < 0.2:
            del place[key]
        else:
            place[key] = generator.choice(junk)
        arm = arm_of([*good, data])
        assert arm.parameters and arm.unread in (0, 1)
    assert arm_of([{}]).trouble
    assert tabulate([(CASE, None)])[0].trouble == "it has not run"


def test_the_statistics_against_simulation_and_by_hand():
    p = [0.5, 0.3, 0.15, 0.05]
    generator = numpy.random.default_rng(2)
    seen = [total_variation(c, p) for c in generator.multinomial(400, p, size=4000).tolist()]
    assert numpy.mean(seen) == pytest.approx(expected_variation(400, p), rel=0.02)
    assert p_value([1, 0], [0.0, 1.0]) == 0.0 and p_value([0, 9], [0.0, 1.0]) == 1.0
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert all(set(told) == {*OFF, "seed"} for told in DEFAULT)
