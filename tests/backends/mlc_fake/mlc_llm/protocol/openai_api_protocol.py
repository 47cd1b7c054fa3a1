"""A fake. See `mlc_fake`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class ChatCompletionMessage:
    role: str
    content: Any = None

    @classmethod
    def model_validate(cls, given: dict[str, Any]) -> ChatCompletionMessage:
        if given.get("role") not in ("system", "user", "assistant", "tool"):
            raise ValueError("1 validation error for ChatCompletionMessage: role")
        return cls(**given)


@dataclass
class ChatCompletionRequest:
    messages: list[ChatCompletionMessage]
