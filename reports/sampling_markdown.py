"""Samplers in Markdown: the table of verdicts, and the settings that were not as told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from reports.sampling_view import Row, Samplers


def lines(found: Samplers | None, escape: Callable[[str], str]) -> Iterator[str]:
    if found is None:
        return
    yield from ("## Samplers", "")
    yield from (f"- **{escape(where)}**: {escape(said)}" for where, said in found.sentences)
    yield ""
    yield _row(("engine, artifact", *map(escape, found.parameters), "order that its draws show"))
    yield _row(("---",) * (len(found.parameters) + 2))
    for row in found.rows:
        cells = (f"{cell.mark} {escape(cell.verdict)}" for cell in row.cells)
        yield _row((escape(row.name), *cells, escape(row.order)))
    yield ""
    yield from ("; ".join(f"{mark} {escape(text)}" for mark, _, _, text in found.legend) + ".", "")
    for row in found.rows:
        yield from _failed(row, escape)
    yield from (escape(found.note), "")


def _failed(row: Row, escape: Callable[[str], str]) -> Iterator[str]:
    bad = [line for line in row.lines if line.severity == "bad"]
    if row.warning:
        yield from (f"**{escape(row.name)}**: {escape(row.warning)}", "")
    if not bad:
        return
    yield from (f"### {escape(row.name)}: settings that are not as told", "")
    yield _row(("prompt", "setting", "draws", "p", "variation", "honest", "outside", "draws are"))
    yield _row(("---", "---", "---:", "---:", "---:", "---:", "---:", "---"))
    for line in bad:
        fields = (line.prompt, line.setting, line.draws, line.p, line.variation)
        yield _row([escape(f) for f in (*fields, line.expected, line.outside, line.said)])
    yield ""


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
