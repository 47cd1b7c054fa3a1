"""A stored baseline: what is deterministic about a run, and budgets. No timing is in it.

Prompts, token counts and sizes are the same on every machine. Greedy ids are those of one machine
with one build: held against another's they say nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from results import fixed
from results.fixed import Fixed
from results.gate import conclusion, exact, failures
from results.gate.conclusion import Held, conclude
from results.gate.family import task
from results.gate.outcome import Arm, Finding, Outcome
from results.records import Budget
from results.store import Run

SCHEMA = 1
KIND = "bakeoff baseline"

#: Checks that hold on one machine only; budgets do so too.
OF_ONE_MACHINE = frozenset({"greedy", "budgets"})
CHECKS = ("templates", "token_counts", "size", "greedy", "budgets")


@dataclass(frozen=True)
class Baseline:
    """`cases` by `fixed.identity`. `host` and `fingerprint` say where it was made, `engines` which
    versions it was made with, by backend."""

    run: str
    made_at: str
    scenario: str
    fingerprint: str
    host: Mapping[str, Any]
    engines: Mapping[str, str]
    budgets: tuple[Budget, ...]
    cases: Mapping[str, Fixed]


class BadBaseline(ValueError):
    """The file is no baseline that this version reads. The message says why."""


def of(run: Run) -> Baseline:
    """What a run gives. Of a gate's arms, the base."""
    cases = {
        fixed.identity(one.case): one
        for one in fixed.of(run).values()
        if one.case.arm in ("", "base")
    }
    return Baseline(
        run=run.info.id,
        made_at=run.info.created_at,
        scenario=run.info.scenario_name,
        fingerprint=run.info.fingerprint,
        host=run.info.host,
        engines=_engines(run),
        budgets=run.info.budgets,
        cases=cases,
    )


def to_json(baseline: Baseline) -> str:
    """A file to commit: sorted, one value a line."""
    data = {
        "kind": KIND,
        "schema": SCHEMA,
        **{
            name: getattr(baseline, name)
            for name in ("run", "made_at", "scenario", "fingerprint", "host", "engines")
        },
        "budgets": [asdict(budget) for budget in baseline.budgets],
        "cases": [fixed.to_json(one) for one in baseline.cases.values()],
    }
    return json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n"


def from_json(text: str) -> Baseline:
    """Raises BadBaseline."""
    try:
        data = json.loads(text)
        if not isinstance(data, dict) or data.get("kind") != KIND:
            raise BadBaseline("is no baseline, expected a file of `bakeoff baseline save`")
        if data.get("schema") != SCHEMA:
            raise BadBaseline(f"has schema {data.get('schema')!r}, this version reads {SCHEMA}")
        cases = [fixed.from_json(one) for one in data["cases"]]
        return Baseline(
            run=str(data["run"]),
            made_at=str(data["made_at"]),
            scenario=str(data["scenario"]),
            fingerprint=str(data["fingerprint"]),
            host=dict(data["host"]),
            engines={str(k): str(v) for k, v in data["engines"].items()},
            budgets=tuple(Budget(**one) for one in data["budgets"]),
            cases={fixed.identity(one.case): one for one in cases},
        )
    except BadBaseline:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise BadBaseline(f"is damaged: {error}") from error


def check(run: Run, baseline: Baseline, names: Sequence[str] = CHECKS) -> Outcome:
    """A run against the file, as a gate's outcome. Never green where a check that was asked for can't
    be made on this machine."""
    mine = {
        fixed.identity(one.case): one for one in fixed.of(run).values() if one.case.arm != "base"
    }
    pairs = [(one, mine[name]) for name, one in baseline.cases.items() if name in mine]
    elsewhere = run.info.fingerprint != baseline.fingerprint
    held = [n for n in names if not (elsewhere and n in OF_ONE_MACHINE)]
    checks = exact.checks(pairs, held)
    findings = [
        *_missing(baseline, mine),
        *failures.of_run(run),
        *conclusion.differences(checks),
        *(_budgets(run, baseline.budgets) if "budgets" in held else ()),
    ]
    skipped = [n for n in names if n not in held]
    if skipped:
        findings.append(_other_machine(run, baseline, skipped))
    if not any(one.same is True for one in checks) and not findings:
        sentence = "nothing could be checked: the run and the baseline have no case in common"
        findings.append(Finding("incomparable", "incomparable", "", sentence))
    return conclude(run, Held(exact=checks, arms=_arms(run, baseline)), findings)


def _budgets(run: Run, budgets: tuple[Budget, ...]) -> Iterator[Finding]:
    limited = replace(run, info=replace(run.info, budgets=budgets))
    return conclusion.budgets(
        limited, {t.case.key for t in run.info.trials if t.case.arm != "base"}
    )


def _missing(baseline: Baseline, mine: Mapping[str, Fixed]) -> list[Finding]:
    return [
        Finding(
            "missing", "red", task(one.case), f"the run has no result for {task(one.case)}",
            "run the scenario that the baseline was made of; if the case is gone for good, save anew",
        )
        for name, one in baseline.cases.items()
        if name not in mine
    ]  # fmt: skip


def _other_machine(run: Run, baseline: Baseline, skipped: Sequence[str]) -> Finding:
    said = "; ".join(differences(baseline.host, run.info.host)) or "the fingerprints differ"
    return Finding(
        "incomparable", "incomparable", "",
        f"the baseline is another machine's ({said}): {' and '.join(skipped)} can't be held against it",
        "make one here: bakeoff baseline save RUN; or check what is the same on every machine: "
        "--only templates,token_counts,size",
    )  # fmt: skip


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What of two hosts differs, in words."""
    return [
        f"{name} {one.get(name)!r}, here {other.get(name)!r}"
        for name in sorted({*one, *other})
        if one.get(name) != other.get(name)
    ]


def _engines(run: Run) -> dict[str, str]:
    return {r.case.backend: str(r.engine.version) for r in run.records if r.engine is not None}


def _arms(run: Run, baseline: Baseline) -> tuple[Arm, ...]:
    stored = f"the stored baseline of {baseline.run}, {baseline.made_at}"
    return (
        Arm("base", stored, baseline.engines),
        Arm("candidate", f"the run {run.info.id}", _engines(run)),
    )
