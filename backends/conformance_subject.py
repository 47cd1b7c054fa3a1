"""What conformance tests: an adapter's class with one artifact, loaded once for many checks."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from backends.api import Artifact, Backend, LoadOptions, Tokenizes
from backends.conformance_import import ImportFacts, observe
from backends.promises import LONG, Answer, Finding, Promises

TEXTS = (
    "The capital of France is Paris, and the capital of Italy is",
    "One two three four five six seven eight nine ten eleven",
    "Water boils when it gets hot enough, and then the steam",
)
PROMPT_TOKENS = 10
SMALL = 4096
"""Bytes. A file below this has no structure that damage must break: it may be any bytes."""


class Subject:
    """An adapter under test. Checks share one loaded backend; `fresh` gives another one alone.

    `prompts` are at least three of equal length, for an engine whose tokenizer can't be asked and
    whose vocabulary does not hold the ids 65 to 94.
    """

    def __init__(
        self,
        make: Callable[[], Backend],
        artifact: Artifact,
        options: LoadOptions,
        scratch: Path,
        prompts: list[tuple[int, ...]] | None = None,
    ) -> None:
        self.make = make
        self.artifact = artifact
        self.options = options
        self.scratch = scratch
        self._prompts = prompts
        self._loaded: Backend | None = None

    @property
    def loaded(self) -> Backend:
        """The shared backend. Raises what `load` raises."""
        if self._loaded is None:
            backend = self.make()
            backend.load(self.artifact, self.options)
            self._loaded = backend
        return self._loaded

    def release(self) -> None:
        """Close the shared backend: the next check that wants it loads it anew."""
        backend, self._loaded = self._loaded, None
        if backend is not None:
            with contextlib.suppress(Exception):  # the check of `close` tells
                backend.close()

    @contextlib.contextmanager
    def fresh(self) -> Iterator[Backend]:
        """A backend of one's own, not loaded. The contract promises no two at once."""
        self.release()
        backend = self.make()
        try:
            yield backend
        finally:
            with contextlib.suppress(Exception):
                backend.close()

    @property
    def promises(self) -> Promises:
        return Promises(self.loaded, self.prompts)

    @cached_property
    def prompts(self) -> list[tuple[int, ...]]:
        """Three prompts of equal length, as ids."""
        if self._prompts is not None:
            return self._prompts
        backend = self.loaded
        if isinstance(backend, Tokenizes):
            made = [tuple(backend.tokenize(text)) for text in TEXTS]
            length = min(PROMPT_TOKENS, *map(len, made))
            if length > 1:
                return [ids[:length] for ids in made]
        return [tuple(65 + (7 * i + k) % 30 for i in range(PROMPT_TOKENS)) for k in (0, 11, 19)]

    @cached_property
    def opening(self) -> Answer:
        """The greedy answer to the first prompt, `LONG` tokens: what others are compared with."""
        return self.promises.ask(self.prompts[0], LONG)

    @cached_property
    def others(self) -> list[Answer]:
        return [self.promises.ask(prompt) for prompt in self.prompts[1:3]]

    @cached_property
    def sampling(self) -> Mapping[str, Finding]:
        """The promises about sampling by name, up to the first that raises."""
        found: dict[str, Finding] = {}
        try:
            for name, finding in self.promises.sampling([self.opening, *self.others]):
                found[name] = finding
        except Exception as error:
            found[""] = (False, f"raised {type(error).__name__}: {error}")
        return found

    @cached_property
    def imports(self) -> ImportFacts:
        return observe(self.make)

    @property
    def gaps(self) -> Mapping[str, str]:
        """What the adapter declares that its engine can't do, by check. One that drives several
        engines may know more once it has loaded."""
        return dict(getattr(self._loaded or self.make, "gaps", None) or {})

    def at(self, path: Path) -> Artifact:
        return replace(self.artifact, path=path)

    def weights(self) -> Path:
        """The artifact's largest file."""
        if self.artifact.path.is_file():
            return self.artifact.path
        files = [path for path in self.artifact.path.rglob("*") if path.is_file()]
        return max(files, key=lambda path: path.stat().st_size)

    @contextlib.contextmanager
    def variant(self, change: Callable[[Path, Path], Any]) -> Iterator[Artifact]:
        """The artifact with its largest file made by `change(original, new)`; removed afterwards."""
        weights = self.weights()
        target = self.scratch / f"variant-{self.artifact.path.name}"
        try:
            if self.artifact.path.is_file():
                change(weights, target)
            else:
                for path in self.artifact.path.rglob("*"):
                    copy = target / path.relative_to(self.artifact.path)
                    if path.is_file():
                        copy.parent.mkdir(parents=True, exist_ok=True)
                        (change if path == weights else _share)(path, copy)
            yield self.at(target)
        finally:
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)


def _share(source: Path, target: Path) -> None:
    """No symbolic link: an engine that resolves it would find the original's neighbours."""
    try:
        target.hardlink_to(source.resolve())
    except OSError:
        shutil.copyfile(source, target)
