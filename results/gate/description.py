"""What `run.json` says about a gate: which cases are pairs, by which rules they are judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import msgspec

from results.encoding import MalformedRecord
from results.gate.rules import Rules
from results.records import Case, RunInfo


@dataclass(frozen=True)
class Description:
    """`pairs` are (base, candidate); None where the candidate has no such case. `overlays` are what
    the arms say over the scenario, by role."""

    pairs: tuple[tuple[Case, Case | None], ...]
    rules: Rules
    overlays: Mapping[str, str]


def to_json(description: Description) -> dict[str, object]:
    """The plain data that `describe` reads back."""
    return asdict(description)


def describe(info: RunInfo) -> Description | None:
    """None where the run is no gate. Raises MalformedRecord."""
    data = info.plan.get("gate")
    if data is None:
        return None
    try:
        return msgspec.convert(data, Description)
    except msgspec.ValidationError as error:
        raise MalformedRecord(f"not the description of a gate: {error}") from error
