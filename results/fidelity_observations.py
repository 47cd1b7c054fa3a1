"""What the measures `reference` and `fidelity` observed, read with care: a worker sent it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from results.records import Record

Method = Literal["logits", "top-k", "greedy"]
METHODS: tuple[Method, ...] = ("logits", "top-k", "greedy")
_LONGEST, _LONGEST_PIECE = 1_000_000, 200


@dataclass(frozen=True)
class Observed:
    """One item on one arm. One number per position in `kl`, `agree` and `error`; `logprob` has one
    less, that of each next token. `greedy` is the answer to a chat, None for a text, and `pieces` are
    the texts of its tokens, or none; `step` where
    it leaves the reference's, and `margin` by how many logits the reference preferred its own
    token there. `own_ids` are what the engine's tokenizer makes of a text. `trouble` says why the
    engine could not do the item."""

    item: str
    method: Method
    kl: tuple[float, ...] = ()
    agree: tuple[bool, ...] = ()
    error: tuple[float, ...] = ()
    logprob: tuple[float, ...] = ()
    greedy: tuple[int, ...] | None = None
    pieces: tuple[str, ...] = ()
    ended: bool = False
    step: int | None = None
    margin: float | None = None
    own_ids: tuple[int, ...] | None = None
    trouble: str | None = None


def read(record: Record) -> dict[str, Observed]:
    """By item. What has another shape than promised counts as trouble of that item."""
    found: dict[str, Observed] = {}
    for data in record.observations:
        item = str(data.get("item"))[:100]
        try:
            found[item] = _observed(item, data)
        except (TypeError, ValueError, KeyError) as error:
            found[item] = Observed(item, "logits", trouble=f"a malformed observation: {error}")
    return found


def _observed(item: str, data: Mapping[str, Any]) -> Observed:
    method = data.get("method", "logits")
    if method not in METHODS:
        raise ValueError(f"method {method!r}")
    trouble = data.get("error") if isinstance(data.get("error"), str) else None
    agree = _numbers(data.get("agree", ()))
    kl = _numbers(data.get("kl", ()))
    if kl and len(kl) != len(agree):
        raise ValueError("kl and agree have two lengths")
    greedy = _ids(data.get("greedy"))
    step, margin = data.get("step"), data.get("margin")
    return Observed(
        item=item,
        method=method,
        kl=kl,
        agree=tuple(value == 1 for value in agree),
        error=() if trouble else _numbers(data.get("error", ())),
        logprob=_numbers(data.get("logprob", ())),
        greedy=greedy,
        pieces=_texts(data.get("pieces"), len(greedy or ())),
        ended=data.get("ended") is True,
        step=step if isinstance(step, int) else None,
        margin=float(margin) if isinstance(margin, int | float) else None,
        own_ids=_ids(data.get("own_ids")),
        trouble=trouble,
    )


def _numbers(values: Sequence[Any]) -> tuple[float, ...]:
    if not isinstance(values, list | tuple) or len(values) > _LONGEST:
        raise ValueError("expected a list of numbers")
    found = tuple(float(value) for value in values)
    if not all(map(math.isfinite, found)):
        raise ValueError("a number is not finite")
    return found


def _ids(values: Any) -> tuple[int, ...] | None:
    return None if values is None else tuple(int(value) for value in _numbers(values))


def _texts(values: Any, tokens: int) -> tuple[str, ...]:
    """One per token, bounded; none where there is another number of them."""
    if not isinstance(values, list | tuple) or len(values) != tokens:
        return ()
    return tuple(str(value)[:_LONGEST_PIECE] for value in values)
