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


def test_an_error_is_said_in_one_bounded_line() -> None:
    assert checks.said(ValueError("two\n  lines")) == "two lines"
    assert checks.said(ValueError()) == "ValueError"
    assert len(checks.said(ValueError("x" * 9999))) == 600
