"""`history.csv`: one row per series and run, safe to open in a spreadsheet."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from reports.csv import to_text
from results.history import History

#: `base_*` are empty unless the value is a ratio of a candidate to its base, run in the same
#: session. `level` counts the levels between change points, from 1. Columns stay in this order.
COLUMNS = (
    "fingerprint", "model", "measure", "parameters", "backend", "artifact", "settings", "arm",
    "base_backend", "base_artifact", "base_settings", "metric", "unit", "better", "run", "at",
    "value", "trials", "engine_version", "level", "failed_checks",
)  # fmt: skip


def render(history: History) -> str:
    return to_text(COLUMNS, _rows(history))


def _rows(history: History) -> Iterator[Sequence[object]]:
    for series in history.series:
        case, base, metric = series.case, series.base, series.metric
        starts = [change.at for change in series.changes]
        for position, point in enumerate(series.points):
            yield (
                series.fingerprint,
                case.model,
                case.measure,
                _json(case.parameters),
                case.backend,
                case.artifact,
                _json(case.settings),
                case.arm,
                base.backend if base else None,
                base.artifact if base else None,
                _json(base.settings) if base else None,
                metric.name,
                "ratio" if base else metric.unit,
                metric.better,
                point.run,
                point.at.isoformat(),
                point.value,
                point.trials,
                point.version,
                1 + sum(start <= position for start in starts),
                ", ".join(point.failed_checks) or None,
            )


def _json(data: object) -> str:
    return json.dumps(data, sort_keys=True, default=str)
