"""What is deterministic about a case: prompts as rendered, token counts, greedy ids, the artifact.

It can be stored (`baseline`) and held against another session's, which no timing can.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import msgspec

from results.encoding import MalformedRecord
from results.metrics import counted
from results.records import ArtifactFacts, Case, Record, Rendering
from results.store import Run
from results.summary import TEMPLATES
from results.templates import matrix


@dataclass(frozen=True)
class Fixed:
    """One case. `counts` are prompt and output tokens, `outputs` greedy ids, by digest of the prompt.

    `repeats` says whether the case's own trials gave the same ids, None where that can't be told; only
    where it is True are there `outputs`, else `why` says why not. `as_own` are the conversations that
    were rendered as the model's own template does.
    """

    case: Case
    artifact: ArtifactFacts | None = None
    renderings: Mapping[str, Rendering] = field(default_factory=dict)
    as_own: frozenset[str] = frozenset()
    counts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    outputs: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    repeats: bool | None = None
    why: str = ""


def of(run: Run) -> dict[str, Fixed]:
    """By key of the case; only cases that left something deterministic."""
    records: dict[str, list[Record]] = {}
    for record in run.records:
        if record.status == "ok" and record.case.measure in ("generate", TEMPLATES):
            records.setdefault(record.case.key, []).append(record)
    facts = {(f.model, f.artifact): f for f in run.info.artifacts}
    own = {
        arm.case.key: frozenset(
            cell.conversation.name for cell in arm.cells if cell.ids_equal and cell.text_equal
        )
        for model in matrix(run)
        for arm in model.arms
    }
    found = {}
    for key, several in records.items():
        case = several[0].case
        artifact = facts.get((case.model, case.artifact))
        fixed = Fixed(case, artifact, as_own=own.get(key, frozenset()))
        if case.measure == TEMPLATES:
            fixed = replace(fixed, renderings={r.conversation: r for r in several[0].renderings})
        else:
            fixed = replace(fixed, counts=_counts(several), **_outputs(case, several))
        found[key] = fixed
    return found


def _counts(records: Sequence[Record]) -> dict[str, tuple[int, int]]:
    """Trials of one case agree: where the length is not the forced one the trial has failed."""
    from results import samples

    found: dict[str, tuple[int, int]] = {}
    for record in records:
        c = samples.of(record)
        for prompt, warmup, sent, received in zip(
            c.prompt, c.warmup.tolist(), c.prompt_tokens.tolist(), c.tokens.tolist(), strict=True
        ):
            if not warmup:
                found.setdefault(prompt, (sent, received))
    return found


def _outputs(case: Case, records: Sequence[Record]) -> dict[str, Any]:
    sampling = case.parameters.get("sampling")
    if isinstance(sampling, Mapping) and sampling.get("temperature", 0) != 0:
        return {"why": "the task draws tokens at random"}
    if len(records) < 2:
        return {"why": "a single trial does not show that it repeats"}
    first = _ids(records[0])
    if any(_ids(record) != first for record in records[1:]):
        return {"repeats": False, "why": "its own trials do not repeat bit for bit"}
    return {"repeats": True, "outputs": {s.prompt: s.token_ids for s in counted(records[0])}}


def _ids(record: Record) -> dict[str, bytes]:
    """By digest of the prompt, as bytes: a run may hold a million requests."""
    from results import samples

    c = samples.of(record)
    ends = c.ends.tolist()
    return {
        prompt: c.token_ids[begin:end].tobytes()
        for prompt, warmup, begin, end in zip(
            c.prompt, c.warmup.tolist(), [0, *ends], ends, strict=False
        )
        if not warmup
    }


def to_json(fixed: Fixed) -> dict[str, Any]:
    """Plain data for a file."""
    return {**asdict(fixed), "as_own": sorted(fixed.as_own)}


def from_json(data: object) -> Fixed:
    """Raises MalformedRecord."""
    try:
        return msgspec.convert(data, Fixed)
    except msgspec.ValidationError as error:
        raise MalformedRecord(f"not a case of a baseline: {error}") from error


def identity(case: Case) -> str:
    """The same for the same task and arm in every run, whatever its role in a gate."""
    return json.dumps(asdict(replace(case, arm="")), sort_keys=True)
