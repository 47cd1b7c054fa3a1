"""What engines say about themselves, against what was seen from outside.

An engine's own numbers are kept as claims and never used as a measure. Where one is off by more
than 5 %, or counts other tokens than were sent, that is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from results import metrics
from results.records import Sample
from results.summary import CaseSummary

#: How far a claimed time may be off.
TOLERANCE = 0.05


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
    reused = metrics.reuses_prefix(summary.case)
    kinds: tuple[tuple[str, str, float, Callable[[Sample], tuple[float | None, float | None]]], ...] = (
        ("prefill_ms", "ms", TOLERANCE, lambda s: (s.claims.get("prefill_ms"), metrics.ttft_ms(s))),
        ("decode_ms per token", "ms", TOLERANCE, lambda s: (_decode_ms(s), metrics.tpot_ms(s))),
        (
            "prefill_tokens", "tokens", 0.0,
            lambda s: (None if reused else s.claims.get("prefill_tokens"), float(s.prompt_tokens)),
        ),
    )  # fmt: skip
    samples = [s for record in summary.evidence.ok for s in metrics.counted(record)]
    found = []
    for name, unit, tolerance, of in kinds:
        pairs = [
            (claimed, observed)
            for claimed, observed in map(of, samples)
            if claimed is not None and claimed > 0 and observed is not None
        ]
        if pairs:
            claimed, observed = (median(values) for values in zip(*pairs, strict=True))
            found.append(ClaimCheck(name, unit, claimed, observed, len(pairs), tolerance))
    return tuple(found)


def _decode_ms(sample: Sample) -> float | None:
    """Claimed time per decoded token."""
    total, tokens = sample.claims.get("decode_ms"), sample.claims.get("decode_tokens")
    return total / tokens if total is not None and tokens else None
