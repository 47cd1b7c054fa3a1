"""What the command line shows while it plans and runs. Results are shown by `reports.terminal`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from harness.plan import Plan
from harness.probe import Probe
from reports.names import variant
from reports.untrusted import lines
from results.records import Case, Record, Trial

results = Console(highlight=False)
out = results
"""What is told on the way. A gate tells it on stderr: its verdict is the first line of stdout."""

ROUGH_TRIAL_S = 5.0


def tell_on_stderr() -> None:
    global out
    out = Console(highlight=False, stderr=True)


def say(text: str) -> None:
    """A line to stderr."""
    typer.echo(lines(text), err=True)


def plain(text: object, limit: int = 4000) -> str:
    """Text of an engine, a file or a host for rich: no markup, nothing hidden; it may span lines."""
    return escape(lines(text, limit))


def show_plan(plan: Plan, folder: Path | None = None) -> None:
    """The cases, what cannot run and why, and roughly how long it will take."""
    scenario = plan.scenario
    out.print(f"[bold]{plain(scenario.name)}[/]  {plain(scenario.description)}")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    several = len({planned.case.model for planned in plan.cases}) > 1
    for name in (*(["model"] if several else []), "backend", "artifact", "measure", "trials"):
        table.add_column(name, justify="right" if name == "trials" else "left")
    for planned in plan.cases:
        case = planned.case
        count = sum(trial.case.key == case.key for trial in plan.trials)
        skipped = "[yellow]skipped[/]" if planned.obstacle else str(count)
        cells = [*([case.model] if several else []), case.backend, variant(case), _measure(case)]
        table.add_row(*map(plain, cells), skipped)
    out.print(table)
    told: set[tuple[str, str]] = set()
    for planned in plan.cases:
        if planned.obstacle and (planned.case.backend, planned.obstacle.reason) not in told:
            told.add((planned.case.backend, planned.obstacle.reason))
            out.print(
                f"[yellow]{plain(planned.case.backend)} can't run:[/] {plain(planned.obstacle.reason)}"
            )
            if planned.obstacle.remedy:
                out.print(f"  → {plain(planned.obstacle.remedy)}", soft_wrap=True)
    for warning in plan.warnings:
        out.print(f"[yellow]warning:[/] {plain(warning)}")
    runnable = sum(1 for t in plan.trials if not _obstacle(plan, t))
    settings = scenario.plan
    timed = any(planned.case.measure in ("load", "generate") for planned in plan.cases)
    work = f" with {settings.warmup} warm-up and {settings.requests} timed requests"
    out.print(
        f"{runnable} trials, each a fresh process{work if timed else ''}; {plan.threads} threads, "
        f"context {plan.context}, order seed {settings.seed}. Very roughly "
        f"{_minutes(runnable * ROUGH_TRIAL_S)}; the first trials will tell."
    )
    if folder is not None:
        out.print(f"run folder: {plain(folder)}", soft_wrap=True)


def show_probe(probe: Probe) -> None:
    """One adapter: what it is, or why it can't run and what to do."""
    name = f"[bold]{plain(probe.name)}[/]"
    source = f"[dim]{plain(probe.distribution)}[/]"
    if not probe.available:
        out.print(f"{name}  [yellow]can't run:[/] {plain(probe.reason)}  {source}")
        if probe.remedy:
            out.print(f"  → {plain(probe.remedy)}", soft_wrap=True)
        return
    reads = ", ".join(probe.formats or ())
    out.print(f"{name} {plain(probe.version)}  reads {plain(reads)}  {source}")
    for key, value in {**probe.build, "devices": ", ".join(probe.devices)}.items():
        if value:
            out.print(f"  {plain(key)}: {plain(value)}")


class RunScreen:
    """A progress bar with the trial under way and the time left."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._walls: dict[str, list[float]] = {}
        self._left: list[str] = []

    @contextmanager
    def preparation(self) -> Iterator[Callable[[str, float | None], None]]:
        """A line per step of preparing models; a bar while its share is known."""
        with _bar(
            TextColumn("{task.description}"), BarColumn(bar_width=20), TimeElapsedColumn()
        ) as bar:
            task = bar.add_task("", total=None, visible=False)
            current = ""

            def say(what: str, share: float | None) -> None:
                nonlocal current
                if what != current:
                    current = what
                    if not out.is_terminal:
                        out.print(plain(what))
                    bar.reset(task, description=plain(what[:50]), visible=True, total=None)
                bar.update(task, total=None if share is None else 1.0, completed=share or 0.0)

            yield say

    @contextmanager
    def trials(self, total: int) -> Iterator[None]:
        with _bar(
            MofNCompleteColumn(), BarColumn(bar_width=16), TextColumn("{task.fields[left]}"),
            TextColumn("{task.description}"), ticking=False,
        ) as bar:  # fmt: skip
            self._task = bar.add_task("", total=total, left="")
            self._progress, self._total = bar, total
            yield

    def started(self, trial: Trial, done: int, total: int) -> None:
        assert self._progress is not None
        self._current = f"{trial.case.backend} {trial.case.artifact} {trial.case.measure}"
        self._began = monotonic()
        mean = _mean([wall for walls in self._walls.values() for wall in walls])
        left = f"~{_minutes(mean * (total - done))} left" if mean else "…"
        self._progress.update(
            self._task,
            completed=done,
            total=total,
            left=left,
            description=plain(self._current[:44]),
        )
        self._progress.refresh()

    def finished(self, record: Record) -> None:
        assert self._progress is not None
        if record.wall_s:
            self._walls.setdefault(record.case.key, []).append(record.wall_s)
        self._progress.update(self._task, advance=1, refresh=True)
        if record.status != "ok":
            out.print(
                f"[yellow]{record.status}[/] {plain(record.case.backend)} {plain(record.case.artifact)} "
                f"{plain(record.case.measure)}: {plain(record.reason, 300)}"
            )
        elif not out.is_terminal:
            out.print(f"ok {plain(record.trial)} {record.wall_s:.1f} s")


def _bar(*columns: ProgressColumn, ticking: bool = True) -> Progress:
    """`ticking` redraws by a timer; not while trials run, when the parent must sleep."""
    return Progress(
        *columns, console=out, transient=True, refresh_per_second=4, auto_refresh=ticking
    )


def _obstacle(plan: Plan, trial: Trial) -> bool:
    return any(c.obstacle for c in plan.cases if c.case.key == trial.case.key)


def _measure(case: Case) -> str:
    p = case.parameters
    if case.measure == "generate":
        temperature = p["sampling"]["temperature"]
        how = "greedy" if temperature == 0 else f"T={temperature:g}"
        return f"generate {p['prompt_tokens']}→{p['output_tokens']} {how}"
    return f"{case.measure} {p.get('page_cache', '')}".strip()


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
