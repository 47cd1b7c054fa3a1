"""What a longer prompt costs: one metric against prompt length, a panel per case."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from reports import numbers, svg
from reports.names import sampling
from reports.panels import Axis, Panels
from reports.plots import Plot
from reports.tables import Row, Table
from reports.untrusted import one_line
from results import arms, metrics
from results.statistics import Estimate

_METRICS = ("ttft_ms", "ttft_reused_prefix_ms", "decode_tok_s", "peak_pss_bytes")

Line = list[tuple[float, Estimate]]


def plots(tables: Sequence[Table], colors: Mapping[str, int]) -> Iterator[Plot]:
    """Per family of tasks that differ in nothing but the prompt's length, and per metric."""
    families = _families(tables)
    for number, family in enumerate(families, start=1):
        about = f": {_about(family[0])}" if len(families) > 1 else ""
        for name in _METRICS:
            lines = _lines(family, name)
            if lines:
                yield _plot(f"lengths-{number}-{name}", metrics.METRICS[name], about, lines, colors)


def _families(tables: Sequence[Table]) -> list[list[Table]]:
    found: dict[str, list[Table]] = {}
    for table in tables:
        case = table.rows[0].summary.case
        same = {k: v for k, v in case.parameters.items() if k not in ("prompt_tokens", "context")}
        key = json.dumps([case.model, case.measure, same], sort_keys=True, default=str)
        if isinstance(case.parameters.get("prompt_tokens"), int) and case.measure == "generate":
            found.setdefault(key, []).append(table)
    return [family for family in found.values() if len(family) > 1]


def _about(table: Table) -> str:
    """What sets a family apart, without the prompt's length."""
    case = table.rows[0].summary.case
    told = [table.model, f"{case.parameters.get('output_tokens', '?')} tokens"]
    told.append(sampling(case.parameters.get("sampling")))
    told.append("prompt prefix reused" if metrics.reuses_prefix(case) else "")
    return one_line(", ".join(part for part in told if part), 200)


def _lines(family: Sequence[Table], metric: str) -> list[tuple[Row, Line]]:
    """By arm, the values of those that have at least two."""
    found: dict[str, tuple[Row, Line]] = {}
    for table in family:
        for row in table.rows:
            estimate = row.summary.estimates.get(metric)
            if estimate is not None:
                length = float(row.summary.case.parameters["prompt_tokens"])
                key = arms.key(row.summary.case)
                found.setdefault(key, (row, []))[1].append((length, estimate))
    return [
        (row, sorted(line, key=lambda at: at[0])) for row, line in found.values() if len(line) > 1
    ]


def _plot(
    prefix: str,
    metric: metrics.Metric,
    about: str,
    lines: Sequence[tuple[Row, Line]],
    colors: Mapping[str, int],
) -> Plot:
    high = max(_high(value) for _, line in lines for _, value in line)
    far = max(length for _, line in lines for length, _ in line)
    factor, unit = numbers.scale(high, metric.unit)
    drawn = Panels(
        [(row.name, _ends(line, metric)) for row, line in lines],
        x=Axis(far * 1.06, "prompt, tokens"),
        y=Axis(high * factor * 1.05, unit),
    )
    placed = [[(length, value.value * factor) for length, value in line] for _, line in lines]
    others = drawn.backdrop(placed)
    for panel, ((row, line), points) in enumerate(zip(lines, placed, strict=True)):
        color = svg.series(colors[row.backend])
        for length, value in line:
            if value.low is not None and value.high is not None:
                ends = [(length, v * factor) for v in (value.low, min(value.high, high))]
                drawn.line(panel, ends, color, 1.6, 0.6)
        drawn.line(panel, points, color, 1.2)
        drawn.dots(panel, points, color)
    better = f"{metric.better} is better; " if metric.better else ""
    said = (f"{row.name}: {_all(line, metric)}" for row, line in lines)
    return Plot(
        metric.title + about,
        f"{better}means of trials with 95 % intervals{others}",
        drawn.inline(prefix, f"{metric.title} by prompt length{about}", "; ".join(said)),
    )


def _high(value: Estimate) -> float:
    return value.value if value.high is None else min(value.high, 1.5 * value.value)


def _ends(line: Line, metric: metrics.Metric) -> str:
    return " → ".join(numbers.quantity(line[n][1].value, metric.unit) for n in (0, -1))


def _all(line: Line, metric: metrics.Metric) -> str:
    return ", ".join(
        f"{length:g} tokens {numbers.quantity(value.value, metric.unit)}" for length, value in line
    )
