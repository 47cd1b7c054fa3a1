"""The view model of chat templates: a matrix per model, and what is behind each of its cells.

Templates and what they wrote are others' text: it is bounded and made visible here, white space
in diffs included. Cells that agree carry a mark and nothing else.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reports.names import variant
from reports.template_words import MARKS, harm, many, mean_harm, sentences
from reports.untrusted import one_line
from results import template_diff, templates
from results.records import Rendering
from results.store import Run
from results.template_layout import Vocabulary
from results.template_verdicts import Severity, Verdict

#: What all diffs of a page may hold together, in characters; later ones are left out, and said so.
_DIFFS = 1_200_000
_SPACES = str.maketrans({" ": "·", "\t": "→", "\u00a0": "⍽"})


@dataclass(frozen=True)
class FindingLine:
    mark: str
    severity: Severity
    verdict: Verdict
    detail: str
    effect: str


@dataclass(frozen=True)
class CellView:
    """One cell. `anchor` leads to its drill-down; empty where there is nothing more to say."""

    mark: str
    severity: Severity
    verdict: str
    more: int
    anchor: str


@dataclass(frozen=True)
class Row:
    backend: str
    artifact: str
    cells: tuple[CellView, ...]
    agreed: str
    harm: str
    #: (verdict, severity, numbers of the conversations from 1, first detail), the worst first
    findings: tuple[tuple[str, Severity, tuple[int, ...], str], ...]

    @property
    def name(self) -> str:
        return f"{self.backend} {self.artifact}"


@dataclass(frozen=True)
class Drill:
    """What arms that wrote the same prompt for a conversation did, and how it differs.

    `segments` are (op, text) with visible white space, `ids` are (op, the reference's id and piece,
    the engine's id and piece); a row with op `elided` has a count in its first field.
    """

    anchor: str
    conversation: str
    arms: tuple[str, ...]
    findings: tuple[FindingLine, ...]
    harm: str
    segments: tuple[tuple[str, str], ...]
    ids: tuple[tuple[str, str, str, str, str], ...]
    note: str


@dataclass(frozen=True)
class Column:
    number: int
    name: str
    about: str
    reference: str
    reason: str


@dataclass(frozen=True)
class Injection:
    """One conversation whose messages hold special tokens, and who made special ids of them."""

    model: str
    conversation: str
    tokens: str
    special: tuple[str, ...]
    text: tuple[str, ...]


@dataclass(frozen=True)
class ModelView:
    anchor: str
    name: str
    tokenizer: str
    trouble: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    drills: tuple[Drill, ...]
    has_harm: bool


@dataclass(frozen=True)
class Templates:
    sentences: tuple[tuple[str, str], ...]
    models: tuple[ModelView, ...]
    injections: tuple[Injection, ...]


def build(run: Run) -> Templates | None:
    """None where the run compared no templates."""
    found = templates.matrix(run)
    if not found:
        return None
    room = [_DIFFS]
    return Templates(
        sentences=tuple(sentences(found)),
        models=tuple(_model(n, model, room) for n, model in enumerate(found, 1)),
        injections=tuple(line for model in found for line in _injections(model)),
    )


def visible(text: str, limit: int = 2000, newline: str = "↵\n") -> str:
    """Text whose white space is seen: ·, →, ⍽ and ↵; other spaces and hidden characters by code."""
    kept, rest = text[:limit], len(text) - limit
    shown = newline.join(_spaces(line) for line in kept.split("\n"))
    return f"{shown}… ({rest} more characters)" if rest > 0 else shown


def _spaces(line: str) -> str:
    plain = line.translate(_SPACES)
    shown = "".join(
        f"\\u{ord(c):04x}" if c > "~" and unicodedata.category(c) == "Zs" else c for c in plain
    )
    return one_line(shown, len(shown))


def _model(number: int, model: templates.Model, room: list[int]) -> ModelView:
    anchor = f"templates-{number}"
    drills, anchors = _drills(model, anchor, room)
    has_harm = any(arm.harm_nats is not None for arm in model.arms)
    return ModelView(
        anchor=anchor,
        name=one_line(model.name, 80),
        tokenizer=one_line(model.tokenizer, 120),
        trouble=one_line(model.trouble or "", 300),
        columns=tuple(_columns(model)),
        rows=tuple(_row(arm, anchors) for arm in model.arms),
        drills=drills,
        has_harm=has_harm,
    )


def _columns(model: templates.Model) -> Iterator[Column]:
    marks = {"rendered": "", "rejected": "rejects", "broken": "broken"}
    pairs = zip(model.conversations, model.references, strict=True)
    for number, (conversation, reference) in enumerate(pairs, 1):
        status = "missing" if reference is None else reference.status
        yield Column(
            number=number,
            name=one_line(conversation.name, 40),
            about=one_line(conversation.about, 200),
            reference=marks.get(status, one_line(status, 20)),
            reason=one_line(reference.reason or "", 300) if reference else "",
        )


def _row(arm: templates.Arm, anchors: dict[tuple[int, int], str]) -> Row:
    cells = []
    by_verdict: dict[tuple[str, Severity], list[int]] = {}
    details: dict[tuple[str, Severity], str] = {}
    ranks: dict[tuple[str, Severity], tuple[int, int]] = {}
    for number, cell in enumerate(arm.cells, 1):
        first = cell.findings[0]
        for one in cell.findings:
            if one.severity != "same":
                key = (one.verdict, one.severity)
                by_verdict.setdefault(key, []).append(number)
                details.setdefault(key, one_line(one.detail, 400))
                ranks[key] = one.rank
        cells.append(
            CellView(
                mark=MARKS[first.severity],
                severity=first.severity,
                verdict="" if first.verdict == "identical" else first.verdict,
                more=len(cell.findings) - 1,
                anchor=anchors.get((id(arm), number), ""),
            )
        )
    agreed = sum(cell.findings[0].severity in ("same", "harmless") for cell in arm.cells)
    return Row(
        backend=one_line(arm.case.backend, 60),
        artifact=variant(arm.case),
        cells=tuple(cells),
        agreed=f"{agreed} of {len(cells)}",
        harm=mean_harm(arm.harm_nats),
        findings=tuple(
            (key[0], key[1], tuple(by_verdict[key]), details[key])
            for key in sorted(by_verdict, key=lambda key: ranks[key])
        ),
    )


def _drills(
    model: templates.Model, anchor: str, room: list[int]
) -> tuple[tuple[Drill, ...], dict[tuple[int, int], str]]:
    """One for all arms of a model that wrote the same for a conversation."""
    alike: dict[tuple[object, ...], list[tuple[templates.Arm, int]]] = {}
    for arm in model.arms:
        for number, cell in enumerate(arm.cells, 1):
            if cell.verdict != "identical":
                made = cell.rendering
                what = (made.status, made.text, made.ids) if made else None
                key = (number, cell.findings, what)
                alike.setdefault(key, []).append((arm, number))
    order = sorted(alike.values(), key=lambda m: (_worst(m[0]), m[0][1]))
    drills: list[Drill] = []
    anchors: dict[tuple[int, int], str] = {}
    for n, members in enumerate(order, 1):
        arm, number = members[0]
        name = f"{anchor}-{n}"
        anchors |= {(id(one), at): name for one, at in members}
        cell = arm.cells[number - 1]
        names = tuple(one_line(one.name, 80) for one, _ in members)
        drills.append(_drill(name, cell, names, model.vocabulary, room))
    return tuple(drills), anchors


def _worst(member: tuple[templates.Arm, int]) -> tuple[int, int]:
    return member[0].cells[member[1] - 1].findings[0].rank


def _drill(
    anchor: str,
    cell: templates.Cell,
    arms: tuple[str, ...],
    known: Vocabulary,
    room: list[int],
) -> Drill:
    segments: tuple[tuple[str, str], ...] = ()
    ids: tuple[tuple[str, str, str, str, str], ...] = ()
    note = ""
    mine, theirs = cell.reference, cell.rendering
    if theirs is not None and theirs.status == "rendered" and room[0] <= 0:
        note = "The diff was left out to keep this page small."
    elif mine is not None and theirs is not None and theirs.status == "rendered":
        base = mine if mine.status == "rendered" else Rendering(mine.conversation, "rendered")
        found = template_diff.diff(base, theirs, known)
        segments = tuple(
            (
                s.op,
                f"{many(int(s.text), 'equal character')}" if s.op == "elided" else visible(s.text),
            )
            for s in found.segments
        )
        ids = tuple(_id_row(row) for row in found.rows)
        if found.cut:
            note = "Cut: there is more."
        room[0] -= sum(len(text) + 60 for _, text in segments)
        room[0] -= sum(len("".join(row)) + 90 for row in ids)
    return Drill(
        anchor=anchor,
        conversation=one_line(cell.conversation.name, 40),
        arms=arms,
        findings=tuple(
            FindingLine(MARKS[f.severity], f.severity, f.verdict, one_line(f.detail, 700), f.effect)
            for f in cell.findings
        ),
        harm=harm(cell.harm_nats),
        segments=segments,
        ids=ids,
        note=note,
    )


def _id_row(row: template_diff.IdRow) -> tuple[str, str, str, str, str]:
    if row.op == "elided":
        return ("elided", many(row.count, "equal id"), "", "", "")
    sides = [
        (str(side[0]), visible(side[1], 60, "↵")) if side is not None else ("", "")
        for side in (row.reference, row.engine)
    ]
    return (row.op, *sides[0], *sides[1])


def _injections(model: templates.Model) -> Iterator[Injection]:
    for n, conversation in enumerate(model.conversations):
        if not model.written[n]:
            continue
        special: list[str] = []
        text: list[str] = []
        reference = model.references[n]
        sides: Sequence[tuple[str, Rendering | None, tuple[str, ...]]] = (
            ("the model's own template", reference, model.injected[n]),
            *((a.name, a.cells[n].rendering, a.cells[n].injected) for a in model.arms),
        )
        for name, made, found in sides:
            if made is not None and made.status == "rendered" and made.ids is not None:
                some = bool(found) and set(found) != set(model.written[n])
                only = f" (only {one_line(' '.join(found), 80)})" if some else ""
                (special if found else text).append(one_line(name, 80) + only)
        yield Injection(
            model=one_line(model.name, 80),
            conversation=one_line(conversation.name, 40),
            tokens=one_line(" ".join(model.written[n]), 200),
            special=tuple(special),
            text=tuple(text),
        )
