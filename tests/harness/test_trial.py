"""Every way a worker can end gets a status and a reason; a lying worker cannot break the parent."""

from __future__ import annotations

from typing import Any

import pytest

from harness import trial as outcomes
from harness.supervisor import Outcome
from harness.worker import smaps
from results.encoding import record_from_json, to_json
from results.records import Case, Memory, Trial

TRIAL = Trial("t", Case("m", "b", "a", "generate", {"prompt_tokens": 1}), 0)
STARTED = {"kind": "started", "at_ns": 5, "python": "3.11"}
ENGINE = {"kind": "engine", "version": "1", "build": {}, "devices": []}
SAMPLE: dict[str, Any] = {
    "kind": "sample",
    "sample": {
        "index": 0,
        "warmup": False,
        "prompt": "d",
        "prompt_tokens": 1,
        "submitted_ns": 10,
        "token_ns": [11, 12],
        "token_ids": [1, 2],
        "done_ns": 13,
        "claims": {"prefill_tokens": 1},
    },
    "text": "ab",
}
END = {"kind": "end", "status": "ok", "reason": None, "remedy": None}


def outcome(*messages: dict[str, Any], **changes: Any) -> Outcome:
    end = next((m for m in messages if m["kind"] == "end"), None)
    fields: dict[str, Any] = {
        "spawned_ns": 1,
        "wall_s": 2.0,
        "messages": messages,
        "exit_code": 0,
        "signal": None,
        "timed_out": False,
        "broken": None,
        "memory": Memory(0.05, 0.0),
        "log_tail": "the log",
        "end": end,
    }
    return Outcome(**{**fields, **changes})


@pytest.mark.parametrize(
    ("told", "status", "words"),
    [
        (outcome(STARTED, ENGINE, SAMPLE, END), "ok", None),
        (outcome(STARTED, ENGINE, {**END, "status": "failed", "reason": "no"}), "failed", "no"),
        (outcome(STARTED, ENGINE, {**END, "status": "unsupported", "reason": "x"}), "unsupported", "x"),
        (outcome(exit_code=None, signal="SIGKILL"), "crashed", "SIGKILL while starting"),
        (outcome(STARTED, exit_code=3), "crashed", "code 3 while importing the engine"),
        (outcome(STARTED, ENGINE, SAMPLE, END, exit_code=None, signal="SIGSEGV"), "crashed", "while exiting"),
        (outcome(STARTED, ENGINE, exit_code=0), "crashed", "exited with code 0"),
        (outcome(STARTED, exit_code=None, signal="SIGKILL", timed_out=True), "timeout", "killed after 2 s"),
        (outcome(STARTED, END, exit_code=None, signal="SIGKILL", timed_out=True), "timeout", "did not exit"),
        (outcome(STARTED, broken="garbage"), "failed", "garbage"),
        (outcome(STARTED, {**END, "status": "splendid"}), "failed", None),
    ],
)  # fmt: skip
def test_every_ending_has_a_status_and_a_reason(
    told: Outcome, status: str, words: str | None
) -> None:
    record = outcomes.record(TRIAL, 0, "now", told)
    assert record.status == status
    if words:
        assert words in str(record.reason)
    assert record_from_json(to_json(record)) == record


@pytest.mark.parametrize(
    "lie",
    [
        {"kind": "sample"},
        {"kind": "sample", "sample": None},
        {"kind": "sample", "sample": {**SAMPLE["sample"], "token_ns": [1]}},
        {"kind": "sample", "sample": {**SAMPLE["sample"], "claims": {"x": "many"}}},
        {"kind": "span", "name": "open"},
        {"kind": "conditions"},
        {"kind": "conditions", "conditions": 5},
        {"kind": "memory", "at_ns": 1, "reading": {}},
        {"kind": "memory", "at_ns": 1, "reading": 7},
        {"kind": "memory", "at_ns": 1, "reading": dict.fromkeys(smaps.FIELDS, "much")},
        {"kind": "check", "name": "x", "passed": "yes", "detail": ""},
        {"kind": "engine", "version": "1"},
    ],
    ids=str,
)
def test_a_malformed_message_fails_the_trial_and_nothing_else(lie: dict[str, Any]) -> None:
    record = outcomes.record(TRIAL, 0, "now", outcome(STARTED, lie, END))
    assert record.status == "failed"
    assert "malformed message" in str(record.reason)


def test_the_process_span_begins_where_the_parent_spawned() -> None:
    record = outcomes.record(TRIAL, 0, "now", outcome(STARTED, ENGINE, END))
    span = record.span("process")
    assert span is not None
    assert (span.start_ns, span.end_ns) == (1, 5)
