"""`bakeoff history`: how numbers went over many runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def history_command(
    places: Annotated[list[Path], typer.Argument(help="Run folders, or folders of runs.")],
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", help="Show this metric only; repeatable."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write history.html and history.csv into this folder.")
    ] = None,
) -> None:
    """Show trends over runs: one value per run, where the level changed, what surprises.

    Advice only, never a verdict.
    """
    from harness import console
    from harness.errors import BakeoffError
    from reports import history_terminal, history_view
    from results import history
    from results.metrics import METRICS
    from results.store import StoreError

    if unknown := [name for name in metric or () if name not in METRICS]:
        raise BakeoffError(f"unknown metric {unknown[0]!r}", f"metrics: {', '.join(METRICS)}")
    try:
        found = history.collect(places, metric or ())
    except StoreError as error:
        raise BakeoffError(str(error), "name folders that bakeoff run made") from error
    shown = history_view.build(found)
    history_terminal.show(shown, console.results)
    if out is not None:
        from reports import history_csv, history_html

        out.mkdir(parents=True, exist_ok=True)
        pages = {
            "history.html": history_html.render(shown),
            "history.csv": history_csv.render(found),
        }
        for name, text in pages.items():
            (out / name).write_bytes(text.encode("utf-8"))
            console.say(f"wrote {out / name}")
