"""Chat templates in words: marks, the short answer, and what a harm in nats means."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from reports.untrusted import one_line
from results.template_verdicts import Severity
from results.templates import Arm, Model

MARKS: dict[Severity, str] = {"same": "✓", "harmless": "≈", "minor": "!", "bad": "✗", "untold": "?"}
LEGEND: dict[Severity, str] = {
    "same": "as the model's own template",
    "harmless": "other text, the same ids",
    "minor": "differs, the model may answer otherwise",
    "bad": "differs, the model is likely to answer worse",
    "untold": "could not be told",
}


def many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def harm(nats: float | None) -> str:
    """A sentence; empty where there is none to tell."""
    if nats is None:
        return ""
    if abs(nats) < 0.005:
        return "The good answer is as likely as with the model's own prompt."
    direction = "less" if nats > 0 else "more"
    return f"The good answer became {_times(nats)} {direction} likely ({nats:+.2f} nats)."


def _times(nats: float) -> str:
    if abs(nats) > 13:
        return "more than 400 000 times"
    ratio = math.exp(abs(nats))
    return f"{(ratio - 1) * 100:.0f} %" if ratio < 2 and nats < 0 else (
        f"{(1 - 1 / ratio) * 100:.0f} %" if ratio < 2 else f"{ratio:.3g} times"
    )  # fmt: skip


def mean_harm(nats: float | None) -> str:
    if nats is None:
        return ""
    return f"{nats:+.2f} nats" if abs(nats) >= 0.005 else "0 nats"


def sentences(models: Sequence[Model]) -> Iterator[tuple[str, str]]:
    """(which arm on which models, what it did), arms of one name with the same to say together."""
    for model in models:
        if model.trouble:
            yield (
                one_line(model.name, 80),
                one_line(f"no reference, so nothing can be told: {model.trouble}", 300),
            )
    told: dict[tuple[str, str, bool], list[str]] = {}
    for model in models:
        if not model.trouble:
            for arm in model.arms:
                key = (one_line(arm.name, 80), *_said(arm))
                told.setdefault(key, []).append(one_line(model.name, 60))
    for (name, said, _), names in sorted(told.items(), key=lambda item: (item[0][2], item[0][0])):
        yield f"{name} on {', '.join(names)}", said


def _said(arm: Arm) -> tuple[str, bool]:
    firsts = [cell.findings[0] for cell in arm.cells]
    good = sum(f.severity in ("same", "harmless") for f in firsts)
    what = "conversations as the model's own template writes them"
    if good == len(firsts):
        text = f"all {many(good, 'conversation')} as the model's own template writes them"
        return text, True
    counts: dict[str, int] = {}
    findings = (f for cell in arm.cells for f in cell.findings)
    for one in sorted(findings, key=lambda f: f.rank):
        if one.severity not in ("same", "harmless"):
            counts[one.verdict] = counts.get(one.verdict, 0) + 1
    parts = ", ".join(f"{verdict} in {n}" for verdict, n in counts.items())
    text = f"{good} of {len(firsts)} {what}; {parts}"
    if (mean := mean_harm(arm.harm_nats)) and abs(arm.harm_nats or 0) >= 0.005:
        text += f"; mean harm {mean}"
    return text, False
