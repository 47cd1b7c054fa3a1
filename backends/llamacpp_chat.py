"""Chat formatting of llama.cpp, by the two calls that applications make.

`library` (the default): `llama_cpp.Llama.create_chat_completion`, stopped right before anything is
evaluated. A template that llama-cpp-python knows by heart is replaced by a formatter of its own,
one that it doesn't know goes to Jinja, and a file without a template gets the format of Llama 2.

`core`: `llama_chat_apply_template` of llama.cpp's C API, which recognises a template by pieces of
its text and then writes a format that is built in; then the text is tokenized with special tokens
added, as llama.cpp's own example does.

Neither can continue an assistant's message, nor takes template variables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from backends.api import Rejected, Rendering

CALLS = ("library", "core")
CONTEXT = 1 << 14
"""Tokens. Nothing is evaluated; a longer prompt would be refused."""


class _Fed(Exception):
    """Carries the ids that were about to be evaluated out of the library."""

    def __init__(self, ids: Sequence[int]) -> None:
        super().__init__("fed")
        self.ids = tuple(ids)


def by_library(lib: Any, path: Path, messages: Sequence[Mapping[str, Any]]) -> Rendering:
    """Through llama-cpp-python's own chat completion, on the file's vocabulary only."""
    try:
        llama = lib.Llama(str(path), vocab_only=True, n_ctx=CONTEXT, n_batch=32, verbose=False)
    except Exception as error:
        raise Rejected(f"llama_cpp.Llama: {type(error).__name__}: {error}") from error
    texts: list[bytes] = []
    tokenize = llama.tokenize

    def watched(text: bytes, add_bos: bool = True, special: bool = False) -> Any:
        texts.append(text)
        return tokenize(text, add_bos, special)

    def generate(tokens: Sequence[int], *_: Any, **__: Any) -> Any:
        raise _Fed(tokens)

    llama.tokenize, llama.generate = watched, generate
    try:
        llama.create_chat_completion(messages=[dict(m) for m in messages], max_tokens=1)
    except _Fed as fed:
        return Rendering(texts[-1].decode("utf-8", "replace"), fed.ids)
    except MemoryError:
        raise
    except Exception as error:
        raise Rejected(f"{type(error).__name__}: {error}") from error
    raise Rejected("llama_cpp.Llama answered without evaluating anything")


def by_core(
    lib: Any,
    model: Any,
    tokenize: Callable[[str], list[int]],
    messages: Sequence[Mapping[str, Any]],
) -> Rendering:
    """Through llama.cpp's C API."""
    template = lib.llama_model_chat_template(model, None)
    if not template:
        raise Rejected("the model has no chat template")
    chat = (lib.llama_chat_message * len(messages))()
    for one, message in zip(chat, messages, strict=True):
        one.role, one.content = str(message["role"]).encode(), str(message["content"]).encode()
    room = 4096 + 2 * sum(len(one.content) + len(one.role) for one in chat)
    for _ in range(2):
        text = bytes(room)
        size = lib.llama_chat_apply_template(template, chat, len(chat), True, text, room)
        if size < 0:
            raise Rejected("llama_chat_apply_template does not know this template")
        if size <= room:
            written = text[:size].decode("utf-8", "replace")
            return Rendering(written, tuple(tokenize(written)))
        room = size
    raise Rejected("llama_chat_apply_template gave two lengths for one text")
