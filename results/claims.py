"""What engines say about themselves, against what was seen from outside.

An engine's own numbers are kept as claims and never used as a measure. Where one is off by more
than 5 %, or counts other tokens than were sent, that is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from results import metrics
from results.summary import CaseSummary

if TYPE_CHECKING:
    from results.samples import Floats

#: How far a claimed time may be off.
TOLERANCE = 0.05

#: Name, unit and tolerance of what can be compared.
_KINDS = (
    ("prefill_ms", "ms", TOLERANCE),
    ("decode_ms per token", "ms", TOLERANCE),
    ("prefill_tokens", "tokens", 0.0),
)


@dataclass(frozen=True)
class ClaimCheck:
    """One kind of claim of one case: medians over all `requests` that carry it."""

    name: str
    unit: str
    claimed: float
    observed: float
    requests: int
    tolerance: float

    @property
    def off(self) -> float:
        """How much more was observed than claimed, as a share of the claim."""
        return self.observed / self.claimed - 1

    @property
    def agrees(self) -> bool:
        return abs(self.off) <= self.tolerance


def check(summary: CaseSummary) -> tuple[ClaimCheck, ...]:
    """All claims of a case that have something to be compared with."""
    import numpy as np

    from results import samples, timings

    reused = metrics.reuses_prefix(summary.case)
    claimed: dict[str, list[Floats]] = {}
    observed: dict[str, list[Floats]] = {}
    for record in summary.evidence.ok:
        found = samples.of(record)
        # Only a claim is worth working out what there is to compare with.
        if not found.claims:
            continue
        per_token = found.claimed("decode_ms") / _or_nan(found.claimed("decode_tokens"))
        pairs = {
            "prefill_ms": (found.claimed("prefill_ms"), timings.ttft_ms(found)),
            "decode_ms per token": (per_token, timings.tpot_ms(found)),
            "prefill_tokens": (found.claimed("prefill_tokens"), found.prompt_tokens.astype(float)),
        }
        for name, (said, seen) in pairs.items():
            known = found.counted & (said > 0) & (seen == seen)
            claimed.setdefault(name, []).append(said[known])
            observed.setdefault(name, []).append(seen[known])
    checks = []
    for name, unit, tolerance in _KINDS:
        said, seen = (np.concatenate(of.get(name) or [np.empty(0)]) for of in (claimed, observed))
        if len(said) and not (reused and name == "prefill_tokens"):
            medians = float(np.median(said)), float(np.median(seen))
            checks.append(ClaimCheck(name, unit, *medians, len(said), tolerance))
    return tuple(checks)


def _or_nan(values: Floats) -> Floats:
    """Zeros as NaN: nothing can be divided by them."""
    import numpy as np

    return np.where(values == 0, np.nan, values)
