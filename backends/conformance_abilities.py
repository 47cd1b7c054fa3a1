"""Checks of the optional abilities. Having the method is the claim; a check of its name tests it.

An ability without its method is not applicable. One whose method raises Unsupported is refused,
which is honest, and may be declared in `gaps`.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from backends.api import (
    ABILITIES,
    BackendError,
    Claims,
    Draws,
    Rejected,
    RendersChat,
    Sampling,
    Scores,
    ScoresTop,
    Tokenizes,
    Unsupported,
)
from backends.conformance_subject import Subject
from backends.promises import LONG, Finding, verdict

UNCLAIMED = (None, "not claimed: the adapter has no such method")
ROUND_TRIPS = ("Hello world", "It's naïve:\n\n  def f(x): 3.14", "漢字 and 😀, עברית, Ωμέγα")
KNOWN_CLAIMS = {
    "prefill_tokens", "prefill_ms", "decode_tokens", "decode_ms", "load_ms",
    "http_overhead_ms_per_token", "http_overhead_ms_per_request", "text_prompt_ms", "server_rss_bytes",
}  # fmt: skip
NEAR = 0.01
"""Share of a row's range of logits within which two tokens tie: an engine that evaluates a prompt
at once rounds otherwise than one that goes token by token."""


def tokenizes(subject: Subject) -> Finding:
    """Text goes through tokenize and detokenize unharmed, in any script."""
    backend = subject.loaded
    if not isinstance(backend, Tokenizes):
        return UNCLAIMED
    for text in ROUND_TRIPS:
        back = backend.detokenize(backend.tokenize(text))
        if back.strip() != text:
            return False, f"{text!r} came back as {back!r}"
    return verdict(backend.detokenize([]) == "", "no ids have a text")


def claims(subject: Subject) -> Finding:
    """What the engine says about its last request are known keys and sane numbers."""
    backend = subject.loaded
    if not isinstance(backend, Claims):
        return UNCLAIMED
    subject.promises.ask(subject.prompts[0], LONG)
    said: Mapping[str, Any] = backend.claims()
    for key, value in said.items():
        if key not in KNOWN_CLAIMS:
            return False, f"it claims {key!r}; known are {', '.join(sorted(KNOWN_CLAIMS))}"
        if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            return False, f"{key} is {value!r}"
    decoded = said.get("decode_tokens", LONG)
    # The last token is made, but need not be evaluated.
    if not LONG - 1 <= decoded <= LONG:
        return False, f"it claims {decoded:.0f} decoded tokens of {LONG}"
    return verdict(bool(said), "it claims nothing: drop the method")


def renders_chat(subject: Subject) -> Finding:
    """A conversation's text is in the prompt, other text gives another, and bad messages are an
    error of the contract."""
    backend = subject.loaded
    if not isinstance(backend, RendersChat):
        return UNCLAIMED
    word = "Quetzalcoatl"
    asked = [{"role": "user", "content": f"Who is {word}?"}]
    try:
        found = backend.render(asked)
    except Rejected as error:
        return None, f"the model's template refuses: {error.reason}"
    if word not in found.text:
        return False, f"the message is not in the prompt {found.text[:60]!r}"
    if backend.render(asked) != found:
        return False, "the same messages gave another prompt"
    if found.ids is not None and isinstance(backend, Tokenizes):
        fed = backend.detokenize(list(found.ids))
        if word not in fed:
            return False, f"the ids say {fed[:60]!r}, without the message"
    if found.pieces and len(found.pieces) != len(found.ids or ()):
        return False, f"{len(found.pieces)} pieces for {len(found.ids or ())} ids"
    for bad in ([], [{"content": "x"}], [{"role": "no-such-role", "content": "x"}]):
        _within_the_contract(backend.render, bad)
    _within_the_contract(backend.render, asked, variables={"bakeoff_unused": "x"})
    return True, ""


def scores(subject: Subject) -> Finding:
    """Logits are one row per id over the vocabulary, their argmax is the greedy token, and ids
    outside of the vocabulary are refused."""
    backend = subject.loaded
    if not isinstance(backend, Scores):
        return UNCLAIMED
    one, made = subject.prompts[0], subject.opening.ids
    ids = [*one, *made[:-1]]
    rows = backend.logits(ids)
    shape, kind = tuple(rows.shape), str(rows.dtype)
    if len(shape) != 2 or shape[0] != len(ids) or shape[1] <= max(ids) or kind != "float32":
        return (
            False,
            f"{kind} of shape {shape} for {len(ids)} ids: float32 (ids, vocabulary) is due",
        )
    for row, token in zip(rows[len(one) - 1 :], made, strict=True):
        top, low = float(row.max()), float(row.min())
        if not math.isfinite(top - low) or top - float(row[token]) > NEAR * (top - low):
            best = int(row.argmax())
            return False, f"greedy gave {token}, the logits' best is {best}"
    if not _refuses(lambda: backend.logits([one[0], 2**31 - 1, one[0]])):
        return False, "an id outside of the vocabulary was taken"
    return True, ""


def scores_top(subject: Subject) -> Finding:
    """The likeliest next tokens come best first, as log-probabilities, the greedy one first."""
    backend = subject.loaded
    if not isinstance(backend, ScoresTop):
        return UNCLAIMED
    one, made = subject.prompts[0], subject.opening.ids
    ids = [*one, *made[:-1]]
    rows: Sequence[Sequence[tuple[int, float]]] = backend.top_logprobs(ids)
    if len(rows) != len(ids):
        return False, f"{len(rows)} rows for {len(ids)} ids"
    for row, token in zip(rows[len(one) - 1 :], made, strict=True):
        values = [value for _, value in row]
        if not values or values != sorted(values, reverse=True) or values[0] > 1e-4:
            return False, f"not log-probabilities, best first: {list(row)[:3]}"
        if values[0] - dict(row).get(token, -math.inf) > 0.1:
            return False, f"greedy gave {token}, the best is {row[0][0]}"
    return True, ""


def draws(subject: Subject) -> Finding:
    """For each seed `draw` gives the first token of `generate`, or refuses the sampling."""
    backend = subject.loaded
    if not isinstance(backend, Draws):
        return UNCLAIMED
    one, seeds, asked = subject.prompts[0], [3, 4, 5, 6], 0
    for sampling in (
        Sampling(),
        Sampling(temperature=1.5, top_k=20, top_p=0.9),
        Sampling(temperature=1.5, repetition_penalty=1.5),
    ):
        try:
            drawn = backend.draw(one, sampling, seeds)
        except Unsupported:
            continue
        asked += 1
        made = [
            subject.promises.ask(one, 1, sampling=Sampling(**{**_fields(sampling), "seed": s})).ids
            for s in seeds
        ]
        agree = sum((token,) == ids for token, ids in zip(drawn, made, strict=True))
        # Rounding may tip one draw that lies at a border.
        if agree < len(seeds) - 1:
            return False, f"{agree} of {len(seeds)} draws are generate's, with {sampling}"
    if not asked:
        raise Unsupported("draw refuses all sampling")
    return True, ""


CHECKS: tuple[Callable[[Subject], Finding], ...] = (
    tokenizes,
    claims,
    renders_chat,
    scores,
    scores_top,
    draws,
)
assert [check.__name__ for check in CHECKS] == list(ABILITIES), "an ability without its check"


def _fields(sampling: Sampling) -> dict[str, Any]:
    return {name: getattr(sampling, name) for name in sampling.__dataclass_fields__}


def _within_the_contract(call: Callable[..., Any], *given: Any, **named: Any) -> None:
    """An answer or one of the contract's errors; anything else goes on up."""
    with contextlib.suppress(BackendError):
        call(*given, **named)


def _refuses(call: Callable[[], Any]) -> bool:
    try:
        call()
    except BackendError:
        return True
    return False
