"""The measures `reference` and `fidelity`: next-token distributions, position by position.

The reference's logits go through files, one array per item, which the other arms' workers read. What
is sent is one number per position and kind; nothing is averaged here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backends.api import (
    Backend,
    BackendError,
    GenerationFailed,
    Request,
    Scores,
    ScoresTop,
    Tokenizes,
    Unsupported,
)
from harness.worker.channel import Channel

Job = Mapping[str, Any]
BLOCK = 64
"""Rows that are turned to float64 at a time: 25 MB at a vocabulary of 50,000."""

PROBES = 4
"""Positions per item at which an engine that shows no numbers is asked for its next token."""


def reference(backend: Backend, job: Job, channel: Channel) -> None:
    """Write every item's logits, and those along a greedy answer to every chat."""
    import numpy

    if not isinstance(backend, Scores):
        raise Unsupported("the reference has to give logits, and this engine does not")
    folder = Path(job["logits"])
    folder.mkdir(parents=True, exist_ok=True)
    for index, item in enumerate(job["items"]):
        ids, found = item["ids"], {"item": item["name"]}
        try:
            rows = _finite(backend.logits(ids))
            found["logprob"] = _round(_logprobs(rows, ids))
            if item.get("text") is not None and isinstance(backend, Tokenizes):
                found["own_ids"] = [int(i) for i in backend.tokenize(item["text"])]
            if item["chat"]:
                made, pieces = _greedy(backend, job, ids)
                along = _finite(backend.logits([*ids, *made]))[len(ids) - 1 : -1]
                numpy.save(folder / f"{index}.greedy.npy", along)
                found |= _answer(job, made, pieces)
            numpy.save(folder / f"{index}.npy", rows)  # last: what has it, has all
        except BackendError as error:
            found["error"] = str(error)[:1000]
        channel.send("observation", data=found)


def fidelity(backend: Backend, job: Job, channel: Channel) -> None:
    """Every item against the reference; an item that fails does not stop the next."""
    import numpy

    folder = Path(job["logits"])
    if not any(folder.glob("*.npy")):
        raise GenerationFailed(
            "there are no logits of the reference: its trial failed, or they were deleted"
        )
    for index, item in enumerate(job["items"]):
        found: dict[str, Any] = {"item": item["name"]}
        if not (folder / f"{index}.npy").is_file():
            continue  # the reference could not do it, and says why
        try:
            wanted = numpy.load(folder / f"{index}.npy", mmap_mode="r", allow_pickle=False)
            found |= _compared(backend, item["ids"], wanted)
            if item.get("text") is not None and isinstance(backend, Tokenizes):
                found["own_ids"] = [int(i) for i in backend.tokenize(item["text"])]
            if item["chat"]:
                along = numpy.load(folder / f"{index}.greedy.npy", mmap_mode="r")
                made, pieces = _greedy(backend, job, item["ids"])
                found |= _answer(job, made, pieces) | _divergence(made, along)
        except (BackendError, MemoryError, OSError, ValueError) as error:
            found["error"] = (str(error) or type(error).__name__)[:1000]
        channel.send("observation", data=found)


def _compared(backend: Backend, ids: Sequence[int], wanted: Any) -> dict[str, Any]:
    if isinstance(backend, Scores):
        return {"method": "logits", **_by_logits(_finite(backend.logits(ids)), wanted, ids)}
    if isinstance(backend, ScoresTop):
        return {"method": "top-k", **_by_top(backend.top_logprobs(ids), wanted, ids)}
    return {"method": "greedy", **_by_asking(backend, ids, wanted)}


def _by_logits(rows: Any, wanted: Any, ids: Sequence[int]) -> dict[str, Any]:
    """`kl` is KL(reference ‖ engine) in nats, `agree` whether both think the same token best,
    `error` how far the gap between the reference's two best tokens is off, `logprob` that of the
    true next token (one less)."""
    import numpy

    if rows.shape[0] != len(ids):
        raise GenerationFailed(f"gave logits for {rows.shape[0]} of {len(ids)} positions")
    size = min(rows.shape[1], wanted.shape[1])  # beyond it is padding
    kl: list[float] = []
    agree: list[int] = []
    error: list[float] = []
    for start in range(0, len(ids), BLOCK):
        ours = _log_softmax(rows[start : start + BLOCK, :size])
        theirs = _log_softmax(wanted[start : start + BLOCK, :size])
        kl += (numpy.exp(theirs) * (theirs - ours)).sum(axis=1).tolist()
        best = numpy.argpartition(theirs, -2, axis=1)[:, -2:]
        line = numpy.arange(len(best))
        gap = ours[line, best[:, 1]] - ours[line, best[:, 0]]
        error += (gap - (theirs[line, best[:, 1]] - theirs[line, best[:, 0]])).tolist()
        agree += (ours.argmax(axis=1) == theirs.argmax(axis=1)).astype(int).tolist()
    return {
        "kl": _round(kl),
        "agree": agree,
        "error": _round(error),
        "logprob": _round(_logprobs(rows[:, :size], ids)),
    }


def _by_top(
    given: Sequence[Sequence[tuple[int, float]]], wanted: Any, ids: Sequence[int]
) -> dict[str, Any]:
    """`kl` is a lower bound: all tokens that the engine does not list count as one."""
    import numpy

    if len(given) != len(ids):
        raise GenerationFailed(f"gave log-probabilities for {len(given)} of {len(ids)} positions")
    kl: list[float] = []
    agree: list[int] = []
    for position, listed in enumerate(given):
        theirs = _log_softmax(wanted[position : position + 1])[0]
        known = [token for token, _ in listed]
        q = numpy.exp(numpy.array([value for _, value in listed], dtype=float))
        p = numpy.exp(theirs[known])
        rest_p, rest_q = max(1 - p.sum(), 1e-12), max(1 - q.sum(), 1e-12)
        terms = p * (theirs[known] - numpy.log(q))
        kl.append(float(terms.sum() + rest_p * math.log(rest_p / rest_q)))
        agree.append(int(bool(known) and known[int(q.argmax())] == int(theirs.argmax())))
    return {"kl": _round(kl), "agree": agree}


def _by_asking(backend: Backend, ids: Sequence[int], wanted: Any) -> dict[str, Any]:
    """`positions` are those at which the engine was asked for one greedy token."""
    step = max(1, len(ids) // PROBES)
    positions = list(range(step - 1, len(ids), step))[:PROBES]
    agree = []
    for position in positions:
        request = Request(tuple(ids[: position + 1]), 1)
        (token,) = backend.generate(request)
        agree.append(int(token.id == int(wanted[position].argmax())))
    return {"positions": positions, "agree": agree}


def _greedy(backend: Backend, job: Job, ids: Sequence[int]) -> tuple[list[int], list[str]]:
    """The greedy answer: its ids, and what each reads as."""
    request = Request(tuple(ids), job["parameters"]["output_tokens"], force_length=False)
    tokens = list(backend.generate(request))
    return [int(token.id) for token in tokens], [token.text for token in tokens]


def _answer(job: Job, made: list[int], pieces: list[str]) -> dict[str, Any]:
    """`ended`: whether the model ended it."""
    ended = len(made) < job["parameters"]["output_tokens"]
    return {"greedy": made, "pieces": pieces, "ended": ended}


def _divergence(made: list[int], along: Any) -> dict[str, Any]:
    """Where the answer leaves the reference's, and by how much the reference preferred its own
    token there, in logits; `along` are its logits at each token of its own answer."""
    for step, (token, row) in enumerate(zip(made, along, strict=False)):
        best = int(row.argmax())
        if token != best:
            margin = float(row[best]) - float(row[token]) if token < len(row) else None
            return {"step": step, "margin": margin}
    return {}


def _finite(rows: Any) -> Any:
    import numpy

    good = numpy.isfinite(rows).all(axis=1)
    if not good.all():
        raise GenerationFailed(f"its logits at position {int(good.argmin())} are not finite")
    return rows


def _logprobs(rows: Any, ids: Sequence[int]) -> list[float]:
    """Of each next token, natural, one less than there are ids."""
    import numpy

    found: list[float] = []
    for start in range(0, len(ids) - 1, BLOCK):
        block = _log_softmax(rows[start : min(start + BLOCK, len(ids) - 1)])
        following = ids[start + 1 : start + 1 + len(block)]
        found += block[numpy.arange(len(block)), following].tolist()
    return found


def _log_softmax(rows: Any) -> Any:
    import numpy

    rows = rows.astype(numpy.float64)
    rows -= rows.max(axis=1, keepdims=True)
    rows -= numpy.log(numpy.exp(rows).sum(axis=1, keepdims=True))
    return rows


def _round(values: Sequence[float]) -> list[float]:
    """Six digits: what float32 logits can carry."""
    return [float(f"{value:.6g}") for value in values]
