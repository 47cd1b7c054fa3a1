"""What every adapter refuses alike, and how it says what an engine raised."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence

from backends.api import GenerationFailed, LoadOptions, Unsupported

KEY_NAME = re.compile(r"BAKEOFF_API_KEY[A-Z0-9_]*")
"""A scenario may come from anyone: it must not be able to send some other secret somewhere."""
KEY_LENGTH = 8
"""Characters of a key at least: a shorter one may be a word of some text by chance."""
_KEY = re.compile(rf"[!-~]{{{KEY_LENGTH},}}")
"""What a header takes as it is."""


def options(
    engine: str,
    given: LoadOptions,
    known: Collection[str] = (),
    devices: Collection[str] = ("cpu",),
) -> None:
    """Raise Unsupported for a device that is not of `devices`, for an option that is not of `known`,
    and for `mmap` and `mlock`, which `engine` offers no choice of."""
    if given.device not in devices:
        raise Unsupported(f"device {given.device!r}: {engine} is run on {', '.join(devices)}")
    if given.mmap is not None or given.mlock is not None:
        raise Unsupported(f"mmap, mlock: {engine} offers no choice; leave them unset")
    if unknown := sorted(set(given.extra) - set(known)):
        said = f"known are {', '.join(known)}" if known else f"{engine} has none here"
        raise Unsupported(f"options {unknown}: {said}")


def context(asked: LoadOptions, trained: object) -> None:
    """Raise Unsupported for a context beyond what the model is made for: its number of tokens, or
    anything else where its files do not say."""
    if isinstance(trained, int) and asked.context > trained:
        raise Unsupported(f"a context of {asked.context}: the model is made for {trained}")


def scored(ids: Sequence[int], context: int, vocabulary: int) -> None:
    """Raise GenerationFailed for ids whose logits no engine can give."""
    if not ids:
        raise GenerationFailed("there are no token ids: at least one is needed")
    if len(ids) > context:
        raise GenerationFailed(f"{len(ids)} tokens exceed the context of {context}")
    inside(ids, vocabulary)


def inside(ids: Sequence[int], vocabulary: int) -> None:
    """Raise GenerationFailed for an id that the model does not have."""
    bad = next((i for i in ids if not 0 <= i < vocabulary), None)
    if bad is not None:
        raise GenerationFailed(f"token id {bad} is outside the vocabulary of {vocabulary}")


def key(variable: str) -> str:
    """The key in the variable that the option `api_key_env` names. Raises Unsupported, without it."""
    if not KEY_NAME.fullmatch(variable):
        raise Unsupported(
            f"the option api_key_env is {variable!r}: only BAKEOFF_API_KEY… is passed on to a worker",
            "export BAKEOFF_API_KEY=…, and api_key_env: BAKEOFF_API_KEY",
        )
    if not (found := os.environ.get(variable, "")):
        raise Unsupported(f"the environment variable {variable} is not set", f"export {variable}=…")
    if not _KEY.fullmatch(found):
        raise Unsupported(
            f"the environment variable {variable} holds no key: expected at least {KEY_LENGTH} characters, "
            "ASCII and printable, no space or end of a line among them"
        )
    return found


def ids(option: str, told: str) -> tuple[int, ...]:
    """Token ids in an option's text, as in `"0,2"`. Raises Unsupported."""
    try:
        return tuple(int(part) for part in told.split(",") if part.strip())
    except ValueError:
        raise Unsupported(f"the option {option} is {told!r}: expected ids, such as 0,2") from None


def without(secret: str, text: str) -> str:
    """The text without the secret. To be asked before a text is cut: half a key is still one."""
    return text.replace(secret, "[key]") if secret else text


def said(error: BaseException, secret: str = "") -> str:
    """The error's text in one line, bounded and without the secret, or its name where it has none."""
    return " ".join(without(secret, str(error)).split())[:600] or type(error).__name__
