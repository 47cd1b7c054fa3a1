"""What every adapter refuses alike."""

from __future__ import annotations

from typing import Any

import pytest

from backends import checks
from backends.api import GenerationFailed, LoadOptions, Unsupported


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"device": "cuda"}, "device 'cuda': Engine is run on cpu, gpu"),
        ({"mmap": False}, "mmap, mlock: Engine offers no choice"),
        ({"mlock": True}, "mmap, mlock: Engine offers no choice"),
        ({"extra": {"b": 1, "a": 1, "known": 1}}, r"options \['a', 'b'\]: known are known"),
    ],
)
def test_options_that_an_engine_lacks_are_refused(told: dict[str, Any], said: str) -> None:
    with pytest.raises(Unsupported, match=said):
        checks.options("Engine", LoadOptions(64, 1, **told), ("known",), ("cpu", "gpu"))
    checks.options("Engine", LoadOptions(64, 1, "gpu", extra={"known": 1}), ("known",), ("gpu",))


@pytest.mark.parametrize("trained", [None, "big", 64, 65])
def test_a_context_within_the_models_or_of_an_unknown_one_is_let_through(trained: object) -> None:
    checks.context(LoadOptions(64, 1), trained)


def test_a_context_beyond_the_models_is_refused() -> None:
    with pytest.raises(Unsupported, match="a context of 64: the model is made for 63"):
        checks.context(LoadOptions(64, 1), 63)


@pytest.mark.parametrize(("ids", "said"), [((), "no token ids"), ((1,) * 9, "context of 8"),
                                           ((1, 5), "id 5 is outside"), ((-1,), "id -1")])  # fmt: skip
def test_ids_that_cannot_be_scored_are_refused(ids: tuple[int, ...], said: str) -> None:
    with pytest.raises(GenerationFailed, match=said):
        checks.scored(ids, 8, 5)


def test_ids_as_many_as_the_context_and_a_single_one_can_be_scored() -> None:
    checks.scored((1,) * 8, 8, 5)
    checks.scored((4,), 8, 5)


@pytest.mark.parametrize("bad", [
    "sk-sesame\r", "sk-sesame\n", "\nsk-sesame", "sk sesame", "sk-sesame\t", "sk-sesame\x7f",
    "sk-sésame", "sk-sesame\udcff", "sesame7", " ",
])  # fmt: skip
def test_a_key_that_no_header_takes_or_that_is_a_word_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    monkeypatch.setenv("BAKEOFF_API_KEY_2", bad)
    with pytest.raises(Unsupported, match="variable BAKEOFF_API_KEY_2 holds no key") as caught:
        checks.key("BAKEOFF_API_KEY_2")
    assert bad.strip() == "" or bad.strip() not in f"{caught.value} {caught.value.remedy}"


def test_a_key_is_that_of_a_variable_meant_for_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAKEOFF_API_KEY", "sesame-77+/=~!")
    assert checks.key("BAKEOFF_API_KEY") == "sesame-77+/=~!"
    for name in ("AWS_SECRET_ACCESS_KEY", "bakeoff_api_key", "BAKEOFF_API_KEY\n", ""):
        with pytest.raises(Unsupported, match="only BAKEOFF_API_KEY"):
            checks.key(name)
    monkeypatch.delenv("BAKEOFF_API_KEY")
    with pytest.raises(Unsupported, match="BAKEOFF_API_KEY is not set"):
        checks.key("BAKEOFF_API_KEY")


def test_ids_of_an_option_are_whole_numbers() -> None:
    assert checks.ids("end_ids", "0, 2,,") == (0, 2)
    assert checks.ids("end_ids", "") == ()
    with pytest.raises(Unsupported, match="option end_ids is '0;2': expected ids"):
        checks.ids("end_ids", "0;2")


@pytest.mark.parametrize("before", range(560, 601))
def test_no_part_of_a_secret_is_left_where_an_error_is_cut(before: int) -> None:
    said = checks.said(ValueError("x" * before + "sesame-77" * 2), "sesame-77")
    assert "se" not in said and len(said) <= 600


def test_an_error_is_said_in_one_bounded_line() -> None:
    assert checks.said(ValueError("two\n  lines")) == "two lines"
    assert checks.said(ValueError()) == "ValueError"
    assert len(checks.said(ValueError("x" * 9999))) == 600
