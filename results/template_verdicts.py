"""What can be said of a prompt that an engine wrote, against the model's own template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["same", "harmless", "minor", "bad", "untold"]
Verdict = Literal[
    "rejected though it should not be",
    "stopped",
    "message lost",
    "system lost",
    "prefill closed",
    "generation prompt missing",
    "end of turn missing",
    "BOS missing",
    "special token as text",
    "text as special token",
    "other text",
    "accepted though it should be rejected",
    "system moved",
    "default system missing",
    "default system added",
    "BOS doubled",
    "tokenised differently",
    "white space differs",
    "no reference",
    "unsupported",
    "same ids, other text",
    "rejected as expected",
    "identical",
]

#: All verdicts, the worst first.
SEVERITIES: dict[Verdict, Severity] = {
    "rejected though it should not be": "bad",
    "stopped": "bad",
    "message lost": "bad",
    "system lost": "bad",
    "prefill closed": "bad",
    "generation prompt missing": "bad",
    "end of turn missing": "bad",
    "BOS missing": "bad",
    "special token as text": "bad",
    "text as special token": "bad",
    "other text": "bad",
    "accepted though it should be rejected": "minor",
    "system moved": "minor",
    "default system missing": "minor",
    "default system added": "minor",
    "BOS doubled": "minor",
    "tokenised differently": "minor",
    "white space differs": "minor",
    "no reference": "untold",
    "unsupported": "untold",
    "same ids, other text": "harmless",
    "rejected as expected": "same",
    "identical": "same",
}

EFFECTS: dict[Verdict, str] = {
    "rejected though it should not be": "The application gets an error where the model would answer.",
    "stopped": "There is no prompt to look at: the application gets an error or waits.",
    "message lost": "The model never sees what was said.",
    "system lost": "The model never sees the instructions of the system message.",
    "prefill closed": "The model begins a new answer instead of continuing the one begun.",
    "generation prompt missing": "The model may continue the user's turn instead of answering it.",
    "end of turn missing": "The model cannot see where the turn ends and may read two as one.",
    "BOS missing": "The model has rarely seen a text begin without it; answers can get much worse.",
    "special token as text": "The model reads the marker as words: it no longer marks anything.",
    "text as special token": "What a user types can end a turn or begin one in another's name.",
    "other text": "The model reads a prompt in a form that it was not trained on.",
    "accepted though it should be rejected": "The model answers a conversation that it was not trained on, with no error to notice it by.",
    "system moved": "The instructions have another rank than in training; they may be followed less.",
    "default system missing": "The model answers without instructions that its template always gives.",
    "default system added": "The model follows instructions that nobody wrote.",
    "BOS doubled": "The model has rarely seen two; most models get slightly worse.",
    "tokenised differently": "The model reads the same words in pieces that it has rarely seen.",
    "white space differs": "Small models in particular can answer differently.",
    "no reference": "Nobody can say whether this is right.",
    "unsupported": "There is nothing to compare.",
    "same ids, other text": "None: the model sees the same ids.",
    "rejected as expected": "None: the application gets the error that it should.",
    "identical": "None.",
}

_RANKS: dict[Severity, int] = {"bad": 0, "minor": 1, "untold": 2, "harmless": 3, "same": 4}
_ORDER = {verdict: number for number, verdict in enumerate(SEVERITIES)}


@dataclass(frozen=True)
class Finding:
    """One verdict, what differs, and what that will do to the model."""

    verdict: Verdict
    detail: str
    effect: str
    severity: Severity

    @property
    def rank(self) -> tuple[int, int]:
        """The worst has the lowest."""
        return _RANKS[self.severity], _ORDER[self.verdict]


def finding(
    verdict: Verdict, detail: str, *, effect: str | None = None, severity: Severity | None = None
) -> Finding:
    return Finding(
        verdict,
        detail,
        EFFECTS[verdict] if effect is None else effect,
        SEVERITIES[verdict] if severity is None else severity,
    )


def quoted(text: str, limit: int = 60) -> str:
    """A short piece of text as Python would write it, for a sentence."""
    if len(text) <= limit:
        return repr(text)
    half = limit // 2
    return f"{text[:half]!r} … {text[-half:]!r}"


def in_words(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
