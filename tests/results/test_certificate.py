"""Two cases with one thing wrong between them: the certificate finds it, by name."""

import json
from dataclasses import asdict, replace

import pytest

from results import fidelity
from results.certificate import ITEMS, certify
from results.summary import summarise

CLAIM = {"prefill_tokens": 10.0}


@pytest.fixture
def pair(make):
    """`pair(a=..., b=...)`: two summaries; keywords per side override records and facts."""

    def build(measure="generate", a=None, b=None):
        records, facts = [], []
        for name, changes in (("a", a or {}), ("b", b or {})):
            changes = dict(changes)
            facts.append(make.facts(f"{name}-f32", **changes.pop("facts", {})))
            case = make.case(name, f"{name}-f32", measure, **changes.pop("parameters", {}))
            case = replace(case, settings=changes.pop("settings", {}))
            audit = changes.pop("audit", {})
            if audit is not None:
                records.append(make.audit(case, **audit))
            for repetition in range(3):
                given = {"samples": (make.sample(claims=CLAIM),), "conditions": make.conditions()}
                records.append(make.record(case, repetition, **(given | changes)))
        found = summarise(make.run(records, facts=facts))
        return tuple(s for s in found if s.case.measure == measure)

    return build


def _item(pair_of_cases, name):
    (found,) = [i for i in certify(*pair_of_cases).items if i.name == name]
    return found


@pytest.mark.parametrize("measure", ["generate", "load"])
def test_two_honest_cases_of_equal_weights_are_fair_in_every_item(pair, measure):
    found = certify(*pair(measure))
    assert (found.grade, found.reasons) == ("fair", ())
    left_out = {"answers"} if measure == "load" else {"answers", "page_cache"}
    expected = [n for n in ITEMS if n not in left_out]
    assert [item.name for item in found.items] == expected
    assert {item.text for item in found.items} == {"same"}
    json.dumps(asdict(found))


SAMPLED = {"sampling": {"temperature": 0.8}}


@pytest.mark.parametrize(
    ("name", "grade", "says", "a", "b"),
    [
        ("output_length", "refused", "a a-f32 3 and b b-f32 2 tokens", {}, {"gaps": (1,)}),
        ("prompt_ids", "refused", "given different prompts in 3 of 3", {}, {"prompt": "q"}),
        ("prompt_ids", "refused", "given different prompts", {}, {"tokens": 11}),
        ("prefix_state", "refused", "b b-f32 evaluated 1 of 10 prompt tokens", {}, {"claim": 1.0}),
        ("prefix_state", "refused", "evaluated 11 of 10 prompt tokens", {}, {"claim": 11.0}),
        ("prefix_state", "refused", "one may reuse", {}, {"parameters": {"reuse_prefix": True}}),
        ("sampler", "refused", "temperature 0.8", {}, {"parameters": SAMPLED}),
        ("context", "refused", "context: a a-f32 64, b b-f32 128", {}, {"parameters": {"context": 128}}),
        ("threads_told", "with caveats", "2, b b-f32 4", {}, {"parameters": {"threads": 4}}),
        ("threads_worked", "with caveats", "b b-f32 was told 2 threads, 4 worked", {}, {"busy": 4}),
        ("threads_worked", "with caveats", "was told 2 threads, 1 worked", {}, {"busy": 1}),
        ("weights", "with caveats", "weights differ: a a-f32 (f32) and b b-f32 (int4)", {},
         {"facts": {"weights": "v", "precision": "int4"}}),
        ("precision", "with caveats", "a a-f32 f32, b b-f32 q4", {}, {"facts": {"precision": "q4"}}),
        ("device", "with caveats", "other devices: cpu and cuda:0", {}, {"settings": {"device": "cuda:0"}}),
        ("environment", "with caveats", "disturbed: others took more than 10 % of the CPU in 3 of 3 trials of b",
         {}, {"foreign_s": 0.21}),
        ("environment", "fair as far as known", "not seen for b b-f32", {}, {"conditions": {}}),
        ("threads_worked", "fair as far as known", "not seen for b b-f32", {}, {"conditions": {}}),
        ("audit", "fair as far as known", "b b-f32 was not audited", {}, {"audit": None}),
        ("audit", "fair as far as known", "the audit of b b-f32 did not end well (crashed)", {},
         {"audit": {"status": "crashed", "x": True}}),
        ("audit", "fair as far as known", "no way to tell text_matches_ids", {},
         {"audit": {"text_matches_ids": None}}),
        ("audit", "fair as far as known", "no way to tell min_p_honoured", {"parameters": SAMPLED},
         {"audit": {"min_p_honoured": None}, "parameters": SAMPLED}),
        ("audit", "refused", "forced_length: b b-f32: it did forced_length", {},
         {"audit": {"forced_length": False, "seed_matters": None}}),
        ("audit", "refused", "forced_length", {}, {"audit": {"status": "failed", "forced_length": False}}),
        ("audit", "refused", "threads_as_told: b b-f32", {}, {"audit": {"threads_as_told": False}}),
        ("audit", "refused", "top_p_honoured: b b-f32", {}, {"audit": {"top_p_honoured": False}}),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_weight(pair, make, name, grade, says, a, b):
    def ready(changes):
        changes = dict(changes)
        sample = {"claims": {"prefill_tokens": changes.pop("claim", 10.0)}}
        for key, argument in (("gaps", "gaps_ms"), ("prompt", "prompt"), ("tokens", "tokens")):
            if key in changes:
                sample[argument] = changes.pop(key)
        conditions = {k: changes.pop(k) for k in ("busy", "foreign_s") if k in changes}
        return {
            "samples": (make.sample(**sample),),
            "conditions": make.conditions(**conditions),
            **changes,
        }

    found = certify(*pair(a=ready(a), b=ready(b)))
    (item,) = [i for i in found.items if i.name == name]
    assert says in item.detail
    assert found.grade == grade
    expected = {"refused": "refuses", "with caveats": "caveat"}.get(grade, "unknown")
    assert item.severity == expected
    assert item.text.startswith(("differs: ", "unknown: "))
    assert item.detail in found.reasons


def test_a_greedy_task_does_not_depend_on_how_tokens_are_drawn(pair):
    assert certify(*pair(b={"audit": {"min_p_honoured": None, "x": True}})).grade == "fair"


def test_without_a_claim_a_passed_audit_says_that_the_prefix_was_not_reused(pair, make):
    silent = {"samples": (make.sample(),)}
    assert _item(pair(a=silent), "prefix_state").state == "same"
    unaudited = {**silent, "audit": {"forced_length": True}}
    assert _item(pair(a=unaudited), "prefix_state").state == "unknown"


def test_where_the_prefix_is_reused_both_must_have_reused_as_much(pair, make):
    def side(evaluated):
        return {
            "parameters": {"reuse_prefix": True},
            "samples": (make.sample(claims={"prefill_tokens": evaluated}),),
        }

    assert _item(pair(a=side(1.0), b=side(1.0)), "prefix_state").text == "same"
    found = _item(pair(a=side(1.0), b=side(10.0)), "prefix_state")
    assert (found.severity, found.detail) == (
        "refuses", "a a-f32 evaluated 10% of its prompts, b b-f32 100%",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "before", "state"),
    [
        ("warm", 1.0, "same"), ("warm", 0.95, "same"), ("warm", 0.9, "differs"),
        ("cold", 0.05, "same"), ("cold", 0.4, "differs"), ("cold", None, "unknown"),
    ],
)  # fmt: skip
def test_a_page_cache_is_cold_or_warm_only_as_it_was_found(pair, make, asked, before, state):
    side = {"parameters": {"page_cache": asked}, "conditions": make.conditions(before=before)}
    found = _item(pair("load", side, side), "page_cache")
    assert found.state == state
    if state == "differs":
        assert f"did not start with a {asked} page cache: {before:.0%} of its pages" in found.detail


def test_opening_a_model_may_take_fewer_threads_than_told(pair, make):
    one = {"conditions": make.conditions(busy=1)}
    assert _item(pair("load", one, one), "threads_worked").state == "same"


def test_threads_that_are_no_number_are_not_known(pair):
    """A record is others' text: a report of it must come out."""
    odd = {"parameters": {"threads": "many"}}
    assert _item(pair(b=odd), "threads_worked").text == "unknown: not seen for b b-f32"


def _judged(summary, verdict="as its bits allow", faults=()):
    truth = fidelity.judged(summary.case, None, {}, None, None, {})
    truth = replace(truth, verdict=verdict, faults=faults)
    return replace(summary, evidence=replace(summary.evidence, truth=truth))


def test_answers_at_fault_refuse_the_ratio_and_say_why(pair):
    a, b = pair()
    found = certify(_judged(a), _judged(b, "fault", ("it is 3 nats off",)))
    assert (found.grade, found.deciding[0].text) == (
        "refused", "differs: b b-f32 is at fault in fidelity: it is 3 nats off",
    )  # fmt: skip


def test_answers_that_nobody_judged_are_unknown_and_no_item_where_nobody_looked(pair):
    a, b = pair()
    assert _item((_judged(a), _judged(b, "true to the weights")), "answers").text == "same"
    for other in (b, _judged(b, "not judged")):
        assert _item((_judged(a), other), "answers").text == (
            "unknown: how true b b-f32 is was not judged"
        )
    assert "answers" not in {item.name for item in certify(a, b).items}


def test_a_gate_holds_answers_against_each_other_by_itself(pair):
    a, b = (replace(s, case=replace(s.case, arm=arm)) for s, arm in zip(pair(), "xy", strict=True))
    assert certify(a, _judged(b, "fault", ("it is off",))).grade == "fair"


def test_other_machines_are_never_compared(pair):
    a, b = pair()
    moved = replace(b, evidence=replace(b.evidence, fingerprint="elsewhere"))
    assert certify(a, moved).grade == "refused"
    unknown = replace(b, evidence=replace(b.evidence, fingerprint=""))
    assert _item((a, unknown), "host").state == "unknown"


def test_a_case_without_a_good_trial_proves_nothing(pair):
    found = {i.name: i.state for i in certify(*pair(b={"status": "crashed"})).items}
    assert found["prompt_ids"] == found["output_length"] == found["environment"] == "unknown"


def test_a_failed_trial_is_no_evidence_of_other_prompts(pair, make):
    a, b = pair()
    odd = make.record(b.case, 9, "crashed", samples=(make.sample(prompt="q"),))
    b = replace(b, evidence=replace(b.evidence, records=(*b.evidence.records, odd)))
    assert certify(a, b).grade == "fair"
