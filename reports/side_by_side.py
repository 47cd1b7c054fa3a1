"""Two answers to one prompt, aligned at the first token that differs, with the margin there.

The reference's greedy answer to each chat, and each arm's that leaves it. What a token reads as is
what the engine gave with it; a run that kept no texts shows the ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.names import case_name
from reports.untrusted import lines, one_line
from results.fidelity import ArmFidelity, Divergence, ModelFidelity
from results.fidelity_observations import Observed, read
from results.records import Record
from results.store import Run

#: Characters shown of what two answers share (its end), of how each goes on, and of a question.
_SHARED, _REST, _QUESTION = 240, 320, 300
#: Chats that a page shows.
_ITEMS = 24

_VERDICTS = {True: "near-tie", False: "fault", None: "not judged"}


@dataclass(frozen=True)
class Text:
    """One answer from the first differing token on: that token, and the rest."""

    first: str
    rest: str


@dataclass(frozen=True)
class Pair:
    """An arm against the reference. `token` counts from 1; `margin` is by how many logits the
    reference preferred its own token there, `usual` the engine's usual error."""

    name: str
    verdict: str
    token: int
    margin: str
    usual: str
    shared: str
    reference: Text
    engine: Text


@dataclass(frozen=True)
class Item:
    """One chat. `same` are the arms that gave the reference's answer token by token."""

    name: str
    question: str
    reference: str
    same: tuple[str, ...]
    pairs: tuple[Pair, ...]


def build(run: Run, models: Sequence[ModelFidelity]) -> tuple[tuple[Item, ...], ...]:
    """Per model, the chats that any arm answered otherwise than the reference, most arms first."""
    records = {record.case.key: record for record in run.records}
    questions = {
        str(item.get("name")): _question(item) for item in run.info.items.get("fidelity", ())
    }
    return tuple(_model(model, records, questions) for model in models)


def _model(
    model: ModelFidelity, records: Mapping[str, Record], questions: Mapping[str, str]
) -> tuple[Item, ...]:
    held = next(
        (
            r
            for r in records.values()
            if r.case.measure == "reference" and r.case.model == model.name
        ),
        None,
    )
    wanted = read(held) if held else {}
    arms = [(arm, read(records[arm.case.key])) for arm in model.arms if arm.case.key in records]
    found = [
        _item(name, theirs, arms, questions.get(name, ""), model.reference)
        for name, theirs in wanted.items()
        if theirs.greedy is not None
    ]
    parted = [item for item in found if item.pairs]
    return tuple(sorted(parted, key=lambda item: -len(item.pairs))[:_ITEMS])


def _item(
    name: str,
    theirs: Observed,
    arms: Sequence[tuple[ArmFidelity, Mapping[str, Observed]]],
    question: str,
    reference: str,
) -> Item:
    same, pairs = [], []
    for arm, seen in arms:
        ours = seen.get(name)
        if ours is None or ours.trouble is not None or ours.greedy is None:
            continue
        if ours.greedy == theirs.greedy:
            same.append(case_name(arm.case))
        else:
            pairs.append(_pair(arm, name, ours, theirs))
    return Item(one_line(name, 80), question, one_line(reference, 120), tuple(same), tuple(pairs))


def _pair(arm: ArmFidelity, item: str, ours: Observed, theirs: Observed) -> Pair:
    mine, other = ours.greedy or (), theirs.greedy or ()
    at = next(
        (n for n, (one, two) in enumerate(zip(mine, other, strict=False)) if one != two),
        min(len(mine), len(other)),
    )
    known = next((d for d in arm.divergences if d.item == item and d.step == at), None)
    shared = _read(theirs, 0, at)
    return Pair(
        name=case_name(arm.case),
        verdict=_verdict(known, ended=at in (len(mine), len(other))),
        token=at + 1,
        margin=_logits(known.margin if known else None),
        usual=_logits(known.usual if known else None),
        shared=("…" if len(shared) > _SHARED else "") + lines(shared[-_SHARED:], _SHARED),
        reference=_text(theirs, at),
        engine=_text(ours, at),
    )


def _verdict(known: Divergence | None, *, ended: bool) -> str:
    if known is not None:
        return _VERDICTS[known.near_tie]
    return "ends elsewhere" if ended else "not judged"


def _text(one: Observed, at: int) -> Text:
    if len(one.greedy or ()) <= at:
        return Text("(ends)", "")
    return Text(lines(_read(one, at, at + 1), 60), lines(_read(one, at + 1), _REST))


def _read(one: Observed, start: int, end: int | None = None) -> str:
    """Tokens as text; as ids where no text was kept."""
    ids = (one.greedy or ())[start:end]
    return "".join(one.pieces[start:end] if one.pieces else (f"⟨{token}⟩" for token in ids))


def _logits(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _question(item: Mapping[str, object]) -> str:
    """The last message of a chat."""
    messages = item.get("messages")
    last = messages[-1] if isinstance(messages, list | tuple) and messages else None
    content = last.get("content") if isinstance(last, Mapping) else None
    return one_line(content, _QUESTION) if isinstance(content, str) else ""
