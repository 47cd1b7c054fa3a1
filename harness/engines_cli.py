"""`bakeoff engines`: what each engine can do, verified by running it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.environments_cli import (
    doctor_command,
    install_command,
    list_command,
    remove_command,
)

if TYPE_CHECKING:
    from results.conformance import CheckResult, Conformance

app = typer.Typer(
    help="Engines: environments to run them in, and what each can do, verified.",
    no_args_is_help=True,
)
app.command("install")(install_command)
app.command("list")(list_command)
app.command("remove")(remove_command)
app.command("doctor")(doctor_command)


@app.command()
def matrix(
    results: Annotated[
        list[Path], typer.Argument(metavar="RESULT...", help="Files of `bakeoff conform --json`.")
    ],
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of showing.")] = None,
) -> None:
    """A Markdown table of engines and checks, from conformance results."""
    from harness import console
    from harness.errors import BakeoffError
    from results import conformance

    found = []
    for path in results:
        try:
            found.append(conformance.read(path))
        except (OSError, ValueError) as error:
            remedy = "expected a file that `bakeoff conform ENGINE --json FILE` wrote"
            raise BakeoffError(str(error), remedy) from error
    text = table(found)
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")
        console.say(f"wrote {out}")


def table(found: list[Conformance]) -> str:
    """One column per result, one row per check, and a note for each cell that is not a plain yes."""
    heads = [f"{one.engine} {one.version or ''}".strip() for one in found]
    by_check = [{result.check: result for result in one.checks} for one in found]
    names = list(dict.fromkeys(name for results in by_check for name in results))
    notes: dict[str, int] = {}
    rows = [
        [
            f"`{name}`" if name.isidentifier() else _safe(name),
            *(_cell(results.get(name), notes) for results in by_check),
        ]
        for name in names
    ]
    lines = [
        _row(["check", *map(_safe, heads)]),
        _row(["---"] * (len(heads) + 1)),
        *map(_row, rows),
    ]
    lines += ["", "✓ verified by running, – does not apply, ✗ fails; gaps are named as declared."]
    lines += ["", *(f"{number}. {_safe(note)}" for note, number in notes.items())]
    lines += ["", "Measured:", ""]
    lines += [
        _safe(
            f"- {one.engine} {one.version} ({one.distribution}) on {one.model} {one.artifact}, "
            f"Python {one.python}, {one.platform}, {one.when}"
        )
        for one in found
    ]
    return "\n".join(lines) + "\n"


def _cell(result: CheckResult | None, notes: dict[str, int]) -> str:
    if result is None:
        return "not run"
    if result.status == "passed":
        return "✓"
    word = "✗" if result.status == "failed" else "–"
    if result.gap is not None:
        word = result.gap.partition(":")[0]
    note = result.gap or result.detail
    number = notes.setdefault(note, len(notes) + 1)
    return f"{_safe(word)} ({number})"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _safe(text: str) -> str:
    """Engines write details: nothing in them may end a cell, a line, or be markup."""
    kept = "".join(c if c.isprintable() else "�" for c in text)
    for mark in "\\`*_<>[]|":
        kept = kept.replace(mark, "\\" + mark)
    return kept
