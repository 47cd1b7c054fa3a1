"""The `bakeoff` command. Everything heavy is imported inside the command that needs it."""

from __future__ import annotations

import errno
import json
import signal
import sys
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from harness import __version__, places
from harness.baseline_cli import app as baseline_app
from harness.chat.cli import app as templates_app
from harness.compare_cli import compare_command
from harness.conform_cli import conform_command
from harness.doctor_cli import doctor_command
from harness.engines_cli import app as engines_app
from harness.errors import BakeoffError
from harness.export_cli import export_command
from harness.gate.cli import gate_command
from harness.history_cli import history_command
from harness.lm_eval_cli import lm_eval_command
from harness.models.cli import app as models_app
from harness.open_cli import open_command

if TYPE_CHECKING:
    from harness.plan import Overrides, Plan
    from results.records import Record

EXIT_CASES_FAILED = 3
EXIT_INTERRUPTED = 130
EXIT_NOBODY_READS = 141  # what a shell shows for a program that SIGPIPE ended

app = typer.Typer(
    name="bakeoff",
    help="Compare local LLM engines honestly: same weights, same token ids, same sampling.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # importing rich would double the time of --help
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(models_app, name="models")
app.add_typer(templates_app, name="templates")
app.add_typer(baseline_app, name="baseline")
app.add_typer(engines_app, name="engines")
app.command("doctor")(doctor_command)
app.command("conform")(conform_command)
app.command("lm-eval")(lm_eval_command)
app.command("history")(history_command)
app.command("export")(export_command)
app.command("gate")(gate_command)
app.command("compare")(compare_command)
app.command("open")(open_command)

ScenarioFile = Annotated[
    Path, typer.Argument(help="A scenario file, or the name of a shipped one.")
]
BackendFilter = Annotated[
    list[str] | None, typer.Option("--backend", "-b", help="Run this backend only; repeatable.")
]
ModelFilter = Annotated[
    list[str] | None, typer.Option("--model", "-m", help="Run this model instead; repeatable.")
]
Trials = Annotated[int | None, typer.Option(min=1, max=10_000, help="Trials per case.")]


def main() -> NoReturn:
    """Entry point. Turns bakeoff's own errors into a message and an exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        places.check_install()
        app()
    except BakeoffError as error:
        _fail(str(error), error.remedy, error.exit_code)
    except OSError as error:
        _fail(*_system_said(error), BakeoffError.exit_code)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except SystemExit as ended:
        # typer and rich end with 1 where a pipe breaks: as if a gate had failed.
        if isinstance(ended.__context__, BrokenPipeError):
            sys.exit(EXIT_NOBODY_READS)
        raise
    sys.exit(0)


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"bakeoff {__version__}")
        raise typer.Exit


@app.command()
def plan(
    scenario: ScenarioFile,
    backend: BackendFilter = None,
    model: ModelFilter = None,
    trials: Trials = None,
) -> None:
    """List the cases of a scenario, and what would be skipped and why. Runs nothing."""
    from harness import console

    console.show_plan(_plan(scenario, _overrides(backend, model, trials)))


@app.command()
def run(
    scenario: Annotated[
        Path | None, typer.Argument(help="A scenario file, or the name of a shipped one.")
    ] = None,
    backend: BackendFilter = None,
    model: ModelFilter = None,
    trials: Trials = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder; default: runs/<time>-<name>.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this run folder.")] = None,
) -> None:
    """Run a scenario: every trial in a fresh process, in random order; then report."""
    from harness import running

    if (scenario is None) == (resume is None):
        raise typer.BadParameter("give a SCENARIO, or --resume RUN")
    if resume is not None and (backend or model or trials or out):
        raise typer.BadParameter("--resume goes on as planned: no other options go with it")
    if resume is not None:
        done = running.resume(resume)
    else:
        assert scenario is not None
        done = running.start(_plan(scenario, _overrides(backend, model, trials)), out)
    if not done.complete or any(_failed(record) for record in done.run.records):
        raise typer.Exit(EXIT_CASES_FAILED)


@app.command()
def report(
    runs: Annotated[
        list[Path],
        typer.Argument(help="A run folder; of several, each is compared with the first."),
    ],
    formats: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Of html, csv, md, json, comparisons, samples, answers; comma-separated. "
            "Default: html,csv,md.",
        ),
    ] = None,
    plots: Annotated[
        str | None, typer.Option(help="Also write each plot as a file: png, svg or png,svg.")
    ] = None,
) -> None:
    """Show a run and write its reports into the run folder; or show several side by side."""
    from harness import running
    from reports import FILES, PLOTS

    if len(runs) > 1 and (formats or plots):
        raise typer.BadParameter("--format and --plots go with one run")
    if len(runs) > 1:
        return compare_command(runs[0], runs[1:])
    chosen = running.FORMATS if formats is None else _names(formats, FILES)
    return running.report(runs[0], show=True, formats=chosen, plots=_names(plots or "", PLOTS))


@app.command()
def backends() -> None:
    """List every adapter: version and build facts, or what to do so that it can run."""
    from harness import console, environments
    from harness.probe import probe
    from harness.registry import adapters

    for adapter in adapters().values():
        console.show_probe(probe(adapter, environments.usual(adapter.name, {})))


@app.command()
def schema(
    what: Annotated[
        str, typer.Argument(help="Which files: scenario, or policy (of a gate).")
    ] = "scenario",
) -> None:
    """Print the JSON Schema of scenario or policy files, for editors."""
    from harness import scenario
    from harness.errors import BadInput, Problem
    from harness.gate import policy

    schemas = {"scenario": scenario.json_schema, "policy": policy.json_schema}
    if what not in schemas:
        raise BadInput(what, [Problem("expected scenario or policy")])
    typer.echo(json.dumps(schemas[what](), indent=2))


def _names(given: str, known: Collection[str]) -> tuple[str, ...]:
    """Of a list with commas; refused where one is not known."""
    names = tuple(dict.fromkeys(name.strip() for name in given.split(",") if name.strip()))
    if unknown := [name for name in names if name not in known]:
        raise BakeoffError(f"unknown format {unknown[0]!r}", f"formats: {', '.join(known)}")
    return names


def _failed(record: Record) -> bool:
    """A trial that was not ok, or an engine that the audit caught in a lie."""
    return record.status != "ok" or any(check.passed is False for check in record.checks)


def _plan(scenario: Path, overrides: Overrides) -> Plan:
    from harness import plan as planning
    from harness.shipped import load_scenario

    return planning.make(load_scenario(scenario), overrides)


def _overrides(backend: list[str] | None, model: list[str] | None, trials: int | None) -> Overrides:
    from harness.plan import Overrides

    return Overrides(tuple(backend or ()), tuple(model or ()), trials)


def _fail(message: str, remedy: str | None, code: int) -> NoReturn:
    """Both may quote a file of anybody's."""
    from reports.untrusted import lines

    typer.echo(lines(f"error: {message}", 20_000), err=True)
    if remedy:
        typer.echo(lines(f"  → {remedy}"), err=True)
    sys.exit(code)


def _system_said(error: OSError) -> tuple[str, str | None]:
    """A message that names the file, and what to do."""
    where = f"{error.filename}: " if error.filename is not None else ""
    remedy = None
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = "make room on that disk"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        remedy = "name a place that you may write to, or copy the folder to one"
    elif error.filename is not None:
        remedy = "name another place"
    return f"{where}{error.strerror or error}", remedy


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
