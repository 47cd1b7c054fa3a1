"""`bakeoff templates`: whether engines write the prompt that a model expects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from results.store import Run

EXIT_DIFFERENT = 1

app = typer.Typer(
    help="Check chat templates: what each engine makes of a conversation.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.callback()
def _templates() -> None:
    """Keeps `check` a command of its own name."""


@app.command()
def check(
    model: Annotated[
        str, typer.Argument(help="A GGUF file, an HF or ONNX folder, a manifest, or a model's id.")
    ],
    backend: Annotated[
        list[str] | None, typer.Option("--backend", "-b", help="This engine only; repeatable.")
    ] = None,
    conversations: Annotated[
        str, typer.Option(help="A shipped set of conversations, or a YAML file.")
    ] = "standard",
    harm: Annotated[
        bool, typer.Option(help="Also score a good answer after each wrong prompt.")
    ] = True,
    out: Annotated[
        Path | None, typer.Option(help="The run folder; default: runs/<time>-templates.")
    ] = None,
) -> None:
    """Render all conversations with every installed engine that can load MODEL.

    Exit code 1 when an engine writes another prompt than the model's own template.
    """
    from harness import plan, registry, running, scenario
    from harness.yaml_source import parse

    text = _scenario(model, tuple(backend or ()), conversations, harm)
    # Paths in it are absolute or shipped: the place of this text says nothing.
    loaded = scenario.check(
        parse(text, Path("templates.yaml").resolve()), lambda: list(registry.adapters())
    )
    done = running.start(plan.make(loaded, plan.Overrides()), out)
    if _different(done.run):
        raise typer.Exit(EXIT_DIFFERENT)


def _scenario(model: str, backends: tuple[str, ...], conversations: str, harm: bool) -> str:
    """The scenario that `check` stands for, with the engines that can read one of the artifacts."""
    import yaml

    from harness import models, registry
    from harness.chat import conversations as conversation_sets
    from harness.errors import BadInput, Problem
    from harness.probe import probe
    from harness.yaml_source import suggestion

    known = registry.adapters()
    for name in backends:
        if name not in known:
            problem = Problem(f"unknown backend {name!r}" + suggestion(name, known))
            raise BadInput("--backend", [problem])
    manifest = models.find(model, Path.cwd())
    conversation_sets.find(conversations, Path.cwd())  # told before engines are asked: that is slow
    formats = {spec.format for spec in manifest.artifacts.values()}
    asked = [probe(adapter) for name, adapter in known.items() if not backends or name in backends]
    able = [
        p.name
        for p in asked
        if p.formats is not None
        and formats & set(p.formats)
        and (backends or (p.available and "renders_chat" in p.abilities))
    ]
    if not able:
        tried = ", ".join(f"{p.name} reads {', '.join(p.formats or ())}" for p in asked)
        raise BadInput(
            model,
            [Problem(f"is {' and '.join(sorted(formats))}; no installed engine can check it")],
            f"{tried}; see: bakeoff backends",
        )
    if not conversations.endswith((".yaml", ".yml")):
        path = conversations
    else:
        path = str(Path(conversations).expanduser().absolute())
    resolved = model if manifest.id == model else str(Path(model).expanduser().absolute())
    scenario: dict[str, Any] = {
        "name": "templates",
        "description": f"Chat-template check of {manifest.id}",
        "models": [resolved],
        "backends": [{name: {}} for name in able],
        "measures": [{"templates": {"conversations": path, "harm": harm}}],
        "plan": {"trials": 1},
    }
    return str(yaml.safe_dump(scenario, sort_keys=False))


def _different(run: Run) -> bool:
    """Whether an engine's prompt differs in more than its spelling, or could not be judged."""
    from results import templates

    if any(record.status != "ok" for record in run.records if record.case.measure == "templates"):
        return True
    cells = (cell for model in templates.matrix(run) for arm in model.arms for cell in arm.cells)
    return any(
        finding.severity in ("minor", "bad") or finding.verdict == "no reference"
        for cell in cells
        for finding in cell.findings
    )
