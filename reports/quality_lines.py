"""What an engine's own sampling costs: the share of right answers under each setting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from reports import svg
from reports.panels import Axis, Panels
from reports.plots import Plot
from reports.quality_view import GroupView, Row

Point = tuple[float, float]


def plots(groups: Sequence[GroupView], colors: Mapping[str, int]) -> Iterator[Plot | None]:
    """Of each group; None where there is one setting only."""
    for group in groups:
        by_arm: dict[str, list[Row]] = {}
        for row in group.rows:
            if row.right is not None:
                by_arm.setdefault(row.name, []).append(row)
        several = [rows for rows in by_arm.values() if len(rows) > 1]
        yield _plot(group, several, colors) if several else None


def _plot(group: GroupView, found: Sequence[Sequence[Row]], colors: Mapping[str, int]) -> Plot:
    settings = len(group.settings)
    drawn = Panels(
        [(rows[0].name, f"{rows[0].accuracy} → {rows[-1].accuracy}") for rows in found],
        x=Axis(settings, "setting", [(n + 0.5, f"{n + 1}") for n in range(settings)]),
        y=Axis(104, "right, %"),
    )
    lines = [_line(rows) for rows in found]
    others = drawn.backdrop(lines)
    for panel, (rows, line) in enumerate(zip(found, lines, strict=True)):
        color = svg.series(colors[rows[0].backend])
        for row, (x, _) in zip(rows, line, strict=True):
            if row.right and row.right.low is not None and row.right.high is not None:
                ends = [(x, 100 * row.right.low), (x, 100 * row.right.high)]
                drawn.line(panel, ends, color, 2.2, 0.5)
        drawn.line(panel, line, color, 1.2)
        drawn.dots(panel, line, color)
    said = (
        f"{rows[0].name}: " + ", ".join(f"setting {row.number} {row.accuracy}" for row in rows)
        for rows in found
    )
    names = "; ".join(f"{n} {name}" for n, name in enumerate(group.settings, start=1))
    return Plot(
        "Greedy against sampling: right answers",
        f"Settings: {names}. Upright lines are 95 % intervals over items, each engine's by itself{others}. "
        "Whether a difference is real is told by pairs of answers, below.",
        drawn.inline(f"{group.anchor}-settings", f"right answers: {group.title}", "; ".join(said)),
    )


def _line(rows: Sequence[Row]) -> list[Point]:
    return [(row.number - 0.5, 100 * row.right.value) for row in rows if row.right is not None]
