"""Fidelity without an engine: exact numbers on toy distributions, and every kind of bad engine."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy
import pytest

from backends.api import GenerationFailed, Request, Token, Unsupported
from harness import items
from harness.errors import BadInput
from harness.worker import fidelity as worker
from results import fidelity
from results.fidelity_observations import Observed, read
from results.records import ArtifactFacts, Case, Record

VOCABULARY = 40
ITEMS = [
    {"name": "text", "ids": [3, 1, 4, 1, 5, 9, 2, 6], "chat": False, "text": "pi"},
    {"name": "chat", "ids": [2, 7, 1, 8], "chat": True, "text": None},
]


class Bigram:
    """The next token depends on the last one only; greedy never ends by itself."""

    def __init__(self, noise: float = 0.0, seed: int = 1) -> None:
        base = numpy.random.default_rng(0).normal(0, 3, (VOCABULARY, VOCABULARY))
        self.table = (base + noise * numpy.random.default_rng(seed).normal(size=base.shape)).astype(
            numpy.float32
        )

    def generate(self, request: Request) -> Iterator[Token]:
        last = request.prompt_ids[-1]
        for _ in range(request.max_tokens):
            last = int(self.table[last].argmax())
            yield Token(last, "")


class Scoring(Bigram):
    def logits(self, ids: Sequence[int]) -> Any:
        return self.table[list(ids)]


class Nan(Scoring):
    def logits(self, ids: Sequence[int]) -> Any:
        rows = super().logits(ids).copy()
        rows[2] = numpy.nan
        return rows


class Short(Scoring):
    def logits(self, ids: Sequence[int]) -> Any:
        return super().logits(ids)[-1:]


class Limited(Scoring):
    def logits(self, ids: Sequence[int]) -> Any:
        if len(ids) == len(ITEMS[0]["ids"]):
            raise GenerationFailed("8 tokens exceed the context of 6")
        return super().logits(ids)


class Top(Bigram):
    def top_logprobs(self, ids: Sequence[int]) -> list[list[tuple[int, float]]]:
        rows = worker._log_softmax(self.table[list(ids)])
        return [[(int(t), float(row[t])) for t in row.argsort()[::-1][:5]] for row in rows]


class Channel:
    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def send(self, kind: str, **fields: Any) -> None:
        assert kind == "observation"
        self.seen.append(fields["data"])


def observe(backend: Any, folder: Path, measure: str = "fidelity") -> dict[str, dict[str, Any]]:
    channel = Channel()
    job = {"items": ITEMS, "logits": str(folder), "parameters": {"output_tokens": 5}}
    getattr(worker, measure)(backend, job, channel)
    return {one["item"]: one for one in channel.seen}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    observe(Scoring(), tmp_path, "reference")
    return tmp_path


def test_an_equal_engine_has_no_divergence(folder: Path) -> None:
    seen = observe(Scoring(), folder)
    assert seen["text"]["kl"] == [0.0] * 8
    assert seen["text"]["agree"] == [1] * 8
    assert len(seen["text"]["logprob"]) == 7
    assert "step" not in seen["chat"]


def test_kl_is_that_of_the_two_distributions(folder: Path) -> None:
    ours, theirs = Scoring(noise=0.5), Scoring()
    seen = observe(ours, folder)["text"]
    p = numpy.exp(worker._log_softmax(theirs.table[[4]]))[0]
    q = numpy.exp(worker._log_softmax(ours.table[[4]]))[0]
    assert seen["kl"][2] == pytest.approx(float((p * numpy.log(p / q)).sum()), rel=1e-4)
    assert seen["logprob"][2] == pytest.approx(math.log(q[1]), rel=1e-4)


def test_a_list_of_the_best_tokens_gives_a_lower_bound(folder: Path) -> None:
    whole, bound = (
        observe(Scoring(noise=0.5), folder)["text"],
        observe(Top(noise=0.5), folder)["text"],
    )
    assert bound["method"] == "top-k" and bound["agree"] == whole["agree"]
    assert all(b <= w + 1e-6 for b, w in zip(bound["kl"], whole["kl"], strict=True))
    assert sum(bound["kl"]) > 0.3 * sum(whole["kl"])


def test_an_engine_without_numbers_is_asked_for_its_best_token(folder: Path) -> None:
    seen = observe(Bigram(), folder)["text"]
    assert seen["method"] == "greedy" and seen["agree"] == [1] * 4
    assert "kl" not in seen


def test_a_divergence_carries_the_references_margin(folder: Path) -> None:
    ours = Scoring()
    ours.table = ours.table.copy()
    row = ours.table[8]
    best, second = (int(i) for i in row.argsort()[::-1][:2])
    margin = float(row[best] - row[second])
    row[second] += margin + 1
    seen = observe(ours, folder)["chat"]
    assert seen["step"] == 0
    assert seen["margin"] == pytest.approx(margin, rel=1e-5)


@pytest.mark.parametrize(
    ("engine", "item", "message"),
    [
        (Nan, "text", "logits at position 2 are not finite"),
        (Short, "text", "gave logits for 1 of 8 positions"),
        (Limited, "text", "exceed the context"),
    ],
)
def test_a_bad_item_is_told_and_the_next_goes_on(
    folder: Path, engine: type[Scoring], item: str, message: str
) -> None:
    seen = observe(engine(), folder)
    assert message in seen[item]["error"]
    assert set(seen) == {"text", "chat"}


def test_what_the_reference_cannot_do_is_left_out_and_told(tmp_path: Path) -> None:
    seen = observe(Limited(), tmp_path, "reference")
    assert "exceed the context" in seen["text"]["error"]
    assert set(observe(Scoring(), tmp_path)) == {"chat"}


def test_a_damaged_file_of_the_reference_is_trouble_of_its_item(folder: Path) -> None:
    (folder / "0.npy").write_bytes(b"\x93NUMPY")
    seen = observe(Scoring(), folder)
    assert seen["text"]["error"] and "kl" in seen["chat"]


def test_a_reference_must_give_logits_and_must_have_run(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="has to give logits"):
        observe(Bigram(), tmp_path / "a", "reference")
    with pytest.raises(GenerationFailed, match="no logits of the reference"):
        observe(Scoring(), tmp_path / "c")


def arm(
    folder: Path, backend: Any, precision: str = "f32", base: str = "f32"
) -> fidelity.ArmFidelity:
    def record(measure: str, seen: dict[str, dict[str, Any]]) -> Record:
        case = Case("m", "e", "a", measure)
        return Record("t", case, 0, 0, "ok", "", 1.0, observations=tuple(seen.values()))

    wanted = read(record("reference", observe(Scoring(), folder, "reference")))
    facts, held = (ArtifactFacts("m", "a", "hf", p, "w", 1, "0" * 64) for p in (precision, base))
    ours = record("fidelity", observe(backend, folder))
    return fidelity.judged(ours.case, ours, wanted, facts, held, {})


def test_a_reference_in_fewer_bits_has_that_rounding_itself(tmp_path: Path) -> None:
    rounded = Scoring(noise=0.05)
    assert arm(tmp_path, rounded).verdict == "fault"
    assert arm(tmp_path, rounded, base="bf16").verdict == "as its bits allow"
    assert arm(tmp_path, Scoring(), base="bf16").verdict == "true to the weights"


def test_an_arm_known_by_a_lower_bound_is_not_called_true(tmp_path: Path) -> None:
    """Its best tokens are the reference's; what it does with all others nobody saw."""
    shown = arm(tmp_path, Top())
    assert shown.kl is not None and shown.kl.mean < 1e-9 and shown.method == "top-k"
    assert shown.verdict == "as its bits allow"
    assert arm(tmp_path, Top(noise=1.0)).verdict == "fault"


def test_one_text_known_by_a_lower_bound_is_enough_not_to_be_called_true() -> None:
    text = {"item": "text", "kl": [0.0], "agree": [1]}
    chat = {**text, "item": "chat", "method": "top-k"}
    case, facts = Case("m", "e", "a", "fidelity"), ArtifactFacts("m", "a", "f", "f32", "w", 1, "")
    wanted = {name: Observed(name, "logits") for name in ("text", "chat")}
    for seen, verdict in (((text,), "true to the weights"), ((text, chat), "as its bits allow")):
        record = Record("t", case, 0, 0, "ok", "", 1.0, observations=seen)
        assert fidelity.judged(case, record, wanted, facts, facts, {}).verdict == verdict


def test_an_unknown_width_is_not_acquitted(tmp_path: Path) -> None:
    assert arm(tmp_path, Scoring(noise=0.1), "unknown").verdict == "not judged"
    assert arm(tmp_path, Scoring(noise=20.0), "unknown").verdict == "fault"


@pytest.mark.parametrize(
    ("noise", "precision", "verdict"),
    [
        (0.0, "f32", "true to the weights"),
        (0.0005, "f32", "true to the weights"),
        (0.1, "f32", "fault"),
        (0.1, "q8_0", "as its bits allow"),
        (0.5, "q8_0", "fault"),
        (0.5, "int4", "as its bits allow"),
        (5.0, "int4", "fault"),
    ],
)
def test_what_an_arm_may_lose_depends_on_its_bits(
    tmp_path: Path, noise: float, precision: str, verdict: str
) -> None:
    assert arm(tmp_path, Scoring(noise=noise), precision).verdict == verdict


def test_a_near_tie_is_told_from_a_fault() -> None:
    assert fidelity.Divergence("a", 1, 0.2, 0.6).near_tie is True
    assert fidelity.Divergence("a", 1, 3.0, 0.6).near_tie is False
    assert fidelity.Divergence("a", 1, None, 0.6).near_tie is None


def test_twenty_untouched_engines_raise_no_alarm(tmp_path: Path) -> None:
    for seed in range(20):
        honest = Scoring(noise=0.0005, seed=seed)
        assert arm(tmp_path, honest).verdict == "true to the weights"


def test_an_answer_that_ends_elsewhere_is_a_fault() -> None:
    theirs = Observed("chat", "logits", greedy=(1, 2, 3))
    assert fidelity._ends_elsewhere(Observed("chat", "logits", greedy=(1, 2)), theirs)
    assert not fidelity._ends_elsewhere(theirs, theirs)


def test_a_bos_of_its_own_is_no_other_tokenizer() -> None:
    assert fidelity._same_ids((1, 5, 6), (5, 6))
    assert not fidelity._same_ids((5, 7), (5, 6))


@pytest.mark.parametrize(
    "data",
    [
        {"item": "a", "kl": "x"},
        {"item": "a", "kl": [1.0], "agree": []},
        {"item": "a", "kl": [float("nan")], "agree": [1]},
        {"item": "a", "method": "magic"},
        {"item": "a", "greedy": [["x"]]},
    ],
)
def test_a_malformed_observation_is_trouble_of_its_item(data: dict[str, Any]) -> None:
    record = Record("t", Case("m", "e", "a", "fidelity"), 0, 0, "ok", "", 1.0, observations=(data,))
    assert "malformed" in str(read(record)["a"].trouble)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "is empty"),
        ("{", 1, "is not JSON"),
        ('{"name": "a", "text": "x"}\n{"name": "a", "text": "y"}\n', 2, "'a' is there twice"),
        ('{"name": "a"}\n', 1, "expected `text` or `messages`"),
        ('{"name": "a", "messages": [{"role": "user"}]}\n', 1, "both of them text"),
        ('{"name": 3, "text": "x"}\n', 1, "1 to 100 characters"),
        ("[1]\n", 1, "expected a mapping"),
    ],
)
def test_a_bad_set_is_refused_with_its_line(
    tmp_path: Path, text: str, line: int, message: str
) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(text)
    with pytest.raises(BadInput) as refused:
        items.load(path)
    assert refused.value.problems[0].line == line
    assert message in str(refused.value)


def test_the_shipped_texts_hold_enough_and_of_many_kinds() -> None:
    found = items.find("fidelity", "fidelity", Path("x"))
    assert len({item["style"] for item in found}) >= 12
    assert sum(len(str(item)) for item in found) > 14_000
    assert [i["name"] for i in items.chosen(found, 2)] == [found[0]["name"], found[24]["name"]]


def test_other_ids_of_most_texts_are_a_fault_and_of_few_a_note() -> None:
    theirs = {f"t{n}": Observed(f"t{n}", "logits", own_ids=(n, 5, 6)) for n in range(4)}
    for shifted, expected in ((0, (0, 0)), (1, (0, 1)), (3, (1, 0))):
        ours = [
            Observed(name, "logits", own_ids=(9, 9, 9) if n < shifted else one.own_ids)
            for n, (name, one) in enumerate(theirs.items())
        ]
        faults, notes = fidelity._tokenizer(ours, theirs)
        assert (len(faults), len(notes)) == expected
