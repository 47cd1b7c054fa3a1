"""`bakeoff baseline`: keep what is deterministic about a run, and hold later runs against it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from results.baseline import Baseline

EXIT_GATE_FAILED = 1
MAX_BYTES = 256 * 1024 * 1024

app = typer.Typer(
    help="What is deterministic: prompts, token counts, greedy ids, sizes; and budgets.",
    no_args_is_help=True,
)
RunFolder = Annotated[Path, typer.Argument(help="A run folder.")]
BaselineFile = Annotated[Path, typer.Argument(help="A file that `baseline save` made.")]


@app.command()
def save(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("baseline.json"),
) -> None:
    """Write what is deterministic about a run into a file to commit. An existing one is replaced."""
    from harness import console, running
    from harness.errors import BakeoffError
    from results import baseline

    found = baseline.of(running.read(run))
    if not found.cases:
        raise BakeoffError(
            f"{run} has nothing deterministic to keep: no good trial of generate or templates",
            "run a scenario with one of these measures",
        )
    fresh = out.with_suffix(f"{out.suffix}.new")
    fresh.write_text(baseline.to_json(found), encoding="utf-8")
    fresh.replace(out)
    console.results.print(f"{out}: {_size(found)}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def show(file: BaselineFile) -> None:
    """Say what a baseline holds, and where it was made."""
    from harness import console
    from reports.untrusted import one_line
    from results.gate.family import task

    found = _read(file)
    told = [
        f"{file}: {_size(found)}",
        f"made by run {found.run} of scenario {found.scenario} at {found.made_at}",
        f"on {found.host.get('cpu')}, fingerprint {found.fingerprint}",
        "with " + ", ".join(f"{name} {version}" for name, version in found.engines.items()),
    ]
    for one in found.cases.values():
        holds = f"{len(one.renderings)} prompts as rendered" if one.renderings else ""
        if one.counts:
            greedy = (
                f"greedy ids of {len(one.outputs)}" if one.outputs else f"no greedy ids: {one.why}"
            )
            holds = f"{len(one.counts)} token counts, {greedy}"
        told.append(f"  {task(one.case)}: {holds}")
    for line in told:
        console.results.print(one_line(line), markup=False, highlight=False, soft_wrap=True)


@app.command()
def check(
    run: RunFolder,
    file: BaselineFile,
    only: Annotated[
        str | None,
        typer.Option(help="Of templates, token_counts, size, greedy, budgets; comma-separated."),
    ] = None,
) -> None:
    """Hold a run against a baseline. Writes gate.* reports into the folder `baseline` of the run.

    Exit code 1 where something differs, is missing, or can't be checked on this machine.
    """
    from harness import console, running
    from harness.errors import BadInput, Problem
    from harness.yaml_source import suggestion
    from reports import gate
    from reports.gate import terminal
    from results import baseline

    names = tuple(n.strip() for n in only.split(",")) if only else baseline.CHECKS
    for name in names:
        if name not in baseline.CHECKS:
            reason = f"unknown check {name!r}" + suggestion(name, baseline.CHECKS)
            raise BadInput("--only", [Problem(reason)])
    outcome = baseline.check(running.read(run), _read(file), names)
    terminal.show(outcome, console.results)
    for path in gate.write(outcome, tuple(gate.FILES), run / "baseline"):
        console.results.print(f"{path}", markup=False, highlight=False, soft_wrap=True)
    if not outcome.passed:
        raise typer.Exit(EXIT_GATE_FAILED)


def _read(file: Path) -> Baseline:
    from harness.errors import BadInput, Problem
    from results import baseline

    remedy = "make one: bakeoff baseline save RUN"
    try:
        if file.stat().st_size > MAX_BYTES:
            raise BadInput(file, [Problem(f"is larger than {MAX_BYTES:,} bytes")])
        return baseline.from_json(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(file, [Problem(f"cannot be read: {error}")], remedy) from error
    except baseline.BadBaseline as error:
        raise BadInput(file, [Problem(str(error))], remedy) from error


def _size(found: Baseline) -> str:
    return f"{len(found.cases)} cases, {len(found.budgets)} budgets"
