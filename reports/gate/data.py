"""`gate.json`: an outcome for other programs. Keys stay; new ones may be added.

    schema        1
    colour        "green", "yellow", "red" or "incomparable"
    passed        whether the gate passes: what the exit code says
    sentence      one line for people
    findings      worst first: kind, colour, task, sentence, remedy (or null)
    rows          one per task and metric:
        task, metric, title, unit, better ("lower", "higher" or null)
        base, candidate     {value, n} in the metric's unit, or null: the mean of the arm's fastest 60 %
                            of processes (of memory, the leanest), which are n
        verdict             "regressed", "pass", "inconclusive", "incomparable" where the certificate
                            refuses a ratio, or null where not judged: see why
        ratio, low, high    candidate / base with its interval at `level`; null where there is none
        p_regressed         family-wise over all metrics; p_pass: of this metric alone
        blocks, slow_mode, why
    exact         name, task, same (true, false or null: not checked), detail
    arms          role, overlay, engines {name: version}
    blocks, set_aside, minutes, fingerprint

Text is bounded and holds no control or invisible characters; it is not escaped for HTML.
"""

from __future__ import annotations

import json
import math
from typing import Any

from reports.untrusted import one_line
from results.gate.decision import LEVEL
from results.gate.outcome import Arm, Exact, Finding, Outcome, Row, Typical

SCHEMA = 1

_LIMIT = 2000


def render(outcome: Outcome) -> str:
    """`gate.json`."""
    return json.dumps(plain(outcome), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def plain(outcome: Outcome) -> dict[str, Any]:
    """The outcome as JSON has it."""
    return {
        "schema": SCHEMA,
        "colour": outcome.colour,
        "passed": outcome.passed,
        "sentence": _text(outcome.sentence),
        "findings": [_finding(one) for one in outcome.findings],
        "rows": [_row(one) for one in outcome.rows],
        "exact": [_exact(one) for one in outcome.exact],
        "arms": [_arm(one) for one in outcome.arms],
        "blocks": outcome.blocks,
        "set_aside": outcome.set_aside,
        "minutes": _number(outcome.minutes),
        "fingerprint": _text(outcome.fingerprint),
    }


def _finding(one: Finding) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "colour": one.colour,
        "task": _text(one.task),
        "sentence": _text(one.sentence),
        "remedy": None if one.remedy is None else _text(one.remedy),
    }


def _row(one: Row) -> dict[str, Any]:
    return {
        "task": _text(one.task),
        "metric": one.metric.name,
        "title": one.metric.title,
        "unit": one.metric.unit,
        "better": one.metric.better,
        "base": _typical(one.base),
        "candidate": _typical(one.candidate),
        **_judged(one),
        "why": _text(one.why),
    }


def _judged(row: Row) -> dict[str, Any]:
    one = row.judged
    if one is None or row.refused:
        names = ("verdict", "ratio", "low", "high", "level", "p_regressed", "p_pass")
        found = {**dict.fromkeys(names), "blocks": one.blocks if one else 0, "slow_mode": False}
        return {**found, "verdict": "incomparable"} if row.refused else found
    return {
        "verdict": one.verdict,
        "ratio": _number(one.ratio),
        "low": _number(one.low),
        "high": _number(one.high),
        "level": LEVEL,
        "p_regressed": _number(one.p_regressed),
        "p_pass": _number(one.p_pass),
        "blocks": one.blocks,
        "slow_mode": one.slow_mode,
    }


def _typical(one: Typical | None) -> dict[str, Any] | None:
    return None if one is None else {"value": _number(one.value), "n": one.n}


def _exact(one: Exact) -> dict[str, Any]:
    return {
        "name": _text(one.name),
        "task": _text(one.task),
        "same": one.same,
        "detail": _text(one.detail),
    }


def _arm(one: Arm) -> dict[str, Any]:
    engines = {_text(name): _text(version) for name, version in one.engines.items()}
    return {"role": one.role, "overlay": _text(one.overlay), "engines": engines}


def _text(text: str) -> str:
    return one_line(text, _LIMIT)


def _number(value: float | None) -> float | None:
    """JSON has no infinity and no NaN."""
    return value if value is not None and math.isfinite(value) else None
