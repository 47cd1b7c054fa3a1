"""Text that an engine, a model or a run folder gave us, made safe to look at.

Control, bidirectional and invisible characters become visible escapes (`\\x1b`, `\\u202e`) and the
length is bounded. This is not escaping: each sink still does its own (HTML, Markdown, CSV, rich).
"""

from __future__ import annotations

import unicodedata

#: Cc control, Cf format (bidi, zero width), Cs lone surrogates, Co private, Cn unassigned,
#: Zl and Zp line and paragraph separators.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

#: Not of those categories, yet drawn as nothing: fillers and the Braille blank.
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0\u034f")


def one_line(text: object, limit: int = 200) -> str:
    """Text as one visible line of at most about `limit` characters."""
    return _visible(str(text), limit, keep="")


def lines(text: object, limit: int = 4000) -> str:
    """Text that may span lines: newline and tab stay, everything else is as in `one_line`."""
    return _visible(str(text).replace("\r\n", "\n"), limit, keep="\n\t")


def _visible(text: str, limit: int, keep: str) -> str:
    # Cut first: a megabyte of text must not be walked to show its beginning.
    kept, rest = text[:limit], len(text) - limit
    shown = "".join(c if c in keep or not _hidden(c) else _escape(c) for c in kept)
    return f"{shown}… ({rest} more characters)" if rest > 0 else shown


def _hidden(character: str) -> bool:
    if " " <= character <= "~":
        return False
    return character in _BLANK or unicodedata.category(character) in _HIDDEN


def _escape(character: str) -> str:
    if character == "\n":
        return "\\n"
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
