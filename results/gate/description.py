"""What `run.json` says about a gate: which cases are pairs, by which rules they are judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from results.encoding import MalformedRecord
from results.gate.rules import Looks, Margin, Rules
from results.records import Budget, Case, RunInfo


@dataclass(frozen=True)
class Description:
    """`pairs` are (base, candidate); None where the candidate has no such case. `overlays` are what
    the arms say over the scenario, by role."""

    pairs: tuple[tuple[Case, Case | None], ...]
    rules: Rules
    overlays: Mapping[str, str]


def to_json(
    pairs: tuple[tuple[Case, Case | None], ...], rules: Rules, overlays: Mapping[str, str]
) -> dict[str, Any]:
    """The plain data that `describe` reads back."""
    return {
        "pairs": [[asdict(base), asdict(other) if other else None] for base, other in pairs],
        "rules": asdict(rules),
        "overlays": dict(overlays),
    }


def describe(info: RunInfo) -> Description | None:
    """None where the run is no gate. Raises MalformedRecord."""
    data = info.plan.get("gate")
    if data is None:
        return None
    try:
        return Description(
            tuple((Case(**b), Case(**c) if c else None) for b, c in data["pairs"]),
            _rules(data["rules"]),
            {str(role): str(text) for role, text in data["overlays"].items()},
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise MalformedRecord(f"not the description of a gate: {error!r}") from error


def _rules(data: Mapping[str, Any]) -> Rules:
    looks = data["looks"]
    return Rules(
        **{
            **data,
            "metrics": tuple(data["metrics"]),
            "margin": Margin(**data["margin"]),
            "margins": {name: Margin(**one) for name, one in data["margins"].items()},
            "looks": Looks(**{**looks, "blocks": tuple(looks["blocks"])}),
            "exact": tuple(data["exact"]),
            "budgets": tuple(Budget(**one) for one in data["budgets"]),
        }
    )
