"""What every adapter refuses alike, and how it says what an engine raised."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from backends.api import GenerationFailed, LoadOptions, Unsupported


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


def said(error: BaseException) -> str:
    """The error's text in one line, bounded, or its name where it has none."""
    return " ".join(str(error).split())[:600] or type(error).__name__
