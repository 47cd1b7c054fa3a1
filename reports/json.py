"""`report.json`: what the page shows, for other programs. Keys stay; new ones may be added.

Every field of the view model (`reports.view.Report`) under its own name, with its text as the page
shows it. A metric stands as its name; `definitions` says what it means. Beside the text are the
numbers behind it, in full precision and in the metric's own unit:

    summary     of a case: case (model, backend, artifact, measure, parameters, settings), trials
                (planned, ok, failed, timeout, crashed, unsupported, missing), and metrics by name:
                {unit, better, value, low, high, level, n, method, values}, the values of the ok
                trials that have one
    found       of a row of comparisons: {metric, ratio, low, high, level, n, base_n, verdict, why};
                of a row of fidelity: what `results.fidelity.ArmFidelity` has
    right       of a row of answers to tasks: {value, low, high, n}

Text is bounded and holds no control or invisible characters but new line and tab; it is not escaped
for HTML.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from reports.untrusted import lines
from reports.view import Report
from results.comparison import Comparison
from results.metrics import METRICS, Metric
from results.summary import CaseSummary

SCHEMA = 1

_LIMIT = 100_000


def render(report: Report) -> str:
    """`report.json`."""
    return json.dumps(plain(report), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def plain(report: Report) -> dict[str, Any]:
    """The report as JSON has it."""
    definitions = [_members(metric) for metric in report.definitions]
    return {"schema": SCHEMA, **_members(report), "definitions": definitions}


def _plain(value: object) -> Any:
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else None
        case str():
            return lines(value, _LIMIT)
        case Metric():
            return value.name
        case CaseSummary():
            return _summary(value)
        case Comparison():
            return _comparison(value)
        case Mapping():
            return {lines(key, 200): _plain(one) for key, one in value.items()}
        case list() | tuple():
            return [_plain(one) for one in value]
    if is_dataclass(value):
        return _members(value)
    raise TypeError(f"a view model holds a {type(value).__name__}")


def _members(value: Any) -> dict[str, Any]:
    return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}


def _summary(found: CaseSummary) -> dict[str, Any]:
    return {
        "case": _plain(found.case),
        "trials": _plain(found.counts),
        "metrics": {
            name: {
                "unit": METRICS[name].unit,
                "better": METRICS[name].better,
                **_members(estimate),
                "values": list(found.values[name]),
            }
            for name, estimate in sorted(found.estimates.items())
        },
    }


def _comparison(found: Comparison) -> dict[str, Any]:
    ratio = found.ratio
    return {
        "metric": found.metric.name,
        "ratio": ratio.value if ratio else None,
        "low": ratio.low if ratio else None,
        "high": ratio.high if ratio else None,
        "level": ratio.level if ratio else None,
        "n": found.n,
        "base_n": found.base_n,
        "verdict": found.verdict,
        "why": _plain(found.why),
    }
