"""Text by token: whole characters, and no window that grows."""

from __future__ import annotations

from collections.abc import Sequence

from backends.text import TextStream


def decode(ids: Sequence[int]) -> str:
    """Bytes; what is above them has no text."""
    return bytes(i for i in ids if i < 256).decode("utf-8", "replace")


def test_a_character_comes_with_its_last_token() -> None:
    stream = TextStream(decode)
    ids = list("a漢😀b".encode())
    said = [stream.add(i, n == len(ids) - 1) for n, i in enumerate(ids)]
    assert said == ["a", "", "", "漢", "", "", "", "😀", "b"]


def test_the_last_token_lets_go_of_half_a_character() -> None:
    stream = TextStream(decode)
    assert [stream.add(0xE6, False), stream.add(0xBC, True)] == ["", "\ufffd"]


def test_tokens_without_text_are_not_decoded_again_and_again() -> None:
    """Such as an end of sequence that is forced on: the time would grow with the square."""
    asked: list[int] = []

    def counted(ids: Sequence[int]) -> str:
        asked.append(len(ids))
        return decode(ids)

    stream = TextStream(counted)
    assert not any(stream.add(300, False) for _ in range(1000))
    assert max(asked) <= 16
    assert stream.add(ord("x"), False) == "x"
