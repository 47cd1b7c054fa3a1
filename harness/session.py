"""Run a plan: prepare what it needs, then every trial in a process of its own, in the drawn order.

A run can be killed at any moment and resumed: a trial counts only once its record is on disk.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from harness import (
    __version__,
    disturbance,
    environment,
    host,
    jobs,
    page_cache,
    plan,
    preparation,
    registry,
    scenario,
    supervisor,
)
from harness import trial as outcomes
from harness.errors import BadInput, Problem, RunFolderBusy
from harness.plan import Obstacle, Overrides, Plan, PlannedCase
from harness.preparation import Assets, OnProgress
from harness.scenario import LoadedScenario
from harness.yaml_source import parse
from results import store
from results.gate.description import Description, to_json
from results.records import Budget, Record, RunInfo, Trial
from results.store import Run, Store

MAX_ATTEMPTS = 2


class Progress(Protocol):
    """What a session tells while it runs trials."""

    def started(self, trial: Trial, done: int, total: int) -> None: ...
    def finished(self, record: Record) -> None: ...


class Watch(Protocol):
    """Says after a trial whether the run has seen enough."""

    def enough(self, info: RunInfo, records: Sequence[Record], after: Trial) -> bool: ...


def create(
    planned: Plan, folder: Path, command: tuple[str, ...], on_progress: OnProgress
) -> tuple[Plan, Assets]:
    """Prepare artifacts and prompts, then write the run folder. Nothing is written before that."""
    planned, assets = preparation.prepare(planned, on_progress)
    built, names, tokenizer = preparation.encode_prompts(planned, assets, on_progress)
    more, item_names, makers = preparation.encode_items(planned, assets, on_progress)
    built = list({prompt.digest: prompt for prompt in (*built, *more)}.values())
    for model, sets in item_names.items():
        names.setdefault(model, {}).update(sets)
    facts = host.describe()
    info = RunInfo(
        id=folder.name,
        bakeoff=__version__,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        scenario_name=planned.scenario.name,
        scenario_description=planned.scenario.description,
        scenario_text=planned.loaded.document.text,
        scenario_sha256=planned.loaded.sha256,
        seed=planned.scenario.plan.seed,
        plan={
            **planned.scenario.plan.model_dump(),
            "threads": planned.threads,
            "context": planned.context,
            "overrides": asdict(planned.overrides),
            "scenario_path": str(planned.loaded.path.resolve()),
            "prompts": names,
            **_gate(planned),
        },
        trials=planned.trials,
        artifacts=tuple(prepared.facts for prepared in assets.values()),
        budgets=tuple(
            Budget(metric, limit.max, limit.min)
            for metric, limit in planned.scenario.budgets.items()
        ),
        host=facts,
        fingerprint=host.fingerprint(facts),
        tokenizer={**tokenizer, **makers},
        environment=environment.fixed(planned.threads),
        engines={key: probe.facts() for key, probe in planned.probes.items()},
        conversations=planned.material.conversations,
        items={measure: list(chosen) for measure, chosen in planned.material.items.items()},
    )
    Store.create(folder, info, built)
    return planned, assets


Replan = Callable[[LoadedScenario, RunInfo], Plan]


def as_planned(loaded: LoadedScenario, info: RunInfo) -> Plan:
    said = info.plan["overrides"]
    return plan.make(
        loaded, Overrides(tuple(said["backends"]), tuple(said["models"]), said["trials"])
    )


def replan(run: Run, on_progress: OnProgress, again: Replan = as_planned) -> tuple[Plan, Assets]:
    """The plan of an existing run, made again. Refuses when what it would run has changed."""
    path = Path(str(run.info.plan["scenario_path"]))
    loaded = scenario.check(parse(run.info.scenario_text, path), lambda: list(registry.adapters()))
    planned, assets = preparation.prepare(again(loaded, run.info), on_progress)
    changes = list(_changes(run.info, planned, assets))
    if changes:
        raise BadInput(
            run.path,
            [Problem(f"cannot be resumed, {change}") for change in changes],
            "start a new run: numbers from before and after would not be comparable",
        )
    return planned, assets


def execute(
    folder: Path, planned: Plan, assets: Assets, progress: Progress, watch: Watch | None = None
) -> bool:
    """Run every trial that has no record yet. False: the run's time limit came first.

    Where `watch` has seen enough, the trials that are left are no longer planned. KeyboardInterrupt
    goes through and leaves a run that can be resumed.
    """
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunFolderBusy(
            f"another bakeoff is writing {folder}", "wait for it, or stop it"
        ) from None
    with lock:
        writer = Store(folder)
        writer.repair()
        run = store.read(folder)
        cases = {c.case.key: c for c in planned.cases}
        attempts = writer.attempts()
        missing = set(run.missing)
        known = {prompt.digest: prompt for prompt in run.prompts}
        limit = planned.scenario.plan.run_time_limit_s
        records = list(run.records)
        began = time.monotonic()
        done = len(run.info.trials) - len(missing)
        for trial in run.info.trials:
            if trial.id not in missing:
                continue
            if limit is not None and time.monotonic() - began > limit:
                return False
            case = cases[trial.case.key]
            progress.started(trial, done, len(run.info.trials))
            before = attempts.get(trial.id, 0)
            if case.obstacle is not None:
                record = _without_worker(trial, case.obstacle, before)
            elif before >= MAX_ATTEMPTS:
                reason = (
                    f"bakeoff itself was killed {before} times during this trial; not tried again"
                )
                record = _without_worker(trial, Obstacle("crashed", reason, "see logs/"), before)
            else:
                record = _run(
                    writer,
                    trial,
                    before,
                    case,
                    planned,
                    assets,
                    jobs.work(run, trial, known, records),
                )
            writer.append(record)
            records.append(record)
            done += 1
            progress.finished(record)
            if watch is not None and watch.enough(run.info, records, trial):
                writer.strike({record.trial for record in records})
                break
        shutil.rmtree(folder / "logits", ignore_errors=True)  # large, and every trial has read them
    return True


def _run(
    writer: Store,
    trial: Trial,
    before: int,
    case: PlannedCase,
    planned: Plan,
    assets: Assets,
    work: Mapping[str, Any],
) -> Record:
    writer.start(trial.id, before)
    log, outputs = writer.log(trial.id), writer.outputs(trial.id)
    log.unlink(missing_ok=True)
    path = assets[trial.case.model, trial.case.artifact].artifact.path
    asked = trial.case.parameters.get("page_cache")
    surroundings = _page_cache(path, asked)
    started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    with outputs.open("w", encoding="utf-8") as texts:

        def keep(message: supervisor.Message) -> None:
            if message["kind"] == "sample":
                texts.write(_output(message) + "\n")
                texts.flush()

        before_trial = disturbance.read()
        try:
            outcome = supervisor.run(
                jobs.job(trial, case, planned, assets, work),
                interpreter=case.settings.python or sys.executable,
                environment=environment.for_worker(planned.threads, trial.case.settings["options"]),
                log=log,
                limit_s=planned.scenario.plan.trial_time_limit_s,
                on_message=keep,
            )
        except KeyboardInterrupt:
            writer.give_up(trial.id)
            raise
    surroundings["disturbance"] = disturbance.between(before_trial, disturbance.read())
    if asked is not None:
        surroundings["page_cache"]["resident_after"] = page_cache.resident(path)
    return outcomes.record(trial, before, started_at, outcome, surroundings)


def _output(message: supervisor.Message) -> str:
    """What the engine wrote, as a line of `outputs/`; a worker may have sent anything."""
    sample = message.get("sample")
    index = sample.get("index") if isinstance(sample, dict) else None
    return json.dumps({"sample": index, "text": message.get("text")})


def _page_cache(path: Path, asked: str | None) -> dict[str, Any]:
    """Bring the artifact's pages into the state that the case asks for, and say how far it got."""
    if asked is None:
        return {}
    if asked == "cold":
        page_cache.drop(path)
    else:
        page_cache.fill(path)
    return {"page_cache": {"asked": asked, "resident_before": page_cache.resident(path)}}


def _without_worker(trial: Trial, obstacle: Obstacle, attempt: int) -> Record:
    return Record(
        trial=trial.id,
        case=trial.case,
        repetition=trial.repetition,
        attempt=attempt,
        status=obstacle.status,
        started_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        wall_s=0.0,
        reason=obstacle.reason,
        remedy=obstacle.remedy,
    )


def _gate(planned: Plan) -> dict[str, Any]:
    if planned.pairing is None:
        return {}
    overlays = dict(zip(("base", "candidate"), planned.pairing.overlays, strict=True))
    gate = Description(planned.pairing.pairs, planned.pairing.rules, overlays)
    return {"gate": to_json(gate)}


def _changes(info: RunInfo, planned: Plan, assets: Assets) -> list[str]:
    changes: list[str] = []
    # A gate that has ended early has struck the trials that it no longer needs.
    if not {t.id for t in info.trials} <= {t.id for t in planned.trials} or (
        not info.plan.get("gate") and len(info.trials) != len(planned.trials)
    ):
        changes.append("the scenario, its models or the installed engines give other trials now")
    for key, probe in planned.probes.items():
        before = info.engines.get(key, {})
        if before.get("version") != probe.version:
            changes.append(f"{key} was {before.get('version')} and is {probe.version} now")
    digests = {(f.model, f.artifact): f.sha256 for f in info.artifacts}
    for (model, artifact), prepared in assets.items():
        if digests.get((model, artifact)) not in (None, prepared.facts.sha256):
            changes.append(f"the artifact {artifact} of {model} has changed")
    now = host.fingerprint(host.describe())
    if now != info.fingerprint:
        changes.append(f"it was made on another machine ({info.fingerprint}, this is {now})")
    return changes
