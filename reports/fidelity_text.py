"""Fidelity in Markdown, in the terminal, and as CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from reports.csv import to_text
from reports.fidelity_view import Fidelity
from results import fidelity
from results.store import Run

COLUMNS = (
    "model", "backend", "artifact", "arm", "reference", "verdict", "method", "positions", "bits",
    "same_weights", "kl_mean_nats", "kl_median_nats", "kl_p90_nats", "kl_p99_nats", "kl_max_nats",
    "top1_share", "delta_logprob_nats", "perplexity", "reference_perplexity", "perplexity_ratio",
    "perplexity_ratio_low", "perplexity_ratio_high", "usual_error_logits", "near_ties",
    "faulty_divergences", "faults", "notes", "troubles",
)  # fmt: skip


def markdown(found: Fidelity | None, escape: Callable[[str], str]) -> Iterator[str]:
    """A section, or nothing."""
    if found is None:
        return
    yield from ("## Fidelity", "", escape(found.about), "")
    for who, what, _ in found.sentences:
        yield f"- **{escape(who)}** {escape(what)}"
    yield ""
    for group in found.groups:
        yield from (f"### {escape(group.title)}, against {escape(group.reference)}", "")
        yield "| engine, artifact | verdict | mean KL | p99 KL | top-1 | perplexity ratio |"
        yield "| --- | --- | ---: | ---: | ---: | ---: |"
        for row in group.rows:
            cells = (
                row.name,
                f"{row.mark} {row.verdict}",
                row.kl,
                row.kl_p99,
                row.top1,
                row.perplexity,
            )
            yield f"| {' | '.join(map(escape, cells))} |"
        yield ""
        for row in group.rows:
            for item, verdict, said in row.divergences:
                yield f"- {escape(f'{row.name}, {item}: {verdict}; {said}')}"
            for told in (*row.notes, *row.troubles):
                yield f"- {escape(f'{row.name}: {told}')}"
        yield ""


def show(console: Console, found: Fidelity | None) -> None:
    """A section on a terminal of 80 columns, or nothing."""
    if found is None:
        return
    for group in found.groups:
        console.print()
        console.print(Text(f"Fidelity: {group.title}, against {group.reference}", style="bold"))
        table = Table(box=None, padding=(0, 1, 0, 0), show_edge=False)
        for name in ("", "verdict", "mean KL", "top-1", "ppl ratio"):
            table.add_column(name, justify="left" if name in ("", "verdict") else "right")
        for row in group.rows:
            style = {"bad": "red", "good": "green", "muted": "dim"}.get(row.tone, "")
            table.add_row(
                Text(f" {row.name}", overflow="fold"),
                Text(f"{row.mark} {row.verdict}", style=style),
                row.kl,
                row.top1,
                row.perplexity.partition(" ")[0],
            )
        console.print(table)
        for row in group.rows:
            for fault in row.faults:
                said = Text(f"{row.name}: ", style="bold").append(fault, style="not bold red")
                console.print(Padding(said, (0, 0, 0, 2), expand=False))
            verdicts = [verdict for _, verdict, _ in row.divergences]
            if verdicts and not row.faults:
                counts = ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts))
                said = Text(f"{row.name}: greedy answers that part: {counts}")
                console.print(Padding(said, (0, 0, 0, 2), expand=False))
            for told in (*row.notes, *row.troubles[:3]):
                said = Text(f"{row.name}: {told}", style="yellow")
                console.print(Padding(said, (0, 0, 0, 2), expand=False))


def csv(run: Run) -> str:
    """`fidelity.csv`: a line per arm."""
    rows: list[tuple[object, ...]] = []
    for model in fidelity.of(run):
        for arm in model.arms:
            kl, ratio = arm.kl, arm.perplexity_ratio
            ties = [one.near_tie for one in arm.divergences]
            rows.append(
                (
                    model.name, arm.case.backend, arm.case.artifact, arm.name, model.reference,
                    arm.verdict, arm.method, arm.positions, arm.bits, arm.same_weights,
                    *((kl.mean, kl.median, kl.p90, kl.p99, kl.max) if kl else (None,) * 5),
                    arm.top1.value if arm.top1 else None, arm.delta_logprob, arm.perplexity,
                    arm.reference_perplexity,
                    *((ratio.value, ratio.low, ratio.high) if ratio else (None,) * 3),
                    arm.usual_error, ties.count(True), ties.count(False),
                    "; ".join(arm.faults), "; ".join(arm.notes), "; ".join(f"{i}: {w}" for i, w in arm.troubles),
                )
            )  # fmt: skip
    return to_text(COLUMNS, rows)
