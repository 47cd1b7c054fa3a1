"""From a run to the gate's outcome. Everything is derived from the records, at any time again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from results import fixed
from results.certificate import Certificate
from results.fixed import Fixed
from results.gate import blocks, conclusion, decision, exact, failures, trueness
from results.gate.conclusion import Held
from results.gate.description import Description, describe
from results.gate.family import Member, members
from results.gate.judged import Judged
from results.gate.outcome import Arm, Outcome, Row, Typical
from results.gate.rules import Rules
from results.records import Budget
from results.statistics import estimate
from results.store import Run

AS_SCENARIO = "as the scenario says"


def of(run: Run) -> Outcome | None:
    """None where the run is no gate. Raises MalformedRecord."""
    gate = describe(run.info)
    if gate is None:
        return None
    found = blocks.find(run, gate)
    used = blocks.only(run, found.used)
    family = members(used, gate, found.used)
    judged = _judged(family, gate, len(found.used), run)
    refused = failures.refused(used, gate)
    true = trueness.judge(run, gate)
    held = Held(
        rows=tuple(_row(m, judged, refused) for m in family if m.known) if found.used else (),
        exact=exact.checks(_fixed_pairs(used, gate), gate.rules.exact),
        answers=true.compared,
        arms=_arms(run, gate),
        blocks=len(found.used),
        set_aside=len(found.aside),
        yellow=gate.rules.yellow,
        ended=not run.missing,
        time_limited=gate.rules.time_limit_s is not None,
    )
    findings = [
        *failures.findings(run, gate),
        *failures.unfair(gate, refused),
        *conclusion.differences(held.exact),
        *true.findings,
        *conclusion.timings(held),
    ]
    if family and not found.used and not findings:
        findings.append(conclusion.untimed(held))
    compared = true.compared + len(held.rows) + sum(one.same is not None for one in held.exact)
    if not compared and not findings:
        findings.append(conclusion.NOTHING if held.ended else conclusion.untimed(held))
    if judged or not run.missing:
        candidates = {c.key for _, c in gate.pairs if c is not None}
        findings += conclusion.budgets(_with_budgets(used, gate), candidates)
    return conclusion.conclude(run, held, findings)


def settled(outcome: Outcome, rules: Rules) -> bool:
    """Whether a gate can stop before its next block: it failed for good, or every metric is clear."""
    if outcome.colour in ("red", "incomparable"):
        return True
    if outcome.blocks not in rules.looks.blocks:
        return False
    judged = [row.judged for row in outcome.rows if row.judged is not None]
    return decision.finished(judged, rules.looks, outcome.blocks)


def _judged(
    family: Sequence[Member], gate: Description, count: int, run: Run
) -> Mapping[str, Judged]:
    """Look by look, as the gate itself saw it: a pass at an earlier look stays one, and a
    regression ends it. Between two looks nothing is judged, unless the gate has ended there."""
    paired = [member.paired for member in family if member.paired is not None]
    looks = gate.rules.looks
    at = [look for look in looks.blocks if look <= count]
    if not run.missing and count not in at:
        at.append(count)
    earlier: dict[str, Judged] = {}
    for n in at if paired else ():
        cut = [replace(p, base=p.base[:n], candidate=p.candidate[:n]) for p in paired]
        judged = decision.judge(
            cut, looks, seed=run.info.seed, earlier=earlier, intervals=n == at[-1]
        )
        earlier = {one.name: one for one in judged}
        if any(one.verdict == "regressed" for one in judged):
            break
    return earlier


def _fixed_pairs(run: Run, gate: Description) -> list[tuple[Fixed, Fixed]]:
    known = fixed.of(run)
    return [
        (known[base.key], known[candidate.key])
        for base, candidate in gate.pairs
        if candidate is not None and base.key in known and candidate.key in known
    ]


def _row(member: Member, judged: Mapping[str, Judged], refused: Mapping[str, Certificate]) -> Row:
    paired = member.paired
    if paired is None:
        why = f"the {member.only} alone has it"
        return Row(member.task, member.metric, None, None, None, why)
    everyone = [estimate(side).value for side in (paired.candidate, paired.base)]
    why = "" if paired.name in judged else "the first look is still to come"
    certificate = refused.get(member.candidate.key)
    if certificate is not None:
        why = f"not the same: {', '.join(item.name for item in certificate.deciding)}"
    return Row(
        member.task,
        member.metric,
        _faster(paired.base, paired.worse),
        _faster(paired.candidate, paired.worse),
        judged.get(paired.name),
        why,
        paired.margin,
        everyone[0] / everyone[1],
        certificate is not None,
    )


def _faster(values: Sequence[float], worse: int) -> Typical:
    """The mean that the statistics compare; an interval has the ratio alone."""
    from results.gate import swaps

    kept = sorted(values, key=lambda v: worse * v)[: swaps.fastest(len(values))]
    return Typical(estimate(kept).value, len(kept))


def _with_budgets(run: Run, gate: Description) -> Run:
    """The policy's budgets over those of the scenario."""
    budgets: dict[str, Budget] = {b.metric: b for b in (*run.info.budgets, *gate.rules.budgets)}
    return replace(run, info=replace(run.info, budgets=tuple(budgets.values())))


def _arms(run: Run, gate: Description) -> tuple[Arm, ...]:
    return tuple(
        Arm(role, gate.overlays.get(role) or AS_SCENARIO, _engines(run, role))
        for role in ("base", "candidate")
    )  # fmt: skip


def _engines(run: Run, role: str) -> dict[str, str]:
    """Versions as the workers themselves reported them, by backend."""
    return {
        record.case.backend: str(record.engine.version)
        for record in run.records
        if record.case.arm == role and record.engine is not None
    }
