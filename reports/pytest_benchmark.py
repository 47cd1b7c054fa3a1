"""A run as the JSON of pytest-benchmark, for `pytest-benchmark compare` and dashboards that read it.

One benchmark per case and metric that is a time; its rounds are the trials, in seconds. Nothing
else of bakeoff fits there: no failures, no certificates. A case without a value has no benchmark.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reports.names import case_name, workload_title
from reports.untrusted import one_line
from results.metrics import METRICS
from results.store import Run
from results.summary import NO_TASK, CaseSummary, summarise

_SECONDS = {"s": 1.0, "ms": 1e-3}

#: The version of pytest-benchmark whose format this is.
_FORMAT = "5.1.0"


def render(run: Run) -> str:
    info = run.info
    host = {str(key): value for key, value in info.host.items()}
    data = {
        "machine_info": {
            "node": info.fingerprint,
            "machine": "",
            "processor": "",
            "system": one_line(host.get("os", ""), 200),
            "release": "",
            "python_version": one_line(host.get("python", ""), 40),
            "cpu": {"brand_raw": one_line(host.get("cpu", ""), 200)},
            "bakeoff_host": host,
        },
        # A run of engines belongs to no commit: dashboards take that from their own event.
        "commit_info": {
            "id": one_line(info.id, 200),
            "time": info.created_at,
            "author_time": info.created_at,
            "dirty": False,
            "project": one_line(info.scenario_name, 200),
            "branch": "",
        },
        "benchmarks": list(_benchmarks(run)),
        "datetime": info.created_at,
        "version": _FORMAT,
    }
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def _benchmarks(run: Run) -> Iterator[dict[str, Any]]:
    summaries = [s for s in summarise(run) if s.case.measure not in NO_TASK]
    several = len({s.case.model for s in summaries}) > 1
    for summary in summaries:
        for name, values in summary.values.items():
            metric = METRICS[name]
            factor = _SECONDS.get(metric.unit)
            if factor is not None and metric.better == "lower":
                yield benchmark(
                    _name(summary, name, several),
                    _group(summary, name, several),
                    [value * factor for value in values],
                    {"run": run.info.id, "case": summary.case.key, "metric": name},
                )


def _group(summary: CaseSummary, metric: str, several: bool) -> str:
    case = summary.case
    model = f"{case.model}: " if several else ""
    return one_line(f"{model}{workload_title(case.measure, case.parameters)}: {metric}", 300)


def _name(summary: CaseSummary, metric: str, several: bool) -> str:
    case = summary.case
    role = f" ({case.arm})" if case.arm else ""
    return f"{_group(summary, metric, several)} [{case_name(case)}{one_line(role, 20)}]"


def benchmark(
    name: str, group: str, seconds: Sequence[float], extra: Mapping[str, Any]
) -> dict[str, Any]:
    """One entry. `seconds` has a value per round, at least one."""
    return {
        "group": group,
        "name": name,
        "fullname": name,
        "params": None,
        "param": None,
        "extra_info": dict(extra),
        "options": {
            "disable_gc": False, "timer": "perf_counter", "min_rounds": len(seconds),
            "max_time": 0.0, "min_time": 0.0, "warmup": False,
        },
        "stats": _stats(seconds),
    }  # fmt: skip


def _stats(seconds: Sequence[float]) -> dict[str, Any]:
    ordered = sorted(seconds)
    total, rounds = math.fsum(ordered), len(ordered)
    mean = total / rounds
    deviation = statistics.stdev(ordered) if rounds > 1 else 0.0
    q1, middle, q3 = (
        statistics.quantiles(ordered, n=4, method="inclusive") if rounds > 1 else ordered * 3
    )
    span = q3 - q1
    inside = [v for v in ordered if q1 - 1.5 * span <= v <= q3 + 1.5 * span]
    far = sum(abs(v - mean) > deviation for v in ordered)
    return {
        "min": ordered[0],
        "max": ordered[-1],
        "mean": mean,
        "stddev": deviation,
        "rounds": rounds,
        "median": middle,
        "iqr": span,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": rounds - len(inside),
        "stddev_outliers": far,
        "outliers": f"{far};{rounds - len(inside)}",
        "ld15iqr": inside[0],
        "hd15iqr": inside[-1],
        "ops": rounds / total if total else 0.0,
        "total": total,
        "data": list(seconds),
        "iterations": 1,
    }
