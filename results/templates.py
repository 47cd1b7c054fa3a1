"""A run's chat templates: each engine's prompt for each conversation, against the model's own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from results import arms
from results.records import Case, Conversation, Record, Rendering, Score, digest_ids
from results.store import Run
from results.summary import HARM, REFERENCE, TEMPLATES
from results.template_findings import judge
from results.template_layout import Vocabulary, content_text, injected, special_texts
from results.template_verdicts import Finding, Verdict, finding

#: By conversation and digest of the prompt, as one arm scored them.
Scores = Mapping[tuple[str, str], Score]


@dataclass(frozen=True)
class Cell:
    """One conversation by one arm. `rendering` is None where the trial left none; then
    `findings` says why. `injected` are the special tokens in messages that became special ids.

    `harm_nats` is how much less likely the engine's prompt makes the answer than the reference's:
    its odds fall by e^harm. None where nobody scored it.
    """

    conversation: Conversation
    reference: Rendering | None
    rendering: Rendering | None
    findings: tuple[Finding, ...]
    injected: tuple[str, ...]
    harm_nats: float | None

    @property
    def verdict(self) -> Verdict:
        return self.findings[0].verdict

    @property
    def ids_equal(self) -> bool | None:
        ids = [None if side is None else side.ids for side in (self.reference, self.rendering)]
        return None if None in ids else ids[0] == ids[1]

    @property
    def text_equal(self) -> bool | None:
        """None unless both were rendered. A BOS that only one side writes as text counts."""
        sides = [s for s in (self.reference, self.rendering) if s and s.status == "rendered"]
        return sides[0].text == sides[1].text if len(sides) == 2 else None


@dataclass(frozen=True)
class Arm:
    """An engine with an artifact and options. `harm_nats` is the mean over scored conversations."""

    case: Case
    cells: tuple[Cell, ...]

    @property
    def name(self) -> str:
        return arms.arm(self.case)

    @property
    def harm_nats(self) -> float | None:
        known = [cell.harm_nats for cell in self.cells if cell.harm_nats is not None]
        return sum(known) / len(known) if known else None


@dataclass(frozen=True)
class Model:
    """One model: how its own template renders each conversation, and what each arm makes of it.

    `trouble` says why there is no reference, if there is none. One entry per conversation have
    `written`, the special tokens that its messages hold, and `injected`, those of them that the
    reference made special ids of.
    """

    name: str
    conversations: tuple[Conversation, ...]
    references: tuple[Rendering | None, ...]
    trouble: str | None
    tokenizer: str
    vocabulary: Vocabulary
    written: tuple[tuple[str, ...], ...]
    injected: tuple[tuple[str, ...], ...]
    arms: tuple[Arm, ...]


def matrix(run: Run) -> tuple[Model, ...]:
    """The models whose templates were compared, by name; empty where the run compared none."""
    cases: dict[str, dict[str, Case]] = {}
    for trial in run.info.trials:
        if trial.case.measure == TEMPLATES:
            cases.setdefault(trial.case.model, {}).setdefault(trial.case.key, trial.case)
    records: dict[str, Record] = {}
    for record in run.records:
        kept = records.get(record.case.key)
        if kept is None or (kept.status != "ok" and record.status == "ok"):
            records[record.case.key] = record
    return tuple(_model(name, run, cases[name], records) for name in sorted(cases))


def _model(name: str, run: Run, cases: Mapping[str, Case], records: Mapping[str, Record]) -> Model:
    reference = next(
        (records[k] for k, c in cases.items() if c.backend == REFERENCE and k in records), None
    )
    data = reference.conditions.get("vocabulary") if reference else None
    known = Vocabulary.of(data)
    tokenizer = data.get("tokenizer") if isinstance(data, Mapping) else None
    by_name = _by_conversation(reference)
    conversations = run.info.conversations or tuple(
        Conversation(one, "", ()) for one in dict.fromkeys(
            r.conversation for k in cases if k in records for r in records[k].renderings
        )
    )  # fmt: skip
    references = tuple(by_name.get(c.name) for c in conversations)
    scores = _scores(run, name)
    engines = sorted(
        (c for c in cases.values() if c.backend != REFERENCE), key=lambda c: (arms.arm(c), c.key)
    )
    return Model(
        name=name,
        conversations=conversations,
        references=references,
        trouble=_trouble(reference),
        tokenizer=tokenizer if isinstance(tokenizer, str) else "",
        vocabulary=known,
        written=tuple(
            tuple(sorted(special_texts([content_text(m) for m in c.messages], known)))
            for c in conversations
        ),
        injected=tuple(
            () if one is None else injected(c, one, known)
            for c, one in zip(conversations, references, strict=True)
        ),
        arms=tuple(
            Arm(
                case,
                tuple(
                    _cell(c, one, records.get(case.key), known, data, scores)
                    for c, one in zip(conversations, references, strict=True)
                ),
            )
            for case in engines
        ),
    )


def _trouble(reference: Record | None) -> str | None:
    if reference is None:
        return "the reference has not run"
    if reference.status != "ok":
        return reference.reason or f"the reference's trial ended as {reference.status}"
    broken = [r for r in reference.renderings if r.status == "broken"]
    if broken and len(broken) == len(reference.renderings):
        return broken[0].reason or "the model has no usable template"
    return None


def _cell(
    conversation: Conversation,
    reference: Rendering | None,
    record: Record | None,
    known: Vocabulary,
    data: object,
    scores: Sequence[Scores],
) -> Cell:
    rendering = _by_conversation(record).get(conversation.name)
    if rendering is None:
        return Cell(conversation, reference, None, (_absent(record),), (), None)
    return Cell(
        conversation,
        reference,
        rendering,
        judge(conversation, reference, rendering, data),
        injected(conversation, rendering, known),
        _harm(conversation, reference, rendering, scores),
    )


def _absent(record: Record | None) -> Finding:
    if record is None:
        return finding("stopped", "This trial has not run.", effect="", severity="untold")
    reason = " ".join((record.reason or f"the trial ended as {record.status}").split())[:300]
    if record.status == "unsupported":
        return finding("unsupported", reason)
    return finding("stopped", f"The engine left no prompt: {reason}")


def _by_conversation(record: Record | None) -> dict[str, Rendering]:
    found: dict[str, Rendering] = {}
    for rendering in record.renderings if record else ():
        found.setdefault(rendering.conversation, rendering)
    return found


def _scores(run: Run, model: str) -> list[Scores]:
    """Per record, log-probabilities by conversation and prompt."""
    return [
        {(s.conversation, s.prompt): s for s in record.scores if _usable(s)}
        for record in run.records
        if record.case.measure == HARM and record.case.model == model and record.scores
    ]


def _usable(score: Score) -> bool:
    return bool(score.logprobs) and all(map(math.isfinite, score.logprobs))


def _harm(
    conversation: Conversation,
    reference: Rendering | None,
    engine: Rendering,
    scored: Sequence[Scores],
) -> float | None:
    """From the first record that scored the same answer after both prompts."""
    if reference is None or reference.ids is None or engine.ids is None:
        return None
    prompts = [(conversation.name, digest_ids(side.ids or ())) for side in (reference, engine)]
    for scores in scored:
        mine, theirs = (scores.get(prompt) for prompt in prompts)
        if mine and theirs and mine.answer == theirs.answer:
            return 0.0 if mine is theirs else sum(mine.logprobs) - sum(theirs.logprobs)
    return None
