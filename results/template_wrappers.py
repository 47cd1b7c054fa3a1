"""What stands around the messages: the head, the tail, and the ends of turns between them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from results.template_layout import SYSTEM_ROLES, Layout, Vocabulary, marks, squeeze
from results.template_verdicts import Finding, finding, in_words, quoted

_ROLES = frozenset({"user", "assistant", "model", "human", "bot", "inst"})
_SYSTEM = re.compile(r"sys(tem)?", re.IGNORECASE)
_END = re.compile(r"end(?!_header)|eot|eom|eos|</s>", re.IGNORECASE)
#: So many words are a text of its own; fewer are a name or a date that differs.
_SENTENCE = 3


def default_system(one: Layout, other: Layout, known: Vocabulary) -> Iterator[Finding]:
    """Words before the first message of a conversation that has no system message, or lost it."""
    system = [n for n, role in enumerate(one.roles) if role in SYSTEM_ROLES and one.contents[n]]
    if any(not other.lost(n) for n in system):
        return
    mine, theirs = _words(one.head, known), _words(other.head, known)
    added, missing = theirs - mine, mine - theirs
    if _is_text(added) and not _is_text(missing):
        yield finding("default system added", f"Before the first message stands {_head(other)}.")
    elif _is_text(missing) and not _is_text(added) and not system:
        said = f"Before the first message the model's own template writes {_head(one)}."
        yield finding("default system missing", said)
    elif _is_text(missing) and _is_text(added) and not system:
        said = f"Before the first message stands {_head(other)}, not {_head(one)}."
        yield finding("other text", said)


def _words(text: str, known: Vocabulary) -> Counter[str]:
    """Of a marker only counts whether it is a system message's."""
    text = text[:4000]
    for mark in {*marks((text,), known)}:
        text = text.replace(mark, " system " if _SYSTEM.search(mark) else " ")
    found = Counter(word.lower() for word in re.findall(r"[^\W_]+", text))
    return Counter({word: n for word, n in found.items() if word not in _ROLES})


def _is_text(words: Counter[str]) -> bool:
    system = any(_SYSTEM.fullmatch(word) for word in words)
    return system or sum(words.values()) >= _SENTENCE


def _head(layout: Layout) -> str:
    return quoted(layout.head, 120)


def split_tail(text: str, known: Vocabulary) -> tuple[str, str]:
    """(end of turn, generation prompt) of a tail, without white space.

    The first marker ends the turn if something follows it; a single one asks for the answer.
    """
    whole = squeeze(text)
    first = next(marks((whole,), known), None)
    if first is None or not whole.startswith(first) or whole == first:
        return "", whole
    return first, whole[len(first) :]


def tail(one: Layout, other: Layout, known: Vocabulary, *, prefill: bool) -> Iterator[Finding]:
    """What follows the last message."""
    if not one.order or not other.order or one.order[-1] != other.order[-1]:
        # The last message is empty, lost or elsewhere: only the very end can be compared.
        yield from _end(one, other, known)
        return
    mine, theirs = squeeze(one.tail), squeeze(other.tail)
    if mine == theirs:
        return
    last = one.order[-1]
    if prefill and last == len(one.roles) - 1 and not mine:
        yield finding(
            "prefill closed", f"After the answer's beginning stands {quoted(other.tail)}."
        )
        return
    ending, asking = split_tail(one.tail, known)
    left = theirs.removeprefix(ending) if ending else theirs
    if asking and asking != left and asking.startswith(left):
        rest = quoted(other.tail) if left else "nothing"
        yield finding(
            "generation prompt missing", f"The prompt ends with {rest}, not with {quoted(asking)}."
        )
    elif left != asking:
        said = f"After the last message stands {quoted(other.tail)}, not {quoted(one.tail)}."
        yield finding("other text", said)


def _end(one: Layout, other: Layout, known: Vocabulary) -> Iterator[Finding]:
    """The last turn of the reference is what begins with its last end marker but one."""
    found = list(marks((one.tail,), known))
    ends = [n for n, mark in enumerate(found) if _END.search(mark) or mark == known.eos]
    if not ends:
        return
    whole = squeeze(one.tail)
    asking = whole[whole.rfind(squeeze(found[ends[-1]])) + len(squeeze(found[ends[-1]])) :]
    if asking and not squeeze(other.text).endswith(asking):
        said = f"The prompt ends with {quoted(other.text[-40:])}, not with {quoted(asking)}."
        yield finding("generation prompt missing", said)


def ends_of_turn(
    one: Layout, other: Layout, known: Vocabulary, *, excused: int
) -> Iterator[Finding]:
    """End markers that the reference has around messages and the engine has not.

    `excused` turns are missing as a whole, so that their ends are no finding of their own.
    """
    mine, theirs = Counter(marks(one.wrappers, known)), Counter(marks(other.wrappers, known))
    ends = {mark for mark in mine if _END.search(mark) or mark == known.eos}
    ends.add(split_tail(one.tail, known)[0])
    for n in one.order[:-1]:
        first = next(marks((one.after(n),), known), None)
        if first is not None and squeeze(one.after(n)).startswith(squeeze(first)):
            ends.add(first)
    missing = Counter({mark: n for mark, n in (mine - theirs).items() if mark in ends})
    foreign = sum(n for mark, n in theirs.items() if mark not in mine)
    count = sum(missing.values()) - excused - foreign
    if count > 0:
        names = ", ".join(quoted(mark, 30) for mark in sorted(missing))
        times = in_words(count, "time")
        yield finding("end of turn missing", f"{names} is missing {times}.")
