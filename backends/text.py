"""Text by token: for engines that leave turning ids into text to the caller, or show text only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from backends.api import Token

_MOST = 8
"""Tokens that are held back at most: a character has four bytes, and a token at least one."""


class TextStream:
    """Decodes a short window, and holds back while a character is incomplete.

    `decode` is from ids to text; what it can't decode is U+FFFD, or left out.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._before: list[int] = []  # shown already; decides about spaces at the seam
        self._pending: list[int] = []
        self._shown = ""

    def add(self, token: int, last: bool) -> str:
        """The text that this token adds; the last one lets go of half a character, too."""
        self._pending.append(token)
        new = self._decode(self._before + self._pending)[len(self._shown) :]
        if not last and len(self._pending) < _MOST and (not new or new.endswith("\ufffd")):
            return ""
        self._before, self._pending = self._pending, []
        self._shown = self._decode(self._before)
        return new


class LateToken(Token):
    """A token whose id the engine does not tell: it is found when somebody reads it, so that no time
    between tokens holds the search."""

    __slots__ = ("_find",)
    _find: Callable[[str], int]

    def __init__(self, text: str, find: Callable[[str], int]) -> None:
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "_find", find)

    @property
    def id(self) -> int:
        return self._find(self.text)
