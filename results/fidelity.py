"""How true an engine is to the weights: its next-token distributions against a reference's.

Speed can be right while the answers are wrong, and greedy texts may part at a near-tie without any
fault. So the judgement rests on the distributions, position by position, on fixed ids:

- KL(reference ‖ engine) in nats. Where the numbers are stored as the reference's are, it is the
  rounding of another order of summation. Stored in fewer bits it is larger; what each width may
  cost at most is in `LIMITS`. Beyond its limit an arm is at fault.
- A greedy answer that leaves the reference's is a near-tie where the reference preferred its own
  token by less than the engine's usual error, and a fault otherwise.
- Two faults leave the distributions alone and are looked for apart: a tokenizer that makes other
  ids, and an answer that ends where the reference's does not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from results import arms
from results.fidelity_observations import METHODS, Method, Observed, read
from results.nats import Spread, nats, spread
from results.records import ArtifactFacts, Case, Record
from results.statistics import Estimate, ratio_of_sums
from results.store import Run

FIDELITY, REFERENCE = "fidelity", "reference"

TRUE_NATS = 1e-4
"""Mean KL up to which an arm is true to the weights: another order of summation explains no more."""
#: Mean KL in nats that an arm may have, by the bits that its weights are stored in, at least.
LIMITS: tuple[tuple[int, float], ...] = (
    (32, TRUE_NATS), (16, 3e-3), (8, 0.03), (5, 0.15), (4, 1.0), (0, 4.0),
)  # fmt: skip
OWN_NATS = 0.05
"""Mean KL that an engine may add to what another one has on the same file: its activations and its
cache in 8 bits explain no more."""
TOP1_LIMIT = 0.5
"""Share of agreeing best tokens below which an engine that shows no numbers is at fault."""
USUAL = 0.99
"""The quantile of an engine's errors that counts as its usual one."""
EDGES = (8, 16, 32, 64, 128, 256, 512)

Verdict = Literal["true to the weights", "as its bits allow", "fault", "not judged"]


@dataclass(frozen=True)
class Divergence:
    """Where a greedy answer leaves the reference's. `margin` and `usual` are in logits."""

    item: str
    step: int
    margin: float | None
    usual: float | None

    @property
    def near_tie(self) -> bool | None:
        if self.margin is None or self.usual is None:
            return None
        return self.margin <= self.usual


@dataclass(frozen=True)
class ArmFidelity:
    """One arm against the reference.

    `kl` is a lower bound where `method` is top-k, and None where it is greedy. `perplexity_ratio`
    is the engine's over the reference's, its interval by items as clusters. `by_position` is the
    mean KL by place in the text. `faults` say what is wrong, `notes` what is
    off but no fault of the weights, `troubles` which items failed and why.
    """

    case: Case
    bits: int | None
    same_weights: bool
    limit: float | None
    method: Method | None
    positions: int
    kl: Spread | None
    top1: Estimate | None
    delta_logprob: float | None
    perplexity: float | None
    reference_perplexity: float | None
    perplexity_ratio: Estimate | None
    by_position: tuple[tuple[str, float], ...]
    by_style: tuple[tuple[str, float], ...]
    usual_error: float | None
    divergences: tuple[Divergence, ...]
    faults: tuple[str, ...]
    notes: tuple[str, ...]
    troubles: tuple[tuple[str, str], ...]
    verdict: Verdict

    @property
    def name(self) -> str:
        return arms.arm(self.case)


@dataclass(frozen=True)
class ModelFidelity:
    """One model. `trouble` says why there is no reference, if there is none."""

    name: str
    reference: str
    trouble: str | None
    arms: tuple[ArmFidelity, ...]


@lru_cache(maxsize=1)
def of(run: Run) -> tuple[ModelFidelity, ...]:
    """The models whose fidelity was measured, by name; empty where none was. Kept for the last run:
    all that is derived from a run asks for it."""
    records = {record.case.key: record for record in run.records}
    cases: dict[str, dict[str, Case]] = {}
    for trial in run.info.trials:
        if trial.case.measure in (FIDELITY, REFERENCE):
            cases.setdefault(trial.case.model, {})[trial.case.key] = trial.case
    facts = {(f.model, f.artifact): f for f in run.info.artifacts}
    styles = {
        str(item.get("name")): str(item.get("style", ""))
        for item in run.info.items.get(FIDELITY, ())
    }
    return tuple(_model(name, cases[name], records, facts, styles) for name in sorted(cases))


def _model(
    name: str,
    cases: Mapping[str, Case],
    records: Mapping[str, Record],
    facts: Mapping[tuple[str, str], ArtifactFacts],
    styles: Mapping[str, str],
) -> ModelFidelity:
    held = next((case for case in cases.values() if case.measure == REFERENCE), None)
    record = records.get(held.key) if held else None
    trouble = None
    if record is None:
        trouble = "the reference has not run"
    elif record.status != "ok":
        trouble = f"the reference {record.status}: {record.reason}"
    wanted = read(record) if record else {}
    base = facts.get((name, held.artifact)) if held else None
    found = [
        judged(case, records.get(case.key), wanted, facts.get((name, case.artifact)), base, styles)
        for case in cases.values()
        if case.measure == FIDELITY
    ]
    found = [_beside(arm, found) for arm in found]
    return ModelFidelity(
        name,
        arms.arm(held) if held else "none",
        trouble,
        tuple(sorted(found, key=lambda arm: arm.name)),
    )


def _beside(arm: ArmFidelity, others: Sequence[ArmFidelity]) -> ArmFidelity:
    """Held against the engine that is truest on the very same file: its bits are no excuse then. One
    that shows its best tokens only is no measure: its KL is a lower bound."""
    same = [
        one
        for one in others
        if one.case.artifact == arm.case.artifact and one.kl is not None and one.method == "logits"
    ]
    best = min(same, key=lambda one: one.kl.mean if one.kl else math.inf, default=arm)
    if arm.kl is None or best.kl is None or arm.kl.mean - best.kl.mean <= OWN_NATS:
        return arm
    said = (
        f"{best.name} runs the same file {nats(best.kl.mean)} nats from the reference, this engine "
        f"{nats(arm.kl.mean)}: the rest is its own"
    )
    return replace(arm, faults=(*arm.faults, said), verdict="fault")


def judged(
    case: Case,
    record: Record | None,
    wanted: Mapping[str, Observed],
    facts: ArtifactFacts | None,
    base: ArtifactFacts | None,
    styles: Mapping[str, str],
) -> ArmFidelity:
    """One arm's record against what the reference's record holds (`wanted`, by item), whose
    artifact is `base`."""
    seen = [one for one in (read(record) if record else {}).values() if one.item in wanted]
    good = [one for one in seen if one.trouble is None]
    bits = stored_bits(facts.precision) if facts else None
    # A reference in fewer bits has that rounding itself.
    widths = (bits, stored_bits(base.precision) if base else None)
    known = [width for width in widths if width is not None]
    least = min(known) if bits is not None else 0
    limit = next(value for width, value in LIMITS if least >= width)
    kl = [value for one in good for value in one.kl]
    errors = sorted(abs(value) for one in good for value in one.error)
    usual = errors[min(len(errors) - 1, int(USUAL * len(errors)))] if errors else None
    pairs = [
        (sum(wanted[one.item].logprob) - sum(one.logprob), float(len(one.logprob)))
        for one in good
        if one.logprob and len(one.logprob) == len(wanted[one.item].logprob)
    ]
    lost = sum(d for d, _ in pairs) / sum(n for _, n in pairs) if pairs else None
    method = next((m for m in METHODS if any(one.method == m for one in good)), None)
    top1 = ratio_of_sums([(float(sum(o.agree)), float(len(o.agree))) for o in good if o.agree])
    divergences = tuple(
        Divergence(one.item, one.step, one.margin, usual) for one in good if one.step is not None
    )
    kls = spread(kl) if kl else None
    faults, notes = _tokenizer(good, wanted)
    faults += _distribution_faults(kls, top1, limit, bits, method)
    faults += _endings(good, wanted)
    verdict: Verdict = "not judged"
    if faults:
        verdict = "fault"
    elif kls is not None and bits is not None:
        # A lower bound, or a limit that a rounded reference widened, shows no more than no fault.
        whole = all(one.method == "logits" for one in good if one.kl)
        true = bits == 32 and whole and kls.mean <= TRUE_NATS
        verdict = "true to the weights" if true else "as its bits allow"
    perplexity = _perplexity(good)
    reference = _perplexity([wanted[one.item] for one in good])
    gap = ratio_of_sums(pairs)
    return ArmFidelity(
        case=case,
        bits=bits,
        same_weights=bool(facts and base and facts.weights == base.weights),
        limit=limit,
        method=method,
        positions=sum(len(one.agree) for one in good),
        kl=kls,
        top1=top1,
        delta_logprob=None if lost is None else -lost,
        perplexity=perplexity,
        reference_perplexity=reference,
        perplexity_ratio=None if gap is None else _exponential(gap),
        by_position=tuple(_by_position(good)),
        by_style=tuple(_by_style(good, styles)),
        usual_error=usual,
        divergences=divergences,
        faults=tuple(faults),
        notes=tuple(notes),
        troubles=tuple((one.item, one.trouble) for one in seen if one.trouble is not None),
        verdict=verdict,
    )


def stored_bits(precision: str) -> int | None:
    """Bits per weight from a precision's name: f32 32, bf16 16, q4_1 4, int8 8; None where it
    names none."""
    digits = re.search(r"\d+", precision)
    return int(digits[0]) if digits else None


def _distribution_faults(
    kl: Spread | None,
    top1: Estimate | None,
    limit: float | None,
    bits: int | None,
    method: Method | None,
) -> list[str]:
    if kl is not None and limit is not None and kl.mean > limit:
        stored = f"stored in {bits} bits" if bits is not None else "of any width"
        return [
            f"its distributions are {nats(kl.mean)} nats from the reference's; weights {stored} "
            f"explain {limit:g} at most"
        ]
    if kl is None and method == "greedy" and top1 is not None and top1.value < TOP1_LIMIT:
        return [f"it agrees with the reference's best token at {top1.value:.0%} of positions only"]
    return []


def _tokenizer(
    good: Sequence[Observed], wanted: Mapping[str, Observed]
) -> tuple[list[str], list[str]]:
    """A fault where most texts get other ids: another vocabulary. A note where few do: engines and
    converters differ in how they split rare runs of white space and digits."""
    texts = [
        one for one in good if one.own_ids is not None and wanted[one.item].own_ids is not None
    ]
    other = [one.item for one in texts if not _same_ids(one.own_ids, wanted[one.item].own_ids)]
    if not other:
        return [], []
    said = (
        f"its own tokenizer makes other ids of {len(other)} of {len(texts)} texts, "
        f"{other[0]} for one"
    )
    return ([said], []) if 2 * len(other) > len(texts) else ([], [said])


def _endings(good: Sequence[Observed], wanted: Mapping[str, Observed]) -> list[str]:
    ends = [one.item for one in good if one.step is None and _ends_elsewhere(one, wanted[one.item])]
    if not ends:
        return []
    return [
        f"its greedy answer ends elsewhere than the reference's in {len(ends)} chats, "
        f"{ends[0]} for one: another end-of-sequence token"
    ]


def _same_ids(ours: tuple[int, ...] | None, theirs: tuple[int, ...] | None) -> bool:
    """A BOS that one of them adds by itself is no difference: ids are given to the engines."""
    if ours is None or theirs is None or ours == theirs:
        return True
    return ours[1:] == theirs or ours == theirs[1:]


def _ends_elsewhere(ours: Observed, theirs: Observed) -> bool:
    """Equal as far as both go, and of two lengths."""
    if ours.greedy is None or theirs.greedy is None:
        return False
    return len(ours.greedy) != len(theirs.greedy)


def _perplexity(items: Sequence[Observed]) -> float | None:
    values = [value for one in items for value in one.logprob]
    return math.exp(min(700.0, -math.fsum(values) / len(values))) if values else None


def _exponential(gap: Estimate) -> Estimate:
    low, high = (None if v is None else math.exp(min(700.0, v)) for v in (gap.low, gap.high))
    return Estimate(math.exp(min(700.0, gap.value)), low, high, gap.n, gap.level, gap.method)


def _by_position(items: Sequence[Observed]) -> list[tuple[str, float]]:
    found = []
    for low, high in zip((0, *EDGES), (*EDGES, None), strict=True):
        values = [value for one in items for value in one.kl[low:high]]
        if values:
            label = f"{low}–{high - 1}" if high is not None else f"{low}–"
            found.append((label, math.fsum(values) / len(values)))
    return found


def _by_style(items: Sequence[Observed], styles: Mapping[str, str]) -> list[tuple[str, float]]:
    grouped: dict[str, list[float]] = {}
    for one in items:
        if one.kl:
            grouped.setdefault(styles.get(one.item, ""), []).extend(one.kl)
    return sorted((style, math.fsum(kl) / len(kl)) for style, kl in grouped.items())
