"""The measure `quality`: an engine's own answers to tasks, greedy and with its sampler."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from backends.api import Backend, GenerationFailed, Request, Sampling, Unsupported
from harness.worker.channel import Channel

Job = Mapping[str, Any]

REPEATED = 8
"""Items that are asked a second time, to see whether the answer is the same: spread over all."""

GIVE_UP_AFTER = 5
"""Requests in a row that the engine broke over: it is not asked any further."""

TEXT_LIMIT = 1 << 16


def quality(backend: Backend, job: Job, channel: Channel) -> None:
    """Every item under every setting and seed, then some of them again.

    Sends one observation per request: `item`, `setting` (its index), `seed`, `run` (1 when asked
    again), `ids`, `text`, `sizes` (characters of the text that each token added) and `ended` (before the
    limit), or `error` instead of these four. The repeats come last, so that other requests lie
    between.
    """
    broken = 0
    for item, setting, seed, run in _requests(job):
        asked = {"item": item["name"], "setting": setting, "seed": seed, "run": run}
        found: dict[str, Any]
        try:
            found = _answer(backend, job, item["ids"], setting, seed)
            broken = 0
        except Unsupported as error:
            found = {"error": f"unsupported: {error.reason}"[:500]}
        except TooLong as error:
            found = {"error": error.reason}
        except GenerationFailed as error:
            broken += 1
            if broken >= GIVE_UP_AFTER:
                raise
            found = {"error": error.reason[:500]}
        channel.send("observation", data={**asked, **found})


class TooLong(GenerationFailed):
    """An item that does not fit the context: it says nothing about the engine."""


def _requests(job: Job) -> Iterator[tuple[Mapping[str, Any], int, int, int]]:
    items, parameters = job["items"], job["parameters"]
    settings = [Sampling(**setting) for setting in parameters["settings"]]
    for item in items:
        for index, setting in enumerate(settings):
            for seed in _seeds(setting, parameters["seeds"]):
                yield item, index, seed, 0
    # Spread over the items: a set may have its kinds one after the other.
    count = min(REPEATED, len(items))
    for item in (items[index * len(items) // count] for index in range(count)):
        for index, setting in enumerate(settings):
            yield item, index, setting.seed, 1


def _seeds(setting: Sampling, count: int) -> Sequence[int]:
    return [setting.seed] if setting.greedy else range(setting.seed, setting.seed + count)


def _answer(
    backend: Backend, job: Job, ids: Sequence[int], setting: int, seed: int
) -> dict[str, Any]:
    parameters = job["parameters"]
    limit, context = parameters["output_tokens"], parameters.get("context")
    if context is not None and len(ids) + limit > context:
        raise TooLong(
            f"{len(ids)} prompt tokens and {limit} new ones exceed the context of {context}"
        )
    request = Request(
        prompt_ids=tuple(ids),
        max_tokens=limit,
        force_length=False,
        sampling=Sampling(**{**parameters["settings"][setting], "seed": seed}),
        stop_ids=frozenset(job.get("stop_ids", ())),
    )
    # One more than asked for is enough to see that it does not stop.
    tokens = list(islice(backend.generate(request), limit + 1))
    if len(tokens) > limit:
        raise GenerationFailed(f"asked for at most {limit} tokens, the engine gave more")
    return {
        "ids": [int(token.id) for token in tokens],
        "text": "".join(token.text for token in tokens)[:TEXT_LIMIT],
        "sizes": [len(token.text) for token in tokens],
        "ended": len(tokens) < limit,
    }
