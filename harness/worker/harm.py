"""The measure `harm`: how likely a good answer is after each of a conversation's prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backends.api import Backend, GenerationFailed, Scores, Unsupported
from harness.worker.channel import Channel


def harm(backend: Backend, job: Mapping[str, Any], channel: Channel) -> None:
    """Log-probability of each conversation's good answer after each of its prompts."""
    if not isinstance(backend, Scores):
        raise Unsupported("the engine gives no logits")
    import numpy

    for asked in job["scorings"]:
        prompt, answer = asked["prompt_ids"], asked["answer_ids"]
        try:
            given = backend.logits([*prompt, *answer])
        except GenerationFailed:
            continue  # too long for the context: this prompt has no number
        rows = given[len(prompt) - 1 : -1].astype(numpy.float64)
        if not numpy.isfinite(rows).all():
            continue
        peak = rows.max(axis=1, keepdims=True)
        normal = numpy.log(numpy.exp(rows - peak).sum(axis=1)) + peak[:, 0]
        chosen = rows[numpy.arange(len(answer)), answer]
        channel.send(
            "score",
            score={
                "conversation": asked["conversation"],
                "prompt": asked["prompt"],
                "answer": asked["answer"],
                "logprobs": [float(v) for v in chosen - normal],
            },
        )
