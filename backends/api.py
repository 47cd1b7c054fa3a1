"""The contract between bakeoff and an engine: four methods, plus optional abilities.

An adapter is a class with `name`, `formats`, `probe`, `load`, `generate` and `close`.
It is found through the entry-point group `bakeoff.backends` and lives in a worker
process that may run under another interpreter than bakeoff's own: this module, and
an adapter's module level, import the standard library only. The engine itself is
imported inside `probe` and `load`.

What an adapter must not do: time itself (the worker stamps every token), fall back to
an engine's default (every option and sampling parameter arrives explicitly), or ignore
what it cannot do (it raises `Unsupported`).

    BackendError
    ├── Unavailable       the engine is not installed, or cannot run on this machine
    ├── LoadFailed        this artifact cannot be loaded; names the file
    ├── Unsupported       the engine cannot do what the request asks
    ├── GenerationFailed  the engine broke while it generated
    └── Rejected          the chat template refused the messages, or broke over them
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable


class BackendError(Exception):
    """An engine said no. `remedy` tells the user what to do next, if anything can be done."""

    def __init__(self, reason: str, remedy: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


class Unavailable(BackendError):
    """The engine is not installed, or cannot run on this machine."""


class LoadFailed(BackendError):
    """The artifact cannot be loaded."""

    def __init__(self, path: Path | str, reason: str, remedy: str | None = None) -> None:
        super().__init__(f"{path}: {reason}", remedy)
        self.path = str(path)


class Unsupported(BackendError):
    """The engine cannot do what was asked. Raised instead of ignoring it."""


class GenerationFailed(BackendError):
    """The engine broke while it generated."""


class Rejected(BackendError):
    """The chat template refused the messages, or broke over them. `reason` is the engine's."""


@dataclass(frozen=True)
class Availability:
    """What `probe` found: a version and build facts, or why the engine can't run and what to do.

    `distribution` is the installed Python package that the version must be the version of; None
    where the engine is no Python package.
    """

    version: str | None = None
    distribution: str | None = None
    build: Mapping[str, str] = field(default_factory=dict)
    devices: tuple[str, ...] = ()
    reason: str | None = None
    remedy: str | None = None

    @property
    def available(self) -> bool:
        return self.reason is None


@dataclass(frozen=True)
class Artifact:
    """Weights on disk in one format.

    `path` is a file (GGUF) or a folder (HF, ONNX); `format` is one of `gguf`, `hf`, `onnx`
    or a name that a third party's adapter understands.
    """

    model: str
    name: str
    format: str
    path: Path


@dataclass(frozen=True)
class LoadOptions:
    """How to open the artifact. Nothing is left to an engine's default.

    `context` is in tokens and holds prompt plus output; `threads` is for prefill and decode
    alike. `mmap` and `mlock` are None where the scenario does not ask for either way.
    `extra` are engine-specific options by the engine's own names.
    """

    context: int
    threads: int
    device: str = "cpu"
    mmap: bool | None = None
    mlock: bool | None = None
    extra: Mapping[str, str | int | float | bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Sampling:
    """Sampling parameters, all of them always set. The defaults mean "off": greedy decoding.

    temperature 0 is greedy (argmax); top_k 0, top_p 1, min_p 0 and repetition_penalty 1
    switch the filter off. `seed` is used whenever temperature > 0.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int = 0

    @property
    def greedy(self) -> bool:
        return self.temperature == 0.0


@dataclass(frozen=True)
class Request:
    """One generation from token ids.

    The engine yields at most `max_tokens` tokens. With `force_length` it yields exactly that
    many, going on past any end-of-sequence token; without it, it stops after the first id of
    `stop_ids` (which is yielded) or of the model's own end-of-sequence ids. Unless
    `reuse_prefix` is set, every prompt token is evaluated: nothing cached from an earlier
    request may be used.
    """

    prompt_ids: tuple[int, ...]
    max_tokens: int
    force_length: bool = True
    sampling: Sampling = Sampling()
    stop_ids: frozenset[int] = frozenset()
    reuse_prefix: bool = False

    def check(self, context: int, vocabulary: int) -> None:
        """Raise GenerationFailed for what no engine can do: call it first in `generate`.

        `context` is the size asked for in LoadOptions, `vocabulary` the model's number of ids.
        """
        if not self.prompt_ids:
            raise GenerationFailed("the prompt is empty: at least one token id is needed")
        if self.max_tokens < 1:
            raise GenerationFailed(f"max_tokens is {self.max_tokens}: at least 1 is needed")
        if len(self.prompt_ids) + self.max_tokens > context:
            raise GenerationFailed(
                f"{len(self.prompt_ids)} prompt tokens and {self.max_tokens} new ones exceed "
                f"the context of {context}"
            )
        bad = next((i for i in self.prompt_ids if not 0 <= i < vocabulary), None)
        if bad is not None:
            raise GenerationFailed(f"token id {bad} is outside the vocabulary of {vocabulary}")


@dataclass(frozen=True, slots=True)
class Token:
    """One generated token: its id and the text it adds (empty while a UTF-8 character is split)."""

    id: int
    text: str


@dataclass(frozen=True)
class Rendering:
    """What an engine makes of a conversation: the text, and the ids that the model would be fed.

    `pieces` are the texts of the ids, special tokens by their own spelling; empty where the engine
    can't say. `text` is what the engine's tokenizer got: a BOS may be in it or be added to `ids`.
    `ids` is None where an engine shows no more than the text.
    """

    text: str
    ids: tuple[int, ...] | None
    pieces: tuple[str, ...] = ()


class Backend(Protocol):
    """One engine. Small, synchronous, created without arguments, used by one thread.

    An optional class attribute `gaps`, from a check's name (`backends.conformance`) to `never: …`,
    `notyet: …` or `notimpl: …`, says what the engine can't do and why; that it refuses is checked.
    """

    name: str
    formats: frozenset[str]

    def probe(self) -> Availability:
        """Import the engine and say what it is. Never raises, loads no model."""
        ...

    def load(self, artifact: Artifact, options: LoadOptions) -> None:
        """Open the artifact, so that `generate` can be called.

        Raises LoadFailed (with the file), Unsupported (an option), Unavailable (no engine).
        """
        ...

    def generate(self, request: Request) -> Iterator[Token]:
        """Yield tokens as they are made, one at a time. Closing the iterator cancels.

        Raises Unsupported before the first token for what the engine can't do, and
        GenerationFailed for what breaks later (a prompt beyond the context, too).
        """
        ...

    def close(self) -> None:
        """Free the model. Idempotent; `load` may follow."""
        ...


@runtime_checkable
class Tokenizes(Protocol):
    """Ability: the loaded model's own tokenizer."""

    def tokenize(self, text: str) -> list[int]:
        """Ids of `text`, with the special tokens that the model's tokenizer adds by itself (BOS)."""
        ...

    def detokenize(self, ids: Sequence[int]) -> str:
        """Text of `ids`; special tokens are left out, invalid UTF-8 becomes U+FFFD."""
        ...


@runtime_checkable
class Claims(Protocol):
    """Ability: what the engine says about its last request. Kept as a claim, never as a measure."""

    def claims(self) -> Mapping[str, float]:
        """Known keys: `prefill_tokens` (count), `prefill_ms`, `decode_tokens`, `decode_ms`, `load_ms`;
        of a server also `http_overhead_ms_per_token`, `http_overhead_ms_per_request`, `text_prompt_ms`
        and `server_rss_bytes`."""
        ...


@runtime_checkable
class RendersChat(Protocol):
    """Ability: the engine's own chat formatting, through the call that an application makes."""

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        prefill: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> Rendering:
        """The prompt for the next assistant message, exactly as the engine would feed the model.

        `messages` have `role` and `content`. With `prefill` the last one is the beginning of the
        assistant's answer, to be continued; an engine without such an option is given the messages
        as they are. `variables` are further template variables, such as `date_string`.

        Raises Rejected for what the template refuses, Unsupported for variables that the engine
        cannot take.
        """
        ...


@runtime_checkable
class Scores(Protocol):
    """Ability: the model's next-token distribution at every position of given ids."""

    def logits(self, ids: Sequence[int]) -> Any:
        """A float32 numpy array (len(ids), vocabulary): row i judges the token after ids[: i + 1].

        The raw logits, before any sampling filter. Raises GenerationFailed, as `generate` does.
        """
        ...


@runtime_checkable
class Draws(Protocol):
    """Ability: many first tokens of one prompt, for the price of evaluating it once."""

    def draw(
        self, prompt_ids: Sequence[int], sampling: Sampling, seeds: Sequence[int]
    ) -> list[int]:
        """For each seed the token that `generate` would give first, by the very same sampler.

        `sampling.seed` is not used. Raises GenerationFailed, as `generate` does, and Unsupported
        for sampling that only `generate` can do, or the engine can't at all.
        """
        ...


@runtime_checkable
class ScoresTop(Protocol):
    """Ability: the most likely next tokens at every position, where an engine shows no more."""

    def top_logprobs(self, ids: Sequence[int]) -> Sequence[Sequence[tuple[int, float]]]:
        """Per position (id, natural log-probability) of the engine's best next tokens."""
        ...


ABILITIES: Mapping[str, type] = {
    "tokenizes": Tokenizes,
    "claims": Claims,
    "renders_chat": RendersChat,
    "scores": Scores,
    "scores_top": ScoresTop,
    "draws": Draws,
}
"""By the names that bakeoff shows. A claim: only a conformance run tells whether it is true."""
