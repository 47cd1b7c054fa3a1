"""From server-sent events to tokens, counted: a chunk is not a token until that is shown.

A server may send two tokens in one chunk, or hold one back until a character is complete. Every
count that it gives is compared with what came, and what does not fit fails the request: a time
between chunks would else be taken for a time between tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from backends.api import GenerationFailed, Request, Unsupported

Event = Mapping[str, Any]


@dataclass(slots=True)
class Tally:
    """What a server says about one request: `made` is its own count of the tokens, `running` the
    count that came with the event that was read last."""

    made: int | None = None
    running: int | None = None
    prompt: int | None = None
    finish: str | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, Any] = field(default_factory=dict)


def events(lines: Iterable[bytes], native: bool) -> Iterator[Event]:
    """The objects of a stream. Raises GenerationFailed for what is none, and for an early end."""
    for line in lines:
        if not line or line.startswith(b":"):
            continue
        name, _, value = line.partition(b":")
        value = value.strip()
        if name == b"data":
            if value == b"[DONE]":
                return
            event = _object(value)
            if "error" in event:
                raise GenerationFailed(f"the server reports an error: {_cut(value)}")
            yield event
            if native and event.get("stop") is True:
                return
        elif name == b"error":
            raise GenerationFailed(f"the server reports an error: {_cut(value)}")
        elif name not in (b"event", b"id", b"retry"):
            raise GenerationFailed(f"the server sent what is no event: {_cut(line)}")
    raise GenerationFailed("the stream ended without a word that it is done")


def tokens(
    stream: Iterator[Event], request: Request, tally: Tally, *, native: bool, ids_out: bool
) -> Iterator[tuple[int | None, str]]:
    """Id (None where the server gives none) and text of each token, as it arrives."""
    read = _native if native else _openai
    made = 0
    for number, event in enumerate(stream, 1):
        if number > 4 * request.max_tokens + 64:
            raise GenerationFailed(f"{number} events for {request.max_tokens} tokens")
        tally.running = None
        try:
            text, ids = read(event, tally)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError):
            raise GenerationFailed(
                f"event {number} has another shape than the protocol's: {_cut(_dumped(event))}"
            ) from None
        new: tuple[int | None, ...] = ids if ids_out else (None,) * bool(text)
        if len(ids) > 1:
            raise GenerationFailed(
                f"event {number} holds {len(ids)} tokens: they cannot be timed one by one"
            )
        if text and not new:
            why = f"the server gives no token id with the text {text[:40]!r}"
            raise Unsupported(why) if made == 0 else GenerationFailed(why)
        for token in new:
            made += 1
            if made > request.max_tokens:
                raise GenerationFailed(f"asked for {request.max_tokens} tokens, the server goes on")
            if tally.running is not None and tally.running != made:
                raise GenerationFailed(
                    f"the server has made {tally.running} tokens where {made} came: it holds tokens "
                    "back until a character is complete, or sends several at once"
                )
            yield token, text
            if not request.force_length and token in request.stop_ids:
                return
    _check(request, tally, made)


def _check(request: Request, tally: Tally, made: int) -> None:
    ended = tally.finish == "stop" and not request.force_length
    # A model's own end is a token to the server, and has no chunk where it has no text.
    if tally.made is not None and tally.made - made not in ((0, 1) if ended else (0,)):
        raise GenerationFailed(f"the server says that it made {tally.made} tokens, {made} came")
    if tally.prompt is not None and tally.prompt != len(request.prompt_ids):
        raise GenerationFailed(
            f"the server says that the prompt has {tally.prompt} tokens, "
            f"{len(request.prompt_ids)} were sent: something was added or cut"
        )
    if made < request.max_tokens and tally.finish == "length":
        raise GenerationFailed(
            f"the server says that it made all {request.max_tokens} tokens, {made} chunks came: "
            "a chunk holds more than one, or a token has no text"
        )
    if made < request.max_tokens and request.force_length:
        raise GenerationFailed(
            f"told to make {request.max_tokens} tokens whatever they are, the server ended after "
            f"{made} ({tally.finish})"
        )


def _native(event: Event, tally: Tally) -> tuple[str, tuple[int, ...]]:
    """llama-server's own `/completion`."""
    tally.made = tally.running = int(event["tokens_predicted"])
    tally.prompt = int(event["tokens_evaluated"])
    if event["stop"]:
        tally.finish = "length" if event.get("stop_type") == "limit" else "stop"
        tally.timings = _mapping(event.get("timings"))
        if event.get("truncated"):
            raise GenerationFailed("the server cut the prompt")
    return _text(event["content"]), _ids(event["tokens"])


def _openai(event: Event, tally: Tally) -> tuple[str, tuple[int, ...]]:
    usage = _mapping(event.get("usage"))
    if usage:
        tally.usage = usage
        tally.prompt = int(usage["prompt_tokens"])
        # With every chunk or at the end only.
        tally.made = tally.running = int(usage["completion_tokens"])
    choices = event["choices"]
    if not isinstance(choices, list):
        raise TypeError
    if not choices:
        return "", ()
    if len(choices) > 1:
        raise GenerationFailed(f"asked for one answer, the server sends {len(choices)}")
    choice = choices[0]
    tally.finish = choice.get("finish_reason") or tally.finish
    return _text(choice["text"]), _ids(choice.get("token_ids") or [])


def _object(value: bytes) -> Event:
    try:
        event = json.loads(value)
    except (ValueError, RecursionError):
        event = None
    if not isinstance(event, dict):
        raise GenerationFailed(f"the server sent an event that is no JSON object: {_cut(value)}")
    return event


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _ids(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(i) is int for i in value):
        raise TypeError
    return tuple(value)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _dumped(event: Event) -> bytes:
    return json.dumps(event).encode()


def _cut(value: bytes) -> str:
    text = value[:2000].decode("utf-8", "replace")
    return (text[:160] + "…" if len(text) > 160 else text) or "(nothing)"
