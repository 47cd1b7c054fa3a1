"""From an outcome to a record: every way a worker can end gets a status and a reason."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, get_args

from harness.memory import point, with_own
from harness.supervisor import Message, Outcome
from results.encoding import MalformedRecord
from results.records import (
    Check,
    Engine,
    Record,
    Rendering,
    RenderingStatus,
    Sample,
    Score,
    Span,
    Status,
    Trial,
)


def record(
    trial: Trial,
    attempt: int,
    started_at: str,
    outcome: Outcome,
    surroundings: Mapping[str, Any] | None = None,
) -> Record:
    """The record of one trial. A message that has the wrong shape makes the trial failed.

    `surroundings` are the conditions that the parent saw, beside those the worker tells.
    """
    status, reason, remedy = _verdict(outcome)
    spans: list[Span] = []
    samples: list[Sample] = []
    engine: Engine | None = None
    conditions: dict[str, Any] = {}
    checks: list[Check] = []
    renderings: list[Rendering] = []
    scores: list[Score] = []
    observations: list[dict[str, Any]] = []
    memory = outcome.memory
    try:
        spans = _spans(outcome)
        samples = [_sample(message["sample"]) for message in outcome.of("sample")]
        engine = _engine(next(reversed([*outcome.of("engine")]), None))
        started = outcome.first("started")
        conditions = {"python": started["python"]} if started else {}
        for message in outcome.of("conditions"):
            conditions |= message["conditions"]
        conditions |= surroundings or {}
        checks = [_check(message) for message in outcome.of("check")]
        renderings = [_rendering(message["rendering"]) for message in outcome.of("rendering")]
        scores = [_score(message["score"]) for message in outcome.of("score")]
        observations = [_plain(message["data"]) for message in outcome.of("observation")]
        if memory is not None:
            own = [point(int(m["at_ns"]), m["reading"]) for m in outcome.of("memory")]
            memory = with_own(memory, own, conditions.get("peak_rss"))
    except (AttributeError, KeyError, TypeError, ValueError, MalformedRecord) as error:
        status, reason, remedy = "failed", f"the worker sent a malformed message: {error!r}", None
    return Record(
        trial=trial.id,
        case=trial.case,
        repetition=trial.repetition,
        attempt=attempt,
        status=status,
        started_at=started_at,
        wall_s=outcome.wall_s,
        reason=reason,
        remedy=remedy,
        exit_code=outcome.exit_code,
        signal=outcome.signal,
        log_tail="" if status in ("ok", "unsupported") else outcome.log_tail,
        engine=engine,
        spans=tuple(spans),
        samples=tuple(samples),
        memory=memory,
        conditions=conditions,
        checks=tuple(checks),
        renderings=tuple(renderings),
        scores=tuple(scores),
        observations=tuple(observations),
    )


def _verdict(outcome: Outcome) -> tuple[Status, str | None, str | None]:
    end = outcome.end
    if outcome.broken:
        return "failed", outcome.broken, None
    if outcome.timed_out:
        what = "did its work but did not exit" if end else f"was {_doing(outcome)}"
        return (
            "timeout",
            f"killed after {outcome.wall_s:.0f} s: the worker {what}",
            "raise plan.trial_time_limit_s if the engine is only slow",
        )
    if outcome.signal:
        when = "while exiting, after its work" if end else f"while {_doing(outcome)}"
        return (
            "crashed",
            f"the worker was ended by {outcome.signal} {when}",
            "see log_tail and logs/",
        )
    if outcome.exit_code or end is None:
        when = "after its work" if end else f"while {_doing(outcome)}"
        return (
            "crashed",
            f"the worker exited with code {outcome.exit_code} {when}",
            "see log_tail and logs/",
        )
    status: Status = end["status"] if end["status"] in ("ok", "failed", "unsupported") else "failed"
    return status, end.get("reason"), end.get("remedy")


def _doing(outcome: Outcome) -> str:
    if outcome.first("started") is None:
        return "starting"
    spans = {message["name"] for message in outcome.of("span")}
    if "import" not in spans:
        return "importing the engine"
    if "open" not in spans:
        return "opening the model"
    return f"generating, after {len(outcome.of('sample'))} requests"


def _spans(outcome: Outcome) -> list[Span]:
    started = outcome.first("started")
    first = [Span("process", outcome.spawned_ns, int(started["at_ns"]))] if started else []
    return first + [
        Span(str(m["name"]), int(m["start_ns"]), int(m["end_ns"])) for m in outcome.of("span")
    ]


def _sample(data: Message) -> Sample:
    sample = Sample(
        index=int(data["index"]),
        warmup=bool(data["warmup"]),
        prompt=str(data["prompt"]),
        prompt_tokens=int(data["prompt_tokens"]),
        submitted_ns=int(data["submitted_ns"]),
        token_ns=tuple(int(v) for v in data["token_ns"]),
        token_ids=tuple(int(v) for v in data["token_ids"]),
        done_ns=int(data["done_ns"]),
        claims={str(k): float(v) for k, v in data["claims"].items()},
    )
    if len(sample.token_ns) != len(sample.token_ids):
        raise MalformedRecord("a sample has another number of time stamps than of ids")
    return sample


def _check(message: Message) -> Check:
    passed = message["passed"]
    if passed is not None and not isinstance(passed, bool):
        raise MalformedRecord("a check neither passed nor failed")
    return Check(str(message["name"]), passed, str(message["detail"]))


def _rendering(data: Message) -> Rendering:
    if data["status"] not in get_args(RenderingStatus):
        raise MalformedRecord(f"a rendering is {data['status']!r}")
    ids = data.get("ids")
    found = Rendering(
        conversation=str(data["conversation"]),
        status=data["status"],
        text=str(data.get("text") or ""),
        ids=None if ids is None else tuple(int(i) for i in ids),
        pieces=tuple(str(piece) for piece in data.get("pieces", ())),
        reason=None if data.get("reason") is None else str(data["reason"])[:2000],
        answer_ids=tuple(int(i) for i in data.get("answer_ids", ())),
    )
    if found.pieces and len(found.pieces) != len(found.ids or ()):
        raise MalformedRecord("a rendering has another number of pieces than of ids")
    return found


def _plain(data: Message) -> dict[str, Any]:
    """What its measure's own reader checks later; here only that it can be stored."""
    json.dumps(data, allow_nan=False)
    return dict(data)


def _score(data: Message) -> Score:
    logprobs = tuple(float(v) for v in data["logprobs"])
    if not all(math.isfinite(v) for v in logprobs):
        raise MalformedRecord("a score is not a number")
    return Score(str(data["conversation"]), str(data["prompt"]), str(data["answer"]), logprobs)


def _engine(message: Message | None) -> Engine | None:
    if message is None:
        return None
    return Engine(message["version"], dict(message["build"]), tuple(message["devices"]))
