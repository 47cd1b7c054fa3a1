"""The view model of fidelity: how far each arm's next-token distributions are from a reference's."""

from __future__ import annotations

from dataclasses import dataclass

from reports.names import variant
from reports.numbers import MISSING
from reports.untrusted import one_line
from results import fidelity
from results.fidelity import ArmFidelity, Divergence, ModelFidelity
from results.statistics import Estimate
from results.store import Run

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


@dataclass(frozen=True)
class Row:
    """One arm. `divergences` are sentences, `faults` and `troubles` too."""

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
    sentences: tuple[str, ...]
    groups: tuple[Group, ...]


def build(run: Run) -> Fidelity | None:
    """None where the run measured no fidelity."""
    models = fidelity.of(run)
    if not models:
        return None
    groups = tuple(_group(number, model) for number, model in enumerate(models, start=1))
    return Fidelity(ABOUT, NEAR_TIE, tuple(_sentences(groups)), groups)


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
        backend=one_line(arm.case.backend, 60),
        artifact=one_line(variant(arm.case), 60),
        mark=MARKS[arm.verdict],
        tone=TONES[arm.verdict],
        verdict=arm.verdict,
        kl=bound + nats(arm.kl.mean) if arm.kl else MISSING,
        kl_p99=nats(arm.kl.p99) if arm.kl else MISSING,
        kl_max=nats(arm.kl.max) if arm.kl else MISSING,
        top1=_share(arm.top1),
        delta=f"{round(arm.delta_logprob, 4) + 0.0:+.4f}"
        if arm.delta_logprob is not None
        else MISSING,
        perplexity=_ratio(arm.perplexity_ratio),
        usual_error=f"{arm.usual_error:.3g}" if arm.usual_error is not None else MISSING,
        method=arm.method or MISSING,
        positions=f"{arm.positions:,}",
        places=tuple((place, nats(value)) for place, value in arm.by_position),
        styles=tuple((one_line(style, 40), nats(value)) for style, value in arm.by_style),
        divergences=tuple(_divergence(one) for one in arm.divergences[:40]),
        faults=tuple(one_line(fault, 400) for fault in arm.faults),
        notes=tuple(one_line(note, 400) for note in arm.notes),
        troubles=tuple(one_line(f"{item}: {why}", 400) for item, why in arm.troubles[:20]),
    )


def nats(value: float) -> str:
    """0.0048, 2.8e-11: three places of what matters."""
    if value == 0:
        return "0"
    return f"{value:.1e}" if abs(value) < 1e-3 else f"{value:.3g}"


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


def _sentences(groups: tuple[Group, ...]) -> list[str]:
    found = []
    for group in groups:
        where = f"{group.title}: " if len(groups) > 1 else ""
        by_verdict: dict[str, list[str]] = {}
        for row in group.rows:
            by_verdict.setdefault(row.verdict, []).append(f"{row.name} (KL {row.kl})")
        if group.trouble:
            found.append(f"{where}nothing can be judged: {group.trouble}")
        if true := by_verdict.get("true to the weights"):
            found.append(f"{where}True to the weights: {', '.join(true)}.")
        if near := by_verdict.get("as its bits allow"):
            found.append(f"{where}Off by no more than fewer bits explain: {', '.join(near)}.")
        found += [
            f"{where}{row.name} is at fault: {'; '.join(row.faults)}."
            for row in group.rows
            if row.verdict == "fault"
        ]
    return found
