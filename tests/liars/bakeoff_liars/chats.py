"""Engines that write a wrong prompt, each in one way, on the real SmolLM2: what does it harm?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from backends.api import Rendering
from backends.llamacpp import LlamaCpp

Messages = Sequence[Mapping[str, Any]]


class AsItIs(LlamaCpp):
    """Writes what the model's own template writes."""

    name = "chat-as-it-is"

    def render(
        self, messages: Messages, *, prefill: bool = False, variables: Any = None
    ) -> Rendering:
        text = super().render(messages).text
        if prefill:
            beginning = str(messages[-1]["content"])
            text = text[: text.rindex(beginning) + len(beginning)]
        text = self.change(text, messages)
        return Rendering(text, tuple(self.tokenize(text)))

    def change(self, text: str, messages: Messages) -> str:
        return text


class OneNewline(AsItIs):
    """One newline too many before the answer's turn."""

    name = "chat-one-newline"

    def change(self, text: str, messages: Messages) -> str:
        before, turn, after = text.rpartition("<|im_start|>assistant")
        return f"{before}\n{turn}{after}"


class BosTwice(AsItIs):
    """The BOS token written once more."""

    name = "chat-bos-twice"

    def change(self, text: str, messages: Messages) -> str:
        return f"<|im_start|>{text}"


class SystemLost(AsItIs):
    """No system message, neither the conversation's nor the template's own."""

    name = "chat-system-lost"

    def change(self, text: str, messages: Messages) -> str:
        return re.sub(r"^<\|im_start\|>system\n.*?<\|im_end\|>\n", "", text, flags=re.DOTALL)


class WrongFamily(AsItIs):
    """The format of Llama 3, whatever the model."""

    name = "chat-wrong-family"

    def change(self, text: str, messages: Messages) -> str:
        def head(role: str) -> str:
            return f"<|start_header_id|>{role}<|end_header_id|>\n\n"

        turns = [head(m["role"]) + m["content"].strip() + "<|eot_id|>" for m in messages]
        if text.endswith(str(messages[-1]["content"])):  # a prefill stays open
            return "<|begin_of_text|>" + "".join(turns).removesuffix("<|eot_id|>")
        return "<|begin_of_text|>" + "".join(turns) + head("assistant")
