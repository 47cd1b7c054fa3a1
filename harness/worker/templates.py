"""The measure `templates`: what an engine itself writes for conversations."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol, runtime_checkable

from backends.api import Backend, Rejected, RendersChat, Unsupported
from harness.worker import limited
from harness.worker.channel import Channel

TEXT_LIMIT = 1 << 20
GIVE_UP_AFTER = 2
"""Conversations that were stopped: a template that loops for two of them is not tried again."""

Job = Mapping[str, Any]


class Broken(Rejected):
    """The model has no template that can be rendered. Raised by the reference only."""


@runtime_checkable
class Reference(Protocol):
    """What the reference renderer can say beside its renderings."""

    def vocabulary(self) -> Mapping[str, Any]:
        """`bos`, `eos`, `special` and `tokenizer`, as `Record.conditions` describes them."""
        ...

    def encode(self, text: str) -> list[int] | None:
        """Ids of a text that stands in the middle of a prompt; None where no tokenizer is."""
        ...


def templates(backend: Backend, job: Job, channel: Channel) -> None:
    """Every conversation, one after the other; one that is stopped does not stop the next."""
    if not isinstance(backend, RendersChat):
        raise Unsupported("the engine has no chat formatting of its own")
    if isinstance(backend, Reference):
        channel.send("conditions", conditions={"vocabulary": backend.vocabulary()})
    stopped = 0
    for conversation in job["conversations"]:
        found = rendering(backend, conversation, stopped)
        stopped += found["status"] == "stopped"
        channel.send("rendering", rendering={"conversation": conversation["name"], **found})


def rendering(
    backend: RendersChat, conversation: Mapping[str, Any], stopped: int
) -> dict[str, Any]:
    """One conversation in a limited child; `stopped` is how many were stopped before it."""
    try:
        if stopped >= GIVE_UP_AFTER:
            raise limited.Stopped(f"not tried: {stopped} conversations before were stopped")
        found = limited.run(partial(_render, backend, conversation))
        if len(found["text"]) > TEXT_LIMIT:
            raise limited.Stopped(f"it wrote more than {TEXT_LIMIT >> 20} MiB of text")
    except limited.Stopped as error:
        return {"status": "stopped", "reason": str(error)}
    return found


def _render(backend: RendersChat, conversation: Mapping[str, Any]) -> dict[str, Any]:
    try:
        rendering = backend.render(
            [dict(message) for message in conversation["messages"]],
            prefill=conversation["prefill"],
            variables=conversation["variables"],
        )
    except Broken as error:
        return _without("broken", error.reason)
    except Rejected as error:
        return _without("rejected", error.reason)
    except Unsupported as error:
        return _without("unsupported", error.reason)
    except MemoryError:
        raise
    except Exception as error:
        return _without("rejected", f"{type(error).__name__}: {error}")
    answer = conversation["answer"]
    told = backend.encode(answer) if answer and isinstance(backend, Reference) else None
    return {
        "status": "rendered",
        "text": rendering.text,
        "ids": [int(i) for i in rendering.ids] if rendering.ids is not None else None,
        "pieces": list(rendering.pieces),
        "answer_ids": told or [],
        "reason": None,
    }


def _without(status: str, reason: str) -> dict[str, Any]:
    return {"status": status, "text": "", "reason": reason[:2000]}
