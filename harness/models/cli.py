"""`bakeoff models`: what there is, get it ready, prove that it is unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from harness.models.gguf_facts import GgufFacts
    from harness.models.manifest import ArtifactSpec, Manifest
    from harness.models.sources import OnProgress

app = typer.Typer(help="Models: list, show, prepare, verify.", no_args_is_help=True)

Model = Annotated[
    str, typer.Argument(metavar="ID", help="A model's id, or the path of a manifest.")
]
Artifacts = Annotated[
    list[str] | None, typer.Argument(metavar="[ARTIFACT]...", help="Only these (default: all).")
]
_TEMPLATE_LINES = 12


@app.command("list")
def list_models() -> None:
    """List the models with a manifest here or in bakeoff's own scenarios."""
    from rich.table import Table

    from harness import models
    from harness.errors import BadInput

    console = _console()
    table = Table("model", "name", "license", "context", "prepared", box=None, pad_edge=False)
    broken: BadInput | None = None
    for model_id in sorted(models.known(Path.cwd())):
        try:
            manifest = models.find(model_id, Path.cwd())
        except BadInput as error:
            broken = error
            continue
        ready = sum(models.is_prepared(manifest, name) for name in manifest.artifacts)
        table.add_row(
            _plain(manifest.id),
            _plain(manifest.name),
            _plain(manifest.license),
            f"{manifest.context_length:,}",
            f"{ready} of {len(manifest.artifacts)}",
        )
    console.print(table)
    if broken is not None:
        raise broken


@app.command()
def show(model: Model) -> None:
    """Show a model's artifacts, and what its GGUF says about itself."""
    from rich.table import Table

    from harness import models
    from harness.errors import BadInput
    from harness.models import gguf_facts

    console = _console()
    manifest = models.find(model, Path.cwd())
    size = f", {manifest.parameters:,} weights" if manifest.parameters else ""
    console.print(_plain(f"{manifest.name} ({manifest.id})"), style="bold")
    console.print(
        _plain(f"{manifest.license}, context {manifest.context_length:,} tokens{size}"),
        _plain(f"manifest: {manifest.file}"),
        sep="\n",
    )
    console.print()
    table = Table("artifact", "format", "precision", "size", "origin", box=None, pad_edge=False)
    described: list[tuple[str, GgufFacts]] = []
    notes = []
    for name, spec in manifest.artifacts.items():
        written = "not prepared"
        if models.is_prepared(manifest, name):
            prepared = models.prepare(manifest, name)
            written = _bytes(prepared.facts.bytes)
            if spec.format == "gguf":
                try:
                    described.append((name, gguf_facts.read(prepared.artifact.path)))
                except BadInput as error:
                    notes.append(str(error))
        table.add_row(*map(_plain, (name, spec.format, spec.precision, written, _origin(spec))))
    console.print(table)
    shown: dict[str, str] = {}
    for name, facts in described:
        _print_facts(console, name, facts)
        template = facts.chat_template or ""
        if template in shown:
            console.print(_plain(f"  the same as in {shown[template]}"), style="dim")
        elif template:
            shown[template] = name
            _print_template(console, template)
    for note in notes:
        console.print(_plain(note), style="red")
    if not described:
        console.print()
        console.print(_plain(f"for more, get it ready: bakeoff models prepare {manifest.id}"))


@app.command()
def prepare(model: Model, artifacts: Artifacts = None) -> None:
    """Download and convert what is missing; what is there and unchanged is kept."""
    from harness import models

    console = _console()
    manifest = models.find(model, Path.cwd())
    names = _names(manifest, artifacts)
    for name in names:
        there = models.is_prepared(manifest, name)
        with _progress(console) as on_progress:
            prepared = models.prepare(manifest, name, on_progress)
        what = "ready (was there)" if there else "ready"
        console.print(_plain(f"{name:<16} {what}, {_bytes(prepared.facts.bytes)}"))
        console.print(_plain(f"  {prepared.artifact.path}"), style="dim", soft_wrap=True)


@app.command()
def verify(model: Model, artifacts: Artifacts = None) -> None:
    """Hash the artifacts again and compare with their provenance (default: all prepared ones)."""
    from harness import models
    from harness.errors import PrepareFailed

    console = _console()
    manifest = models.find(model, Path.cwd())
    failures = []
    for name in _names(manifest, artifacts):
        if not artifacts and not models.is_recorded(manifest, name):
            console.print(_plain(f"{name:<16} not prepared"), style="dim")
            continue
        try:
            with _progress(console) as on_progress:
                prepared = models.verify(manifest, name, on_progress)
            console.print(_plain(f"{name:<16} unchanged, sha256 {prepared.facts.sha256[:16]}…"))
        except PrepareFailed as error:
            failures.append(error)
            console.print(_plain(f"{name:<16} FAILED"), style="red")
    if failures:
        more = f"\nand {len(failures) - 1} more" if len(failures) > 1 else ""
        raise PrepareFailed(failures[0].reason + more, failures[0].remedy)


def _names(manifest: Manifest, chosen: list[str] | None) -> list[str]:
    names = list(dict.fromkeys(chosen or manifest.artifacts))
    for name in names:
        manifest.spec(name)  # refuses all before any work
    return names


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False)


@contextmanager
def _progress(console: Console) -> Iterator[OnProgress]:
    """A bar where the fraction is known, a spinner and the elapsed time elsewhere."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.table import Column

    columns = (
        SpinnerColumn(),
        TextColumn(
            "{task.description}",
            table_column=Column(no_wrap=True, overflow="ellipsis", max_width=44),
        ),
        BarColumn(bar_width=18),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bars:
        task = bars.add_task("", total=None)
        said = ""

        def on_progress(what: str, fraction: float | None) -> None:
            nonlocal said
            # A log file gets one line per step instead of a bar.
            if not console.is_terminal and what != said:
                console.print(_plain(what), soft_wrap=True)
            said = what
            total = None if fraction is None else 1.0
            bars.update(
                task,
                description=_plain(what),
                total=total,
                completed=fraction or 0,
            )

        yield on_progress


def _print_facts(console: Console, name: str, facts: GgufFacts) -> None:
    from rich.table import Table

    census = ", ".join(f"{n} x {kind}" for kind, n in facts.census.items())
    template = facts.chat_template
    rows = {
        "architecture": facts.architecture,
        "name in the file": facts.name,
        "context length": None
        if facts.context_length is None
        else f"{facts.context_length:,} tokens",
        "quantisation": f"{facts.quantisation or 'not said'} ({census})",
        "size": f"{_bytes(facts.bytes)}, {facts.parameters:,} weights in {facts.tensors:,} tensors",
        "tokenizer": f"{facts.tokenizer_model} / {facts.tokenizer_pre}, {facts.vocabulary or 0:,} tokens",
        "BOS, EOS": f"{facts.bos_id}, {facts.eos_id}",
        "chat template": f"{len(template):,} characters:" if template else "none",
    }
    table = Table(box=None, show_header=False, pad_edge=False)
    for key, value in rows.items():
        table.add_row(key, _plain("not said" if value is None else value))
    console.print()
    console.print(_plain(name), style="bold")
    console.print(table)


def _print_template(console: Console, template: str) -> None:
    lines = template.replace("%}{%", "%}\n{%").splitlines()
    for line in lines[:_TEMPLATE_LINES]:
        console.print(_plain("  " + line[:500]), style="dim")
    if len(lines) > _TEMPLATE_LINES:
        console.print(f"  … {len(lines) - _TEMPLATE_LINES} more lines", style="dim")


def _origin(spec: ArtifactSpec) -> str:
    if spec.from_ is not None:
        return f"{spec.from_}, {spec.with_}"
    source = spec.source.model_dump(exclude_none=True) if spec.source else {}
    kind = next(iter(source), "")
    return f"{kind} {source.get(kind)} {source.get('version') or source.get('revision') or ''}".rstrip()


def _plain(text: str) -> str:
    """Names and templates are of files that others wrote: no markup, no escape sequence."""
    from rich.markup import escape

    from reports.untrusted import lines

    return escape(lines(text))


def _bytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
