"""The view model: what every format shows, decided once.

All text is made visible and bounded here (`untrusted`), all numbers are formatted here
(`numbers`); a format only lays out and escapes. Rows are ordered by name and size, never by
the random order in which trials ran.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from reports import (
    answers,
    comparisons,
    evidence,
    failures,
    fidelity_view,
    numbers,
    objections,
    quality_view,
    raw,
    sampling_view,
    sentences,
    side_by_side,
    template_view,
)
from reports.facts import rows
from reports.names import case_name
from reports.tables import (
    Letters,
    Table,
    assign_letters,
    build_table,
    group_order,
    task_order,
    titles,
)
from reports.untrusted import lines, one_line
from results import fidelity, metrics, quality
from results.records import Engine
from results.store import Run
from results.summary import (
    REFERENCE,
    CaseSummary,
    Group,
    Workload,
    summarise,
    workloads,
)


@dataclass(frozen=True)
class BudgetLine:
    """One limit over all cases it concerns. `missed` and `unknown` name the cases, one text per
    engine and artifact, with the values in the order of the tables."""

    metric: str
    limit: str
    met: int
    missed: tuple[str, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class ArtifactLine:
    name: str
    letter: str
    format: str
    precision: str
    size: str
    sha256: str
    provenance: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Report:
    """`answers_of`: by a table's anchor, what its task says by itself where `headlines` merge
    several; `trials_of`: the trials of its rows. `parted`: by model, as in `fidelity`, the greedy answers that
    leave the reference's."""

    title: str
    description: str
    run: str
    created_at: str
    bakeoff: str
    models: tuple[str, ...]
    trials: str
    complete: bool
    headlines: tuple[answers.Headline, ...]
    tables: tuple[Table, ...]
    answers_of: Mapping[str, tuple[answers.Headline, ...]]
    trials_of: Mapping[str, tuple[raw.CaseTrials, ...]]
    weights: tuple[str, ...]
    comparisons: tuple[comparisons.ComparisonTable, ...]
    audit: evidence.Audit
    memory: tuple[evidence.MemoryRow, ...]
    claims: tuple[evidence.ClaimLine, ...]
    agreeing_claims: int
    conditions: tuple[evidence.ConditionsRow, ...]
    budgets: tuple[BudgetLine, ...]
    failures: tuple[failures.FailureLine, ...]
    host: tuple[tuple[str, str], ...]
    fingerprint: str
    plan: tuple[tuple[str, str], ...]
    engines: tuple[tuple[str, str], ...]
    software: tuple[tuple[str, str], ...]
    artifacts: tuple[ArtifactLine, ...]
    command: str
    scenario: str
    scenario_sha256: str
    seed: int
    definitions: tuple[metrics.Metric, ...]
    caveats: tuple[str, ...]
    templates: template_view.Templates | None = None
    fidelity: fidelity_view.Fidelity | None = None
    parted: tuple[tuple[side_by_side.Item, ...], ...] = ()
    quality: quality_view.Quality | None = None
    samplers: sampling_view.Samplers | None = None

    @property
    def has_tasks(self) -> bool:
        """Whether speed was measured, or nothing else was: then its absence is said."""
        return bool(self.tables) or not (
            self.templates or self.fidelity or self.quality or self.samplers
        )


@lru_cache(maxsize=1)
def build(run: Run) -> Report:
    """Everything a report shows about a run. Kept for the last run: each format asks for it."""
    info = run.info
    summaries = summarise(run)
    tasks = sorted(workloads(summaries), key=task_order)
    names = titles(tasks)
    letters = assign_letters(tasks)
    tables = tuple(
        build_table(n, task, title, letters)
        for n, (task, title) in enumerate(zip(tasks, names, strict=True))
    )
    claims, agreeing = evidence.claim_lines(tables)
    shown = {metric.name for table in tables for metric in table.columns}
    shown |= set(evidence.MEMORY_METRICS)
    judged, questions = fidelity.of(run), quality.groups(run)
    against = objections.build(judged, questions)
    truth = fidelity_view.build(judged)
    # The arms of a gate are judged by the gate alone.
    asked = [
        {} if "gate" in info.plan else answers.ask(task, title, letters)
        for task, title in zip(tasks, names, strict=True)
    ]
    done = sum(s.counts.ok for s in summaries)
    planned = sum(s.counts.planned for s in summaries)
    return Report(
        title=one_line(info.scenario_name, 80),
        description=one_line(info.scenario_description, 500),
        run=one_line(info.id, 80),
        created_at=one_line(info.created_at, 40),
        bakeoff=one_line(info.bakeoff, 40),
        models=tuple(dict.fromkeys(one_line(s.case.model, 80) for s in summaries)),
        trials=f"{done} of {planned} trials ok",
        complete=not run.missing,
        headlines=(*answers.headlines(tasks, asked, against), *_truest(truth, tables)),
        tables=tables,
        answers_of={
            table.anchor: tuple(answers.of_task(found, against))
            for found, table in zip(asked, tables, strict=True)
            if sum(other.measure == table.measure for other in tables) > 1
        },
        trials_of={table.anchor: raw.build(table) for table in tables},
        weights=_legend(tasks, letters),
        comparisons=comparisons.build(tasks, tables),
        audit=evidence.audit(summaries),
        memory=evidence.memory_rows(summaries),
        claims=claims,
        agreeing_claims=agreeing,
        conditions=evidence.condition_rows(tables),
        budgets=_budgets(run, tables),
        failures=tuple(failures.build(tables, summaries)),
        host=tuple(rows(info.host)),
        fingerprint=one_line(info.fingerprint, 80),
        plan=tuple(rows({k: v for k, v in info.plan.items() if k != "gate"})),
        engines=tuple(_engines(summaries)),
        software=tuple(rows({**info.environment, "tokenizer": dict(info.tokenizer)})),
        artifacts=_artifacts(run, letters),
        command=one_line(shlex.join(_as_typed(info.command)), 1000),
        scenario=lines(info.scenario_text, 100_000),
        scenario_sha256=one_line(info.scenario_sha256, 80),
        seed=info.seed,
        definitions=tuple(m for m in metrics.METRICS.values() if tables and m.name in shown),
        caveats=_caveats(run),
        templates=template_view.build(run),
        fidelity=truth,
        parted=side_by_side.build(run, judged),
        quality=quality_view.build(questions),
        samplers=sampling_view.build(run),
    )


def _as_typed(command: Sequence[str]) -> Sequence[str]:
    """With the program's name, which a run keeps only where it was started by another one."""
    return command if command[:1] == ("bakeoff",) else ("bakeoff", *command)


def _truest(
    found: fidelity_view.Fidelity | None, tables: Sequence[Table]
) -> Iterator[answers.Headline]:
    """Who is true to the weights; where nobody looked, that nobody did."""
    if found is not None:
        said = tuple(sentences.Statement("", "", *one) for one in found.sentences)
        yield answers.Headline("Truest", said)
    elif tables:
        text = "whose answers are true to the weights: the run has no measure “fidelity”."
        said = (sentences.Statement("", "", sentences.CAN_T_TELL, text, False),)
        yield answers.Headline("Truest", said)


def _legend(tasks: Sequence[Workload], letters: Letters) -> tuple[str, ...]:
    """Which letter stands for which weights, and which of them are the same numbers."""
    names: dict[tuple[str, str], dict[str, None]] = {}
    groups: dict[tuple[str, str], Group] = {}
    for task in tasks:
        for group in sorted(task.groups, key=group_order):
            key = (task.model, letters[task.model, group.weights, group.precision])
            names.setdefault(key, {}).update(
                dict.fromkeys(sorted(case_name(case.case) for case in group.cases))
            )
            groups.setdefault(key, group)
    several = len({model for model, _ in names}) > 1
    found = []
    for (model, letter), cases in names.items():
        group = groups[model, letter]
        alike = (n for (m, n), g in groups.items() if m == model and g.weights == group.weights)
        first = next(alike)
        what = one_line(group.precision, 40) if group.precision else "unknown weights"
        if group.weights is not None and first != letter:
            what += f", the numbers of {first} stored otherwise"
        where = f"{one_line(model, 80)} " if several else ""
        found.append(f"{where}{letter} = {what}: {', '.join(cases)}")
    return tuple(found)


def _budgets(run: Run, tables: Sequence[Table]) -> tuple[BudgetLine, ...]:
    found = []
    rows = [row for table in tables for row in table.rows]
    for budget in run.info.budgets:
        met = 0
        values: dict[str, dict[str, list[str]]] = {"missed": {}, "unknown": {}}
        for row in rows:
            for verdict in row.summary.budgets:
                if verdict.budget != budget:
                    continue
                if verdict.verdict == "met":
                    met += 1
                else:
                    shown = row.cells.get(budget.metric)
                    by_name = values[verdict.verdict].setdefault(row.name, [])
                    by_name.append(shown.value if shown else numbers.MISSING)
        metric = metrics.METRICS.get(budget.metric)
        missed = (f"{name} ({', '.join(v)})" for name, v in sorted(values["missed"].items()))
        unknown = (
            name if len(v) == 1 else f"{name} ({len(v)} tasks)"
            for name, v in sorted(values["unknown"].items())
        )
        found.append(
            BudgetLine(
                metric=one_line(budget.metric, 60),
                limit=numbers.limit(budget.max, budget.min, metric.unit if metric else ""),
                met=met,
                missed=tuple(missed),
                unknown=tuple(unknown),
            )
        )
    return tuple(found)


def _engines(summaries: Sequence[CaseSummary]) -> Iterator[tuple[str, str]]:
    found: dict[str, dict[str, None]] = {}
    for summary in (s for s in summaries if s.case.backend != REFERENCE):
        for engine in summary.engines or (None,):
            text = "no trial got far enough to say" if engine is None else _engine(engine)
            found.setdefault(one_line(summary.case.backend, 60), {})[text] = None
    for name in sorted(found):
        said = [t for t in found[name] if not t.startswith("no trial")] or list(found[name])
        yield name, " / ".join(said)


def _engine(engine: Engine) -> str:
    parts = [f"version {engine.version or 'unknown'}"]
    parts += [f"{key}: {value}" for key, value in sorted(engine.build.items())]
    if engine.devices:
        parts.append(f"devices: {', '.join(engine.devices)}")
    return one_line("; ".join(parts), 600)


def _artifacts(run: Run, letters: Letters) -> tuple[ArtifactLine, ...]:
    return tuple(
        ArtifactLine(
            name=one_line(f"{facts.model} {facts.artifact}", 120),
            letter=letters.get((facts.model, facts.weights, facts.precision), ""),
            format=one_line(facts.format, 40),
            precision=one_line(facts.precision, 40),
            size=numbers.quantity(facts.bytes, "bytes"),
            sha256=one_line(facts.sha256, 80),
            provenance=tuple(rows(facts.provenance)),
        )
        for facts in sorted(run.info.artifacts, key=lambda f: (f.model, f.artifact))
    )


def _caveats(run: Run) -> tuple[str, ...]:
    found = [one_line(caveat, 300) for caveat in run.caveats]
    if "gate" in run.info.plan:
        found.append("this run is a gate: its verdict is in gate.html, here its arms are described")
    if run.missing:
        found.append(f"{len(run.missing)} planned trials have not run: the run is not complete")
    return tuple(found)
