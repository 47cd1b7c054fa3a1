"""The view model of fidelity: how far each arm's next-token distributions are from a reference's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reports.names import variant
from reports.numbers import MISSING
from reports.untrusted import one_line
from results.fidelity import ArmFidelity, Divergence, ModelFidelity
from results.nats import nats
from results.statistics import Estimate

MARKS = {"true to the weights": "✓", "as its bits allow": "≈", "fault": "✗", "not judged": "?"}
TONES = {
    "true to the weights": "good",
    "as its bits allow": "",
    "fault": "bad",
    "not judged": "muted",
}
ABOUT = (
    "Every arm is given the same token ids, and its distribution of the next token is held against "
    "the reference's at every position. KL is the divergence KL(reference ‖ engine) in nats; top-1 "
    "is how often both think the same token best; perplexity is that of the texts, over the "
    "reference's, with a 95 % interval by texts."
)
NEAR_TIE = (
    "Where a greedy answer leaves the reference's: a near-tie is a step at which the reference "
    "preferred its own token by no more than the engine's usual error (99 % of its errors are "
    "smaller)."
)


#: Arms that one sentence names.
_NAMED = 8

#: A sentence: who, what about them, and whether it could be told that all is well.
Said = tuple[str, str, bool]


@dataclass(frozen=True)
class Row:
    """One arm, and the numbers that its text is made of. `divergences` are sentences, `faults` and
    `troubles` too."""

    found: ArmFidelity
    backend: str
    artifact: str
    mark: str
    tone: str
    verdict: str
    kl: str
    kl_p99: str
    kl_max: str
    top1: str
    delta: str
    perplexity: str
    usual_error: str
    method: str
    positions: str
    places: tuple[tuple[str, str], ...]
    styles: tuple[tuple[str, str], ...]
    divergences: tuple[tuple[str, str, str], ...]
    faults: tuple[str, ...]
    notes: tuple[str, ...]
    troubles: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.backend} {self.artifact}"


@dataclass(frozen=True)
class Group:
    """One model."""

    anchor: str
    title: str
    reference: str
    trouble: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Fidelity:
    about: str
    near_tie: str
    sentences: tuple[Said, ...]
    groups: tuple[Group, ...]


def build(models: Sequence[ModelFidelity]) -> Fidelity | None:
    """None where the run measured no fidelity."""
    if not models:
        return None
    groups = tuple(_group(number, model) for number, model in enumerate(models, start=1))
    return Fidelity(ABOUT, NEAR_TIE, tuple(_sentences(groups, models)), groups)


def _group(number: int, model: ModelFidelity) -> Group:
    return Group(
        anchor=f"fidelity-{number}",
        title=one_line(model.name, 80),
        reference=one_line(model.reference, 120),
        trouble=one_line(model.trouble or "", 600),
        rows=tuple(_row(arm) for arm in model.arms),
    )


def _row(arm: ArmFidelity) -> Row:
    bound = "≥ " if arm.method == "top-k" else ""
    return Row(
        found=arm,
        backend=one_line(arm.case.backend, 60),
        artifact=variant(arm.case),
        mark=MARKS[arm.verdict],
        tone=TONES[arm.verdict],
        verdict=arm.verdict,
        kl=bound + nats(arm.kl.mean) if arm.kl else MISSING,
        kl_p99=bound + nats(arm.kl.p99) if arm.kl else MISSING,
        kl_max=bound + nats(arm.kl.max) if arm.kl else MISSING,
        top1=_share(arm.top1),
        delta=f"{round(arm.delta_logprob, 4) + 0.0:+.4f}"
        if arm.delta_logprob is not None
        else MISSING,
        perplexity=_ratio(arm.perplexity_ratio),
        usual_error=f"{arm.usual_error:.3g}" if arm.usual_error is not None else MISSING,
        method=arm.method or MISSING,
        positions=f"{arm.positions:,}",
        places=tuple((place, bound + nats(value)) for place, value in arm.by_position),
        styles=tuple((one_line(style, 40), bound + nats(value)) for style, value in arm.by_style),
        divergences=tuple(_divergence(one) for one in arm.divergences[:40]),
        faults=tuple(one_line(fault, 400) for fault in arm.faults),
        notes=tuple(one_line(note, 400) for note in arm.notes),
        troubles=tuple(one_line(f"{item}: {why}", 400) for item, why in arm.troubles[:20]),
    )


def _share(found: Estimate | None) -> str:
    return MISSING if found is None else f"{found.value:.2%}"


def _ratio(found: Estimate | None) -> str:
    if found is None:
        return MISSING
    if found.low is None or found.high is None:
        return f"{found.value:.4f}"
    return f"{found.value:.4f} ({found.low:.4f} to {found.high:.4f})"


def _divergence(one: Divergence) -> tuple[str, str, str]:
    """Item, verdict, and a sentence."""
    verdict = {True: "near-tie", False: "fault", None: "not judged"}[one.near_tie]
    said = f"leaves the reference's answer at token {one.step + 1}"
    if one.margin is not None and one.usual is not None:
        said += (
            f", where the reference preferred its own by {one.margin:.3g} logits; the engine's "
            f"usual error is {one.usual:.3g}"
        )
    return one_line(one.item, 80), verdict, said


def _sentences(groups: Sequence[Group], models: Sequence[ModelFidelity]) -> Iterator[Said]:
    """The true ones, then those that lose something, the least first, then those at fault."""
    several = len(groups) > 1
    for group, model in zip(groups, models, strict=True):
        where = f" ({group.title})" if several else ""
        far = [
            (arm.kl.mean if arm.kl else math.inf, row)
            for arm, row in zip(model.arms, group.rows, strict=True)
        ]
        rows = [row for _, row in sorted(far, key=lambda one: one[0])]
        if group.trouble and any(row.verdict != "not judged" for row in rows):
            said = f"the reference is not complete{where}, only what it has is judged: {group.trouble}."
            yield "Caution:", said, False
        elif group.trouble:
            yield (
                "Can't tell",
                f"whose answers are true to the weights{where}: {group.trouble}.",
                False,
            )
        told = {row.name for arm, row in zip(model.arms, group.rows, strict=True) if arm.kl}
        good = [row for row in rows if row.name in told]
        if true := [_with_kl(row) for row in good if row.verdict == "true to the weights"]:
            yield _listed(true), f"{_are(true)} true to the weights{where}.", True
        lossy = [row for row in good if row.verdict == "as its bits allow"]
        if near := [_with_kl(row) for row in lossy if row.method != "top-k"]:
            said = f"{_are(near)} off by no more than fewer bits explain{where}."
            yield _listed(near), said, True
        if bound := [_with_kl(row) for row in lossy if row.method == "top-k"]:
            one = len(bound) == 1
            said = (
                f"{'shows its' if one else 'show their'} best tokens only{where}: no fault is seen, and "
                f"how far off {'it is' if one else 'they are'} at most is not known."
            )
            yield _listed(bound), said, False
        dark = [row for row in rows if row.verdict == "not judged" and not group.trouble]
        if unseen := [row.name for row in dark if row.found.top1 is None]:
            said = f"how true {_listed(unseen)} {_are(unseen)}{where}: nothing to judge by."
            yield "Can't tell", said, False
        for row in rows:
            if row in dark and row.found.top1 is not None:
                lacks = f"nothing says in how many bits it is stored, its KL is {row.kl}"
                if row.name not in told:
                    lacks = "it shows no probabilities"
                said = (
                    f"how far {row.name} is off{where}: {lacks}; its best token is the reference's at "
                    f"{row.top1} of positions."
                )
                yield "Can't tell", said, False
            if row.verdict == "fault":
                yield row.name, f"is at fault{where}: {'; '.join(row.faults)}.", False


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _with_kl(row: Row) -> str:
    return f"{row.name} (KL {row.kl})"


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"
