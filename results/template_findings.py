"""Judge one prompt that an engine wrote against the one that the model's own template writes.

The messages are found in both texts. What then differs is a message that is not there or stands
elsewhere, or something between the messages: the head before the first, the tail after the last.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from results.records import Conversation, Rendering
from results.template_layout import (
    SYSTEM_ROLES,
    Layout,
    Vocabulary,
    injected,
    locate,
    marks,
    special_ids,
    special_texts,
    squeeze,
)
from results.template_verdicts import Finding, finding, in_words, quoted
from results.template_wrappers import default_system, ends_of_turn, tail

IDENTICAL = finding("identical", "The same text and the same ids.")


def judge(
    conversation: Conversation, reference: Rendering | None, engine: Rendering, vocabulary: object
) -> tuple[Finding, ...]:
    """The findings, the worst first: at least one, and `identical` only ever alone.

    `vocabulary` is a record's `conditions["vocabulary"]`, of whatever shape.
    """
    known = Vocabulary.of(vocabulary)
    if reference is None or reference.status not in ("rendered", "rejected"):
        return (_no_reference(reference, engine),)
    if engine.status == "unsupported":
        return (finding("unsupported", _because("The engine cannot be asked this", engine)),)
    if engine.status not in ("rendered", "rejected"):
        return (finding("stopped", _because("The engine was stopped or died", engine)),)
    if reference.status == "rejected":
        if engine.status == "rejected":
            return (finding("rejected as expected", _because("It refused this too", engine)),)
        return (_accepted(conversation, reference, engine, known),)
    if engine.status == "rejected":
        return (finding("rejected though it should not be", _because("It said", engine)),)
    return _rendered(conversation, reference, engine, known)


def _because(said: str, rendering: Rendering) -> str:
    reason = " ".join((rendering.reason or "").split())
    return f"{said}: {reason[:300]}" if reason else f"{said}, and gave no reason."


def _no_reference(reference: Rendering | None, engine: Rendering) -> Finding:
    why = "no record" if reference is None else reference.reason or reference.status
    did = {
        "rendered": f"the engine wrote {in_words(len(engine.text), 'character')} nevertheless",
        "rejected": f"the engine refused it: {engine.reason}",
    }.get(engine.status, f"the engine gave nothing: {engine.reason or engine.status}")
    what = " ".join(f"There is no reference ({why}); {did}".split())
    return finding("no reference", f"{what[:500]}.")


def _accepted(
    conversation: Conversation, reference: Rendering, engine: Rendering, known: Vocabulary
) -> Finding:
    layout = locate(conversation, engine.text, known)
    lost = [n for n in range(len(layout.contents)) if layout.lost(n)]
    if lost:
        did = f"it left out {_names(layout, lost)}"
    elif (where := _inside_user(layout)) is not None:
        did = f"it put the system message into the user's turn, after {quoted(where)}"
    else:
        did = "it wrote all messages as if nothing were wrong"
    why = " ".join((reference.reason or "no reason given").split())[:200]
    return finding(
        "accepted though it should be rejected",
        f"The model's own template refuses this ({why}); {did}.",
        severity="bad" if lost else None,
    )


def _names(layout: Layout, numbers: list[int]) -> str:
    return " and ".join(
        f"the {layout.roles[n][:20] or 'nameless'} message {quoted(layout.contents[n].strip(), 30)}"
        for n in numbers[:3]
    ) + (f" and {len(numbers) - 3} more" if len(numbers) > 3 else "")


def _rendered(
    conversation: Conversation, reference: Rendering, engine: Rendering, known: Vocabulary
) -> tuple[Finding, ...]:
    mine, theirs = (known.without_bos(r.text) for r in (reference, engine))
    if None not in (reference.ids, engine.ids) and reference.ids == engine.ids:
        if mine == theirs:
            return (IDENTICAL,)
        return (finding("same ids, other text", _first_difference(mine, theirs)),)
    found = list(_bos(reference, engine, known))
    one, other = known.bare(reference), known.bare(engine)
    if mine == theirs:
        found += _ids(conversation, one, other, known)
    else:
        found += _texts(conversation, mine, theirs, known)
        found += _special(conversation, one, other, known)
    return tuple(sorted(found, key=lambda f: f.rank)) or (IDENTICAL,)


def _bos(reference: Rendering, engine: Rendering, known: Vocabulary) -> Iterator[Finding]:
    wanted, got = known.bos_count(reference), known.bos_count(engine)
    bos = quoted(known.bos or "")
    of = "" if engine.ids is not None else " in the text (its ids are not known)"
    if got > wanted and got > 1:
        yield finding("BOS doubled", f"The prompt begins with {got} {bos}{of}, not {wanted}.")
    elif got > wanted:
        yield finding(
            "tokenised differently",
            f"The prompt begins with {bos}{of}; the model's own template has none.",
        )
    elif got < wanted and not got:
        yield finding("BOS missing", f"The prompt does not begin with {bos}{of}.")
    elif got < wanted:
        said = f"The model's own template begins with {wanted} {bos}, this with {got}."
        yield finding("tokenised differently", said)


def _ids(
    conversation: Conversation,
    reference: Rendering,
    engine: Rendering,
    known: Vocabulary,
) -> Iterator[Finding]:
    """The texts are the same; where both have ids, those may differ. No BOS is looked at here."""
    if reference.ids is None or engine.ids is None:
        return
    wanted, got = special_ids(reference, known), special_ids(engine, known)
    if fewer := wanted - got:
        outside = special_texts(locate(conversation, engine.text, known).wrappers, known)
        if all(got[text] >= outside[text] for text in fewer):
            yield finding(
                "special token as text",
                f"{_counted(fewer)} in a message stayed text; the model's own tokenizer makes it special.",
                effect="What a user types cannot end a turn here; the prompt is not the reference's.",
                severity="minor",
            )
        else:
            yield finding("special token as text", f"{_counted(fewer)} became ordinary tokens.")
    if more := got - wanted:
        yield finding("text as special token", f"{_counted(more)} became special, and should not.")
    if not fewer and not more and reference.ids != engine.ids:
        yield finding(
            "tokenised differently",
            f"The same text became {len(engine.ids)} ids, not {len(reference.ids)}; "
            f"they differ from the id at {_common(reference.ids, engine.ids)} on.",
        )


def _counted(found: Counter[str]) -> str:
    parts = [f"{n} × {quoted(text, 30)}" for text, n in sorted(found.items())]
    return ", ".join(parts[:4]) + (" …" if len(parts) > 4 else "")


def _special(
    conversation: Conversation, reference: Rendering, engine: Rendering, known: Vocabulary
) -> Iterator[Finding]:
    """The texts differ: each side's special ids against the special tokens in its own text."""
    if reference.ids is None or engine.ids is None:
        return
    fewer: list[Counter[str]] = []
    for one in (reference, engine):
        written = special_texts(locate(conversation, one.text, known).wrappers, known)
        fewer.append(written - special_ids(one, known))
    lost = Counter({t: n for t, n in fewer[1].items() if t in known.ids and t not in fewer[0]})
    if lost:
        yield finding("special token as text", f"{_counted(lost)} became ordinary tokens.")
    made = set(injected(conversation, engine, known)) - set(
        injected(conversation, reference, known)
    )
    if made:
        names = ", ".join(quoted(text, 30) for text in sorted(made))
        yield finding("text as special token", f"{names} in a message became special.")


def _texts(
    conversation: Conversation, mine: str, theirs: str, known: Vocabulary
) -> Iterator[Finding]:
    if squeeze(mine) == squeeze(theirs):
        yield finding("white space differs", _first_difference(mine, theirs))
        return
    one, other = locate(conversation, mine, known), locate(conversation, theirs, known)
    found = [*_messages(one, other), *default_system(one, other, known)]
    found += tail(one, other, known, prefill=conversation.prefill)
    explained = sum(
        f.verdict in ("system lost", "message lost", "system moved", "default system missing")
        for f in found
    )
    found += ends_of_turn(one, other, known, excused=explained)
    yield from found
    if not found:
        yield finding("other text", _first_difference(mine, theirs))
    elif all(f.verdict != "other text" for f in found) and (
        odd := _other_wrapper(one, other, known)
    ):
        yield finding("other text", odd)


def _messages(one: Layout, other: Layout) -> Iterator[Finding]:
    for n, role in enumerate(one.roles):
        if one.spans[n] is None:
            continue
        if other.lost(n):
            name = _names(one, [n])
            verdict = "system lost" if role in SYSTEM_ROLES else "message lost"
            yield finding(verdict, f"The prompt does not hold {name}.")  # type: ignore[arg-type]
        elif role in SYSTEM_ROLES and other.spans[n] is not None:
            yield from _moved(one, other, n)


def _moved(one: Layout, other: Layout, n: int) -> Iterator[Finding]:
    """Another message comes before it, or it is inside the user's turn on one side only."""
    ranks = [
        [m for m in layout.order if m == n or layout.roles[m] not in SYSTEM_ROLES].index(n)
        for layout in (one, other)
    ]
    if ranks[0] != ranks[1] and not any(other.lost(m) for m in one.order):
        said = f"The system message comes after {ranks[1]} other messages, not after {ranks[0]}."
        yield finding("system moved", said)
        return
    inside = [_inside_user(layout, n) for layout in (one, other)]
    if inside[0] is None and inside[1] is not None:
        said = f"The system message stands inside the user's turn, after {quoted(inside[1])}."
        yield finding("system moved", said)
    elif inside[0] is not None and inside[1] is None:
        said = (
            f"The system message has a turn of its own, after {quoted(other.before(n)[-60:])}; "
            "the model's own template writes it into the user's turn."
        )
        yield finding("system moved", said)


def _inside_user(layout: Layout, message: int | None = None) -> str | None:
    """What stands before a system message that has no turn of its own; None where it has one.

    It has none where only white space parts it from the next message, or where the next one
    begins with the very same marker.
    """
    for n in layout.order if message is None else (message,):
        if layout.roles[n] not in SYSTEM_ROLES:
            continue
        at = layout.order.index(n)
        if at + 1 == len(layout.order):
            continue
        before, gap = squeeze(layout.before(n)[-200:]), squeeze(layout.after(n)[-200:])
        marker = re.sub(r"^.*>(?=[<\[])", "", before)
        if not gap or (marker and gap.endswith(marker)):
            return layout.before(n)[-60:]
    return None


def _other_wrapper(one: Layout, other: Layout, known: Vocabulary) -> str | None:
    """A place between the same two messages whose text differs by more than one marker."""
    follows = {
        layout: dict(zip(layout.order, layout.order[1:], strict=False)) for layout in (one, other)
    }
    for n, after in follows[one].items():
        if follows[other].get(n) != after or {one.roles[n], one.roles[after]} & SYSTEM_ROLES:
            continue
        mine, theirs = squeeze(one.before(after)), squeeze(other.before(after))
        first = next(marks((mine,), known), "")
        if mine != theirs and mine.replace(first, "", 1) != theirs:
            said = f"{quoted(other.before(after))}, not {quoted(one.before(after))}"
            return f"Between messages {n + 1} and {after + 1} stands {said}."
    return None


def _common(one: tuple[int, ...] | str, other: tuple[int, ...] | str) -> int:
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _first_difference(mine: str, theirs: str) -> str:
    at = _common(mine, theirs)
    after = f" after {quoted(mine[max(0, at - 20) : at], 20)}" if at else ""
    here, there = (quoted(t[at : at + 30]) if t[at:] else "nothing" for t in (theirs, mine))
    return f"The first difference is at character {at}{after}: {here} instead of {there}."
