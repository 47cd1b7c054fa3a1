"""A run from the command line: prepare, run the trials, report, and say how to go on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from harness import console, session
from harness.errors import BakeoffError
from harness.gate.session import Looks, replan
from harness.plan import Plan
from harness.preparation import Assets
from results import store
from results.gate import verdict
from results.store import Run, StoreError

RUNS = Path("runs")
FORMATS = ("html", "csv", "md")


@dataclass(frozen=True)
class Done:
    """What a run left. `complete` is False where its time limit came first."""

    run: Run
    complete: bool


def start(asked: Plan, out: Path | None) -> Done:
    """Run a plan in a new folder. KeyboardInterrupt goes through, with a report of what is there."""
    folder = out or _folder(asked.scenario.name)
    if folder.exists():
        raise BakeoffError(f"{folder} exists", _go_on(folder, asked.pairing is not None))
    screen = console.RunScreen()
    console.show_plan(asked, folder)
    with _before_the_first_trial(), screen.preparation() as say:
        planned, assets = session.create(asked, folder, tuple(sys.argv[1:]), say)
    return _execute(folder, planned, assets, screen)


def resume(folder: Path, *, gate: bool | None = None) -> Done:
    """Run what an interrupted run has left to do. `gate` says what it must be, None: either."""
    screen = console.RunScreen()
    run = read(folder)
    gated = "gate" in run.info.plan
    if gate is not None and gate != gated:
        raise BakeoffError(f"{folder} is {'a' if gated else 'no'} gate", _go_on(folder, gated))
    again = replan if gated else session.as_planned
    with _before_the_first_trial(), screen.preparation() as say:
        planned, assets = session.replan(run, say, again)
    return _execute(folder, planned, assets, screen)


def _execute(folder: Path, planned: Plan, assets: Assets, screen: console.RunScreen) -> Done:
    watch = Looks(folder, planned.pairing.rules) if planned.pairing else None
    try:
        with screen.trials(len(planned.trials)):
            finished = session.execute(folder, planned, assets, screen, watch)
    except KeyboardInterrupt:
        report(folder, show=False)
        console.say(f"interrupted; {_go_on(folder, watch is not None)}")
        raise
    report(folder, show=True)
    if not finished:
        console.say(f"the run's time limit is over; {_go_on(folder, watch is not None)}")
    return Done(read(folder), finished)


def _go_on(folder: Path, gated: bool) -> str:
    return f"go on with: bakeoff {'gate' if gated else 'run'} --resume {folder}"


def report(
    folder: Path, *, show: bool, formats: tuple[str, ...] = FORMATS, plots: tuple[str, ...] = ()
) -> None:
    """Write the reports into the run folder, the plots beside them, and show the run."""
    import reports

    finished = read(folder)
    gated = verdict.of(finished)
    if show and gated is not None:
        from reports.gate import terminal as gate_terminal

        gate_terminal.show(gated, console.results)
    elif show:
        from reports import terminal

        terminal.show(finished, console.results)
    written = reports.write(finished, formats, folder)
    if gated is not None:
        from reports import gate

        written = [*gate.write(gated, tuple(gate.FILES), folder), *written]
    if plots:
        written += reports.draw(finished, plots, folder / "plots")
    for path in written:
        console.out.print(
            f"{path.suffix[1:]:>5}  {path}", markup=False, highlight=False, soft_wrap=True
        )


def read(folder: Path) -> Run:
    """The run in that folder. Raises BakeoffError."""
    try:
        return store.read(folder)
    except StoreError as error:
        raise BakeoffError(str(error), "name a folder that bakeoff run made") from error


def _folder(name: str) -> Path:
    base = RUNS / f"{datetime.now():%Y%m%d-%H%M%S}-{name}"
    folder, number = base, 2
    while folder.exists():
        folder, number = base.with_name(f"{base.name}-{number}"), number + 1
    return folder


@contextmanager
def _before_the_first_trial() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        console.say("interrupted before the first trial; nothing was written")
        raise
