"""What must be the same: one difference is a difference, unless it mends one."""

from __future__ import annotations

from dataclasses import replace

from results.fixed import Fixed, from_json, to_json
from results.gate.exact import checks
from results.records import ArtifactFacts, Case, Rendering

ALL = ("templates", "token_counts", "greedy", "size")
FACTS = ArtifactFacts("m", "a", "gguf", "q4_1", "w", 1000, "sha")
GENERATE = Fixed(
    Case("m", "engine", "a", "generate", {"prompt_tokens": 4, "output_tokens": 2}),
    FACTS,
    counts={"p": (4, 2), "q": (4, 2)},
    outputs={"p": (1, 2), "q": (3, 4)},
    repeats=True,
)
CHATS = Fixed(
    Case("m", "engine", "a", "templates"),
    FACTS,
    renderings={name: Rendering(name, "rendered", f"<{name}>", (1, 2)) for name in ("one", "two")},
)


def _one(base: Fixed, candidate: Fixed, name: str) -> tuple[bool | None, str]:
    (found,) = [one for one in checks([(base, candidate)], ALL) if one.name == name]
    return found.same, found.detail


def test_equal_cases_have_nothing_but_the_same() -> None:
    found = checks([(GENERATE, GENERATE), (CHATS, CHATS)], ALL)
    assert [(one.name, one.same) for one in found] == [
        ("token_counts", True), ("greedy", True), ("size", True), ("templates", True),
    ]  # fmt: skip


def test_only_what_was_asked_for() -> None:
    assert [one.name for one in checks([(GENERATE, GENERATE)], ("size",))] == ["size"]


def test_one_other_id_is_a_difference() -> None:
    changed = replace(GENERATE, outputs={"p": (1, 2), "q": (3, 5)})
    same, detail = _one(GENERATE, changed, "greedy")
    assert same is False
    assert detail.startswith("other ids for 1 of 2 prompts")


def test_greedy_ids_need_a_base_that_repeats_and_the_same_weights() -> None:
    changed = replace(GENERATE, outputs={"p": (9, 9), "q": (9, 9)})
    shaky = replace(
        GENERATE, outputs={}, repeats=False, why="its own trials do not repeat bit for bit"
    )
    assert _one(shaky, changed, "greedy") == (
        None, "of the base: its own trials do not repeat bit for bit",
    )  # fmt: skip
    for facts in (replace(FACTS, weights="v"), replace(FACTS, precision="q8_0")):
        same, detail = _one(GENERATE, replace(changed, artifact=facts), "greedy")
        assert (same, detail) == (None, "other weights, or stored otherwise")


def test_a_candidate_that_lost_repeatability_differs() -> None:
    shaky = replace(
        GENERATE, outputs={}, repeats=False, why="its own trials do not repeat bit for bit"
    )
    assert _one(GENERATE, shaky, "greedy")[0] is False
    alone = replace(GENERATE, outputs={}, repeats=None, why="a single trial")
    assert _one(GENERATE, alone, "greedy")[0] is None


def test_token_counts_by_prompt() -> None:
    longer = replace(GENERATE, counts={"p": (5, 2), "q": (4, 2)})
    same, detail = _one(GENERATE, longer, "token_counts")
    assert same is False
    assert "1 of 2 prompts: 4 prompt and 2 output tokens became 5 and 2" in detail


def test_sizes_of_one_artifact_are_compared_and_of_two_are_told() -> None:
    bigger = replace(GENERATE, artifact=replace(FACTS, bytes=1001))
    assert _one(GENERATE, bigger, "size") == (False, "1,000 bytes became 1,001")
    other = replace(bigger, case=replace(GENERATE.case, artifact="b"))
    assert _one(GENERATE, other, "size") == (None, "another artifact, b: 1.00 times the size")


def test_two_models_with_artifacts_of_one_name_are_two() -> None:
    second = replace(GENERATE, case=replace(GENERATE.case, model="n"))
    bigger = replace(second, artifact=replace(FACTS, bytes=1001))
    found = checks([(GENERATE, GENERATE), (second, bigger)], ("size",))
    assert [one.same for one in found] == [True, False]


def _with(text: str, ids: tuple[int, ...], own: frozenset[str] = frozenset()) -> Fixed:
    changed = {**CHATS.renderings, "two": Rendering("two", "rendered", text, ids)}
    return replace(CHATS, renderings=changed, as_own=own)


def test_a_changed_prompt_is_named_with_the_place() -> None:
    same, detail = _one(CHATS, _with("<tow>", (1, 2)), "templates")
    assert same is False
    assert detail == "1 of 2 conversations: two; from character 2: 'wo>' became 'ow>'"
    same, detail = _one(CHATS, _with("<two>", (1, 3)), "templates")
    assert (same, detail) == (False, "1 of 2 conversations: two; the same text, other ids")


def test_a_mended_prompt_is_no_regression_unless_the_artifact_is_another() -> None:
    mended = _with("<tow>", (1, 2), own=frozenset({"one", "two"}))
    assert _one(CHATS, mended, "templates") == (True, "now as the model's own template: two")
    other = replace(mended, case=replace(CHATS.case, artifact="b"))
    assert _one(CHATS, other, "templates")[0] is False


def test_a_lost_conversation_is_a_difference() -> None:
    lost = replace(CHATS, renderings={"one": CHATS.renderings["one"]})
    assert _one(CHATS, lost, "templates") == (False, "1 of 2 conversations: two; is missing")


def test_what_is_stored_reads_back() -> None:
    for one in (GENERATE, CHATS, _with("<tow>", (1, 2), frozenset({"two"}))):
        assert from_json(to_json(one)) == one
