"""`bakeoff doctor`: shows what `doctor` and `noise` find on this host."""

from __future__ import annotations

import os
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from harness.doctor_activity import Between
    from harness.doctor_finding import Finding
    from harness.host_tree import HostTree
    from harness.noise import Floor

WATCH_S = 1.0
WIDTH = 80
_COLOURS = {"ok": "green", "blurs": "yellow", "can't read": "dim"}


def doctor_command(
    noise: Annotated[
        bool, typer.Option(help="Measure how much two identical arms differ, for ~20 s.")
    ] = True,
) -> None:
    """Look at this host: what will blur which number, what to do, and how noisy it is."""
    from rich.console import Console

    from harness import doctor, host
    from harness.console import plain
    from harness.errors import BakeoffError
    from harness.host_tree import HostTree

    out = Console(highlight=False, soft_wrap=False)
    out.width = min(out.width, WIDTH)
    tree = HostTree(Path("/"))
    findings = doctor.examine(tree, os.environ, _watch(tree))
    if sys.platform != "linux":
        out.print(
            f"{platform.system()} has no /proc and /sys: most of this can be read on Linux only."
        )
    show_findings(out, findings)
    if not noise:
        return
    from harness import noise as aa

    threads = sorted({1, host.usable_cpus()})
    out.print(f"\nNoise floor: the same work in fresh processes, for about {aa.SECONDS:.0f} s …")
    try:
        show_floors(out, aa.floors(threads, seconds=aa.SECONDS))
    except BakeoffError as error:
        out.print(f"[yellow]{plain(error)}[/]")


def show_findings(out: Console, findings: list[Finding]) -> None:
    """A line or more per finding, then per number what blurs it."""
    from rich.table import Table

    from harness.console import plain
    from harness.doctor_finding import NUMBERS

    for finding in findings:
        table = Table.grid(padding=(0, 2, 0, 0))
        for width in (10, 14, None):
            table.add_column(width=width)
        said = plain(finding.read)
        if finding.blurs:
            said += f"\n[yellow]blurs {', '.join(finding.blurs)}[/]"
        if finding.advice:
            said += f"\n→ {plain(finding.advice)}"
        grade = f"[{_COLOURS[finding.grade]}]{finding.grade}[/]"
        table.add_row(grade, finding.topic, said)
        out.print(table)
        if finding.command:
            out.print(f"  $ {plain(finding.command)}", soft_wrap=True)
    out.print()
    for number in NUMBERS:
        causes = [finding.topic for finding in findings if number in finding.blurs]
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(width=10)
        table.add_row(f"[bold]{number}[/]", ", ".join(causes) or "nothing found that blurs it")
        out.print(table)


def show_floors(out: Console, floors: list[Floor]) -> None:
    for floor in floors:
        threads = "1 thread" if floor.threads == 1 else f"{floor.threads} threads (all CPUs)"
        pairs = len(floor.log_ratios)
        out.print(
            f"[bold]{threads}:[/] two identical arms differed by {floor.typical:.1%} "
            f"(median of {pairs} pairs of {floor.work_s:.2f} s). Differences below about "
            f"{floor.visible(1):.1%} between two single trials can't be seen here; with trials "
            f"per arm: " + ", ".join(f"{n}: {floor.visible(n):.1%}" for n in (3, 5, 10, 30)) + "."
        )
    out.print("An engine waits for memory more than this work does, and may see more noise.")


def _watch(tree: HostTree) -> Between | None:
    """What the CPUs do for a moment, while we sleep."""
    from harness.doctor_activity import Between

    before = tree.activity()
    if before is None:
        return None
    time.sleep(WATCH_S)
    after = tree.activity()
    return None if after is None else Between(before, after, frozenset({os.getpid()}))
