"""Which prompts the measure `harm` scores: the reference's, and every other that an engine made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.registry import REFERENCE
from results.records import Record, digest_ids


def of(model: str, records: Sequence[Record]) -> list[dict[str, Any]]:
    """One entry per conversation with an answer and per different prompt. JSON values only."""
    ours = [r for r in records if r.case.model == model and r.case.measure == "templates"]
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for reference in (r for r in ours if r.case.backend == REFERENCE.name):
        for wanted in reference.renderings:
            if not wanted.ids or not wanted.answer_ids:
                continue
            made = [r for record in ours for r in record.renderings]
            for rendering in (wanted, *made):
                if rendering.conversation == wanted.conversation and rendering.ids:
                    prompt = digest_ids(rendering.ids)
                    found[wanted.conversation, prompt] = {
                        "conversation": wanted.conversation,
                        "prompt": prompt,
                        "prompt_ids": list(rendering.ids),
                        "answer": digest_ids(wanted.answer_ids),
                        "answer_ids": list(wanted.answer_ids),
                    }
    return list(found.values())
