"""The fairness certificate of a comparison: what was the same, what differed, what is not known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from results.fairness import CHECKED, Item, Severity
from results.summary import CaseSummary

Grade = Literal["fair", "fair as far as known", "with caveats", "refused"]

#: The names of all items; `page_cache` applies to `load` only, `answers` where fidelity was measured.
ITEMS: tuple[str, ...] = tuple(CHECKED)


@dataclass(frozen=True)
class Certificate:
    """All items that apply to the measure, in the order of `ITEMS`."""

    items: tuple[Item, ...]

    @property
    def grade(self) -> Grade:
        found = {item.severity for item in self.items}
        if "refuses" in found:
            return "refused"
        if "caveat" in found:
            return "with caveats"
        return "fair as far as known" if "unknown" in found else "fair"

    @property
    def deciding(self) -> tuple[Item, ...]:
        """The items that make the grade what it is; none where it is `fair`."""
        severities: dict[Grade, Severity] = {
            "refused": "refuses", "with caveats": "caveat", "fair as far as known": "unknown",
        }  # fmt: skip
        severity = severities.get(self.grade)
        return tuple(item for item in self.items if item.severity == severity)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the grade is not `fair`, in words."""
        return tuple(item.detail for item in self.deciding)


def certify(one: CaseSummary, other: CaseSummary) -> Certificate:
    """What can be said about the fairness of a ratio of these two cases."""
    items = (look(one, other) for look in CHECKED.values())
    return Certificate(tuple(item for item in items if item is not None))
