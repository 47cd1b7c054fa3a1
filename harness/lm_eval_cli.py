"""`bakeoff lm-eval`: lm-eval's tasks on an engine, in a process of their own, without network."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.errors import BakeoffError

TIMEOUT_S = 6 * 3600.0
_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def lm_eval_command(
    backend: Annotated[str, typer.Option("--backend", "-b", help="The engine's adapter.")],
    model: Annotated[str, typer.Option("--model", "-m", help="A model's id or manifest.")],
    artifact: Annotated[str, typer.Option("--artifact", "-a", help="One of its artifacts.")],
    tasks_dir: Annotated[
        Path, typer.Option("--tasks-dir", help="Folder with lm-eval's YAML files and their data.")
    ],
    tasks: Annotated[list[str], typer.Option("--tasks", "-t", help="A task; repeatable.")],
    context: Annotated[int, typer.Option(min=8, help="Context in tokens.")] = 1024,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the engine.")] = 1,
    limit: Annotated[int | None, typer.Option(min=1, help="Items per task.")] = None,
    prefix: Annotated[
        int | None, typer.Option(min=0, help="Token id that stands for an empty context (BOS).")
    ] = None,
    python: Annotated[
        str, typer.Option("--python", help="The interpreter that has lm-eval.")
    ] = sys.executable,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write results and samples here.")
    ] = None,
) -> None:
    """Run lm-eval tasks from local files on an engine."""
    from harness import models, registry
    from reports.untrusted import one_line

    adapters = registry.adapters()
    if backend not in adapters:
        raise BakeoffError(f"no adapter {backend!r}", f"known: {', '.join(adapters)}")
    prepared = models.prepare(models.find(model, Path.cwd()), artifact).artifact
    found = run(
        {
            "reference": adapters[backend].reference,
            "artifact": {
                "model": prepared.model,
                "name": prepared.name,
                "format": prepared.format,
                "path": str(prepared.path),
            },
            "context": context,
            "threads": threads,
            "tasks": tasks,
            "limit": limit,
            "prefix": prefix,
        },
        tasks_dir,
        python=python,
        folders=[folder for folder in [adapters[backend].folder()] if folder],
    )
    if out is not None:
        out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for task, metrics in found["results"].items():
        for name, value in metrics.items():
            if isinstance(value, float) and "stderr" not in name:
                typer.echo(one_line(f"{task}  {name.partition(',')[0]}  {value:.4f}"))


def run(
    job: Mapping[str, Any],
    tasks_dir: Path,
    *,
    python: str = sys.executable,
    folders: Sequence[Path] = (),
) -> dict[str, Any]:
    """`harness.lm_eval.evaluate` in a child process. Raises BakeoffError with the end of its log."""
    from harness.models import child

    folder = tasks_dir.resolve()
    if not folder.is_dir():
        raise BakeoffError(f"{tasks_dir}: no such folder")
    ours = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory(prefix="bakeoff-lm-eval-") as name:
        scratch = Path(name)
        asked, answer, log = (scratch / part for part in ("job.json", "answer.json", "log"))
        asked.write_text(json.dumps({**job, "tasks_dir": str(folder)}), encoding="utf-8")
        path = os.pathsep.join(dict.fromkeys(map(str, (ours, *folders))))
        threads = str(job.get("threads", 1))
        extra = {
            **_OFFLINE,
            "PYTHONPATH": path,
            "HF_HOME": name,
            "OMP_NUM_THREADS": threads,
            "TQDM_DISABLE": "1",
        }
        # -P: a file in the folder of tasks must not stand for a library.
        command = [python, "-P", "-m", "harness.lm_eval", str(asked), str(answer)]
        with log.open("wb") as stream:
            try:
                code = child.run(
                    command,
                    environment=child.environment(scratch, extra=extra),
                    timeout_s=TIMEOUT_S,
                    stdout=stream,
                    stderr=stream,
                    cwd=folder,
                )
            except (child.TimedOut, OSError) as error:
                raise BakeoffError(f"lm-eval: {error}") from error
        said = log.read_text(encoding="utf-8", errors="replace")[-2000:]
        if code != 0 or not answer.is_file():
            missing = "No module named 'lm_eval'" in said
            raise BakeoffError(
                f"lm-eval ended with {child.describe_exit(code)}:\n{said}",
                "pip install 'bakeoff[lm-eval]'" if missing else None,
            )
        found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return found
