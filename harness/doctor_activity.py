"""What else goes on while `doctor` looks: load, other programs, other machines, waiting tasks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from harness.doctor_finding import LOAD, MEMORY, NUMBERS, TIMES, Finding, counted, unread
from harness.host_tree import Activity, HostTree

STEAL_SHARE = 0.005
FOREIGN_CPU = 0.05  # of one CPU
LOAD_PER_CPU = 0.1
PRESSURE_SHARE = 0.01


@dataclass(frozen=True)
class Between:
    """Two readings of the CPUs' activity, and the process ids that are our own."""

    before: Activity
    after: Activity
    own: frozenset[int] = frozenset()


def load_average(tree: HostTree) -> Finding:
    found = re.match(r"\d+\.\d+", tree.text("proc/loadavg") or "")
    if not found:
        return unread("load average", "no /proc/loadavg")
    cpus = max(1, len(tree.usable_cpus()))
    read = f"{found[0]} over the last minute, on {counted(cpus, 'usable CPU')}"
    if float(found[0]) <= LOAD_PER_CPU * cpus:
        return Finding("load average", "ok", read)
    return Finding("load average", "blurs", read, TIMES, "wait for, or stop, what else runs")


def foreign(tree: HostTree, between: Between | None) -> Finding:
    """What others used of the CPUs between two readings; programs by name only.

    A container does not see the programs outside: their time is what nobody seen here has used.
    """
    if between is None or between.after.total <= between.before.total:
        return unread("other programs", "no /proc/stat")
    before, after = between.before, between.after
    one_cpu = (after.total - before.total) / max(1, len(tree.online_cpus()))
    shares: dict[str, float] = {}
    unseen = (after.busy - before.busy) / one_cpu
    for pid, (name, ticks) in after.programs.items():
        used = max(0, ticks - before.programs.get(pid, (name, 0))[1]) / one_cpu
        unseen -= used
        if pid not in between.own and used:
            shares[name] = shares.get(name, 0.0) + used
    busiest = sorted(shares.items(), key=lambda item: -item[1])[:4]
    named = [f"{_plain(name)} {share:.0%}" for name, share in busiest]
    if unseen >= FOREIGN_CPU:
        named.append(f"not visible from here {unseen:.0%}")
    total = sum(shares.values()) + max(0.0, unseen)
    if total < FOREIGN_CPU:
        return Finding("other programs", "ok", f"use {total:.0%} of one CPU")
    read = f"use {total:.0%} of one CPU: {', '.join(named)}"
    return Finding("other programs", "blurs", read, TIMES, "stop them")


def steal(tree: HostTree, between: Between | None) -> Finding:
    """Time in which this machine wanted to run and its host ran another."""
    now = between.after if between else tree.activity()
    if now is None or not now.total:
        return unread("steal", "no /proc/stat")
    since_boot = now.steal / now.total
    ticks = between.after.total - between.before.total if between else 0
    lately = (between.after.steal - between.before.steal) / ticks if between and ticks > 0 else 0.0
    read = f"{since_boot:.2%} of CPU time since boot, {lately:.1%} just now"
    if max(since_boot, lately) <= STEAL_SHARE:
        return Finding("steal", "ok", read)
    return Finding(
        "steal", "blurs", f"{read}: taken by other virtual machines", TIMES,
        "more trials, spread over time; or a host of its own",
    )  # fmt: skip


def pressure(tree: HostTree) -> Finding:
    """Pressure-stall information of the last ten seconds."""
    hurts = {"cpu": TIMES, "memory": (*TIMES, MEMORY), "io": (LOAD,)}
    found = {what: share for what in hurts if (share := tree.pressure(what)) is not None}
    if not found:
        return unread("pressure", "no /proc/pressure (kernel without PSI, or not shown here)")
    read = "of 10 s, tasks waited " + ", ".join(f"{s:.0%} for {w}" for w, s in found.items())
    tight = [what for what, share in found.items() if share > PRESSURE_SHARE]
    if not tight:
        return Finding("pressure", "ok", read)
    hurt = _ordered(number for what in tight for number in hurts[what])
    return Finding("pressure", "blurs", read, hurt, "stop what else runs, then look again")


def _ordered(numbers: Iterable[str]) -> tuple[str, ...]:
    chosen = set(numbers)
    return tuple(number for number in NUMBERS if number in chosen)


def _plain(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name)[:15]
