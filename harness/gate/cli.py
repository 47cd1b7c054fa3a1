"""`bakeoff gate`: a candidate against a base, in one session."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXIT_GATE_FAILED = 1


def gate_command(
    scenario: Annotated[
        Path | None, typer.Argument(help="A scenario file, or the name of a shipped one.")
    ] = None,
    base: Annotated[
        str, typer.Option(help="An arm: 'field=value …' over the scenario, or a YAML file.")
    ] = "",
    candidate: Annotated[str, typer.Option(help="The other arm.")] = "",
    policy: Annotated[
        Path | None, typer.Option(help="A policy file, or the name of a shipped one.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder; default: runs/<time>-<name>.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this run folder.")] = None,
) -> None:
    """Run two arms block by block until it is clear whether the candidate is worse.

    Exit code 0: no regression, or can't tell and the policy lets that pass. 1: the gate fails.
    """
    from harness import console, running
    from harness.gate import planning
    from harness.gate import policy as policies
    from harness.gate.overlay import parse
    from harness.shipped import load_scenario

    if (scenario is None) == (resume is None):
        raise typer.BadParameter("give a SCENARIO, or --resume RUN")
    if resume is not None and (base or candidate or policy or out):
        raise typer.BadParameter("--resume goes on as planned: no other options go with it")
    console.tell_on_stderr()
    if resume is not None:
        done = running.resume(resume, gate=True)
    else:
        assert scenario is not None
        rules = policies.load(policy)
        arms = parse("base", base), parse("candidate", candidate)
        done = running.start(planning.make(load_scenario(scenario), *arms, rules), out)
    from results.gate import verdict

    outcome = verdict.of(done.run)
    if outcome is None or not outcome.passed:
        raise typer.Exit(EXIT_GATE_FAILED)
