"""What a gate asks of a candidate. `harness` makes these from a policy file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from results.records import Budget

#: The deterministic checks, by name.
EXACT = ("templates", "token_counts", "greedy", "size")


@dataclass(frozen=True)
class Margin:
    """As shares of the base: up to `ignorable` a change is none, from `interest` on it matters."""

    ignorable: float = 0.01
    interest: float = 0.05


@dataclass(frozen=True)
class Looks:
    """After how many blocks the gate judges, and how much error it may make.

    `alpha` is split evenly over the looks at which a regression can be called: those with at least
    `least` blocks. For "pass" each look spends alpha / the number of looks.
    """

    blocks: tuple[int, ...] = (6, 10, 20)
    alpha: float = 0.05
    least: int = 10


@dataclass(frozen=True)
class Rules:
    """`metrics` are gated, in this order, each where its measure is run. `redo` is how many
    disturbed blocks may be set aside. `kl_nats` is the mean KL(base ‖ candidate) allowed, beside what
    the candidate's bits allow at most; None leaves it to those. `exact` names the deterministic checks."""

    metrics: tuple[str, ...] = ("load_s", "ttft_ms", "decode_tok_s", "peak_pss_bytes")
    margin: Margin = field(default_factory=Margin)
    margins: Mapping[str, Margin] = field(
        default_factory=lambda: {
            "load_s": Margin(0.01, 0.10),
            "peak_pss_bytes": Margin(0.01, 0.02),
            "peak_rss_bytes": Margin(0.01, 0.02),
        }
    )
    looks: Looks = field(default_factory=Looks)
    redo: int = 5
    time_limit_s: float | None = None
    yellow: Literal["pass", "fail"] = "pass"
    exact: tuple[str, ...] = EXACT
    kl_nats: float | None = 0.1
    quality_alpha: float = 0.05
    budgets: tuple[Budget, ...] = ()

    def of(self, metric: str) -> Margin:
        return self.margins.get(metric, self.margin)
