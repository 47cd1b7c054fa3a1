"""`bakeoff conform`: does an adapter keep the contract? Every check runs in a worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from backends.conformance import Check
    from harness.probe import Probe
    from harness.registry import Adapter
    from harness.supervisor import Outcome
    from results.conformance import CheckResult, Conformance

EXIT_FAILED = 1
MODEL = "smollm2-135m-instruct"
CONTEXT = 256
LIMIT_S = 600.0
GRACE_S = 60.0

OnResult = Callable[["CheckResult"], None]


def conform_command(
    engine: Annotated[
        str, typer.Argument(help="An adapter's name (see `backends`), or FILE.py:CLASS.")
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", help="A model's id, its manifest, or a model's path.")
    ] = MODEL,
    artifact: Annotated[
        str | None, typer.Option(help="Default: the first that the engine reads.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the result to this file.")
    ] = None,
    python: Annotated[
        str | None,
        typer.Option(help="Interpreter or engine environment; default: the engine's own."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="An option of the engine's; may be repeated."),
    ] = None,
    limit_s: Annotated[
        float, typer.Option(min=1, help="Seconds that one check may take.")
    ] = LIMIT_S,
) -> None:
    """Test an adapter against the contract, one small check after the other.

    A crash or a hang fails the check it happened in; the others go on in a new process.
    Exit code 1: a check failed.
    """
    from harness import console, environments
    from harness.environment import for_worker
    from harness.errors import BakeoffError
    from harness.probe import probe
    from results import conformance

    if json_file is not None and not json_file.resolve().parent.is_dir():
        raise BakeoffError(f"{json_file}: there is no such folder", "make it, or name another")
    adapter, extra = _adapter(engine), _extra(option or [])
    own = environments.usual(adapter.name, extra)
    seen = probe(adapter, environments.resolve(python) if python else own)
    if not seen.available:
        raise BakeoffError(f"{engine} can't run: {seen.reason}", seen.remedy)
    prepared = _artifact(seen, model, artifact)
    console.say(f"{engine} {seen.version} on {prepared['model']} {prepared['name']}")
    environment = for_worker(threads=1, options=extra)
    found = _Conformance(adapter, seen, prepared, limit_s, environment, extra).run(
        lambda result: console.say(f"  {_WORDS[result.status]:<5} {result.check}")
    )
    _show(found)
    if json_file is not None:
        conformance.write(found, json_file)
    if found.failed:
        raise typer.Exit(EXIT_FAILED)


def _extra(told: list[str]) -> dict[str, Any]:
    """Options as a scenario has them: `name=value`, the value in YAML."""
    import yaml

    from harness.errors import BadInput, Problem

    found: dict[str, Any] = {}
    for one in told:
        name, equals, value = one.partition("=")
        try:
            found[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            equals = ""
        if not equals or not name or not isinstance(found[name], str | int | float | bool):
            raise BadInput(
                "--option", [Problem(f"{one!r}: expected NAME=VALUE, such as n_batch=64")]
            )
    return found


_WORDS = {"passed": "ok", "failed": "FAIL", "not_applicable": "-"}


def _adapter(engine: str) -> Adapter:
    """By name, or by file for an adapter that is not installed."""
    from harness import registry
    from harness.errors import BakeoffError

    file, _, name = engine.rpartition(":")
    if file.endswith(".py"):
        path = Path(file).resolve()
        if not path.is_file() or not path.stem.isidentifier() or not name.isidentifier():
            raise BakeoffError(
                f"{engine}: no such adapter", "expected FILE.py:CLASS, such as toy.py:Toy"
            )
        return _file_adapter(path, name)
    known = registry.adapters()
    if engine not in known:
        raise BakeoffError(
            f"unknown engine {engine!r}", f"known: {', '.join(known)}; or give FILE.py:CLASS"
        )
    return known[engine]


def _file_adapter(path: Path, name: str) -> Adapter:
    from harness.registry import Adapter

    class FileAdapter(Adapter):
        def folder(self) -> Path:
            return path.parent

    return FileAdapter(name, f"{path.stem}:{name}", str(path))


def _artifact(seen: Probe, model: str, name: str | None) -> dict[str, str]:
    """As a job names it: prepared if it is of a manifest, as it is if it's a path of another kind."""
    from harness import models
    from harness.errors import BadInput, BakeoffError, Problem
    from harness.models import bare

    path, formats = Path(model).expanduser(), sorted(seen.formats or ())
    if path.exists() and path.suffix not in (".yaml", ".yml") and not bare.is_model(path):
        format_ = name or formats[0]
        if format_ not in formats:
            reason = f"{seen.name} reads {', '.join(formats)}, not {format_}"
            raise BakeoffError(reason, "name one of its formats as --artifact")
        told = {"model": path.stem, "name": path.name, "format": format_}
        return {**told, "path": str(path.resolve())}
    manifest = models.find(model, Path.cwd())
    fitting = [key for key, spec in manifest.artifacts.items() if spec.format in formats]
    if name is not None:
        if manifest.spec(name).format not in formats:
            problem = Problem(f"artifact {name!r} is {manifest.spec(name).format}")
            raise BadInput(model, [problem], f"{seen.name} reads {', '.join(formats)}")
    elif not fitting:
        reason = f"{model} has no artifact in a format that {seen.name} reads: {', '.join(formats)}"
        raise BakeoffError(reason, "name another one with --model")
    prepared = models.prepare(manifest, name or fitting[0])
    return {**asdict(prepared.artifact), "path": str(prepared.artifact.path)}


@dataclass(frozen=True)
class _Conformance:
    """Runs the checks: together in one worker, the dangerous ones each in its own."""

    adapter: Adapter
    seen: Probe
    artifact: dict[str, str]
    limit_s: float
    environment: dict[str, str]
    extra: dict[str, Any]

    def run(self, on_result: OnResult) -> Conformance:
        import platform
        from datetime import UTC, datetime

        from backends.conformance import CHECKS
        from results.conformance import Conformance

        found: list[CheckResult] = []
        together = [check for check in CHECKS if not check.alone]
        batches: list[list[Check]] = [together, *([c] for c in CHECKS if c.alone)]
        python = "unknown"
        while batches:
            batch = batches.pop(0)
            outcome = self._work([check.name for check in batch])
            done = _results(outcome, batch)
            python = str((outcome.first("started") or {}).get("python", python))
            for result in done:
                on_result(result)
            found += done
            if left := batch[len(done) :]:
                batches.insert(0, left)
        return Conformance(
            engine=" ".join([self.seen.name, *(f"{k}={v}" for k, v in self.extra.items())]),
            distribution=self.seen.distribution,
            version=self.seen.version,
            python=python,
            model=self.artifact["model"],
            artifact=self.artifact["name"],
            format=self.artifact["format"],
            platform=f"{platform.system()} {platform.machine()}",
            when=datetime.now(UTC).isoformat(timespec="seconds"),
            checks=tuple(found),
        )

    def _work(self, checks: list[str]) -> Outcome:
        import tempfile

        from harness import supervisor
        from harness.probe import packages

        with tempfile.TemporaryDirectory(prefix="bakeoff-conform-") as folder:
            job: dict[str, Any] = {
                "job": "conform",
                "backend": self.adapter.reference,
                "packages": packages(self.adapter),
                "artifact": self.artifact,
                "options": {"context": CONTEXT, "threads": 1, "extra": self.extra},
                "scratch": folder,
                "limit_s": self.limit_s,
                "checks": checks,
            }
            return supervisor.run(
                job,
                interpreter=self.seen.interpreter,
                environment=self.environment,
                log=Path(folder) / "worker.log",
                limit_s=self.limit_s * len(checks) + GRACE_S,
                watch_memory=False,
            )


def _results(outcome: Outcome, batch: list[Check]) -> list[CheckResult]:
    """What the worker sent, and a failure for the check in which it ended. At least one."""
    from results.conformance import CheckResult

    done = [
        CheckResult(m["check"], m["status"], m["detail"], m["gap"]) for m in outcome.of("result")
    ]
    if len(done) == len(batch):
        return done
    if outcome.timed_out or "Timeout (" in outcome.log_tail:  # faulthandler's word
        how = "no answer in time: it was stopped"
    elif outcome.signal:
        how = f"the process crashed with {outcome.signal}"
    elif outcome.end is not None:
        how = f"the worker gave up: {outcome.end['reason']}"
    else:
        how = outcome.broken or f"the process ended with exit code {outcome.exit_code}"
    return [*done, CheckResult(batch[len(done)].name, "failed", how)]


def _show(found: Conformance) -> None:
    """A table that fits 80 columns, and the verdict."""
    from rich.table import Table

    from harness import console

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("check", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("found", overflow="fold")
    colour = {"passed": "green", "failed": "red", "not_applicable": "dim"}
    for result in found.checks:
        word = f"[{colour[result.status]}]{_WORDS[result.status]}[/]"
        table.add_row(console.plain(result.check), word, console.plain(result.gap or result.detail))
    console.results.print(table)
    passed = sum(result.status == "passed" for result in found.checks)
    verdict = "fails" if found.failed else "conforms"
    console.results.print(
        f"{console.plain(f'{found.engine} {found.version}')} {verdict}: {passed} passed, "
        f"{len(found.failed)} failed, "
        f"{len(found.checks) - passed - len(found.failed)} not applicable",
        soft_wrap=True,
    )
