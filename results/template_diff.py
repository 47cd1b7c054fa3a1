"""Two renderings beside each other: the text in segments, the ids in rows, both bounded."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from results.records import Rendering
from results.template_layout import Vocabulary

Op = Literal["equal", "deleted", "inserted", "elided"]
RowOp = Literal["equal", "replaced", "deleted", "inserted", "elided"]
Token = tuple[int, str]
Code = tuple[str, int, int, int, int]
T = TypeVar("T", str, int)

#: Beyond so many differing parts the middle is one deletion and one insertion.
_PARTS = 800
#: Characters and ids of an equal run that stay next to a difference.
_TEXT_CONTEXT = 60
_ID_CONTEXT = 3
#: So far a difference is moved to begin with a marker.
_SLIDE = 200
NONE = Vocabulary()


@dataclass(frozen=True)
class Segment:
    """`deleted`: the reference has it and the engine has not. `elided`: `text` is a count."""

    op: Op
    text: str


@dataclass(frozen=True)
class IdRow:
    """Ids in the same place, each with its text; `elided` ones are `count` equal ids."""

    op: RowOp
    reference: Token | None = None
    engine: Token | None = None
    count: int = 1


@dataclass(frozen=True)
class Diff:
    """`cut` is True where not everything is here."""

    segments: tuple[Segment, ...]
    rows: tuple[IdRow, ...]
    cut: bool


def diff(
    reference: Rendering,
    engine: Rendering,
    vocabulary: Vocabulary = NONE,
    *,
    characters: int = 1200,
    rows: int = 40,
) -> Diff:
    """What a reader needs to see. Empty parts where the two agree, or a side has none.

    Where both have ids, those say who wrote a BOS: an engine may keep it out of its text.
    """
    texts = [reference.text, engine.text]
    if reference.ids is not None and engine.ids is not None:
        texts = [vocabulary.without_bos(text) for text in texts]
    segments, cut_text = _segments(texts[0], texts[1], characters)
    found, cut_ids = _rows(reference, engine, vocabulary, rows)
    return Diff(segments, found, cut_text or cut_ids)


def _opcodes(one: Sequence[T], other: Sequence[T]) -> list[Code]:
    """difflib's opcodes, with the equal ends taken off first and a bound on the rest."""
    shortest = min(len(one), len(other))
    start = next((n for n in range(shortest) if one[n] != other[n]), shortest)
    end = next(
        (n for n in range(shortest - start) if one[-1 - n] != other[-1 - n]), shortest - start
    )
    a, b = one[start : len(one) - end], other[start : len(other) - end]
    found: list[Code] = [("equal", 0, start, 0, start)] if start else []
    if len(a) > _PARTS or len(b) > _PARTS:
        found.append(("replace", start, start + len(a), start, start + len(b)))
    else:
        matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
        found += [
            (op, i + start, j + start, k + start, m + start)
            for op, i, j, k, m in matcher.get_opcodes()
        ]
    if end:
        found.append(("equal", len(one) - end, len(one), len(other) - end, len(other)))
    return found


def _slide(
    codes: list[Code], one: Sequence[T], other: Sequence[T], begins: Callable[[T], bool]
) -> list[Code]:
    """Move what only one side has to the left, where it then begins with a marker: a whole turn
    rather than the end of one and the beginning of the next."""
    found = list(codes)
    for n in range(1, len(found)):
        op, i, j, k, m = found[n]
        before = found[n - 1]
        if op not in ("insert", "delete") or before[0] != "equal":
            continue
        side, start, end = (other, k, m) if op == "insert" else (one, i, j)
        best = 0
        for by in range(1, min(_SLIDE, before[2] - before[1]) + 1):
            if side[start - by] != side[end - by]:
                break
            if begins(side[start - by]):
                best = by
        if best and not begins(side[start]) and n + 1 < len(found):
            _, a, b, c, d = found[n + 1]
            found[n - 1] = ("equal", before[1], before[2] - best, before[3], before[4] - best)
            found[n] = (op, i - best, j - best, k - best, m - best)
            found[n + 1] = ("equal", a - best, b, c - best, d)
        elif best and not begins(side[start]):
            found[n - 1] = ("equal", before[1], before[2] - best, before[3], before[4] - best)
            found[n] = (op, i - best, j - best, k - best, m - best)
            found.append(("equal", j - best, j, m - best, m))
    return [code for code in found if code[1] < code[2] or code[3] < code[4]]


def _segments(mine: str, theirs: str, limit: int) -> tuple[tuple[Segment, ...], bool]:
    if mine == theirs:
        return (), False
    one, other = (
        re.findall(r"<\|[^|<>]{1,40}\|>|\w+|\s|.", text, re.DOTALL) for text in (mine, theirs)
    )
    found: list[Segment] = []
    codes = _slide(_opcodes(one, other), one, other, lambda part: part.startswith("<|"))
    for n, (op, i, j, k, m) in enumerate(codes):
        if op == "equal":
            found += _around("".join(one[i:j]), first=n == 0, last=n == len(codes) - 1)
            continue
        if i < j:
            found.append(Segment("deleted", "".join(one[i:j])))
        if k < m:
            found.append(Segment("inserted", "".join(other[k:m])))
    kept: list[Segment] = []
    left = limit
    for segment in found:
        if left <= 0:
            return tuple(kept), True
        if len(segment.text) > left and segment.op != "elided":
            return (*kept, Segment(segment.op, segment.text[:left])), True
        kept.append(segment)
        left -= len(segment.text)
    return tuple(kept), False


def _around(text: str, *, first: bool, last: bool) -> list[Segment]:
    """An equal run, its middle left out if it is long."""
    head, tail = (0 if first else _TEXT_CONTEXT), (0 if last else _TEXT_CONTEXT)
    hidden = len(text) - head - tail
    if hidden < _TEXT_CONTEXT:
        return [Segment("equal", text)]
    parts = [
        Segment("equal", text[:head]),
        Segment("elided", str(hidden)),
        Segment("equal", text[len(text) - tail :]),
    ]
    return [part for part in parts if part.text]


def _rows(
    reference: Rendering, engine: Rendering, vocabulary: Vocabulary, limit: int
) -> tuple[tuple[IdRow, ...], bool]:
    if reference.ids is None or engine.ids is None or reference.ids == engine.ids:
        return (), False
    pieces: dict[int, str] = {}
    for side in (engine, reference):
        pieces.update(zip(side.ids or (), side.pieces, strict=False))
    one, other = (_tokens(side, pieces) for side in (reference, engine))
    found: list[IdRow] = []
    special = set(vocabulary.ids.values())
    codes = _slide(
        _opcodes(reference.ids, engine.ids), reference.ids, engine.ids, lambda one: one in special
    )
    for n, (op, i, j, k, m) in enumerate(codes):
        if len(found) > limit:
            break
        if op == "equal":
            pairs = [IdRow("equal", a, b) for a, b in zip(one[i:j], other[k:m], strict=True)]
            head = 0 if n == 0 else _ID_CONTEXT
            tail = 0 if n == len(codes) - 1 else _ID_CONTEXT
            hidden = len(pairs) - head - tail
            if hidden > 1:
                found += pairs[:head]
                found.append(IdRow("elided", count=hidden))
                found += pairs[len(pairs) - tail :]
            else:
                found += pairs
            continue
        for offset in range(min(max(j - i, m - k), limit + 1)):
            a = one[i + offset] if i + offset < j else None
            b = other[k + offset] if k + offset < m else None
            row: RowOp = "replaced" if a and b else "deleted" if a else "inserted"
            found.append(IdRow(row, a, b))
    return tuple(found[:limit]), len(found) > limit


def _tokens(side: Rendering, pieces: dict[int, str]) -> list[Token]:
    own = side.pieces or ("",) * len(side.ids or ())
    return [
        (number, text or pieces.get(number, ""))
        for number, text in zip(side.ids or (), own, strict=False)
    ]
