"""LiteRT-LM: .litertlm files on the CPU, through sessions of its Python API.

A session takes text and gives text, no token ids. It is given the same work all the same: the ids
are made a text, the engine's own tokenizer must make these very ids of it again, and the number of
tokens that the engine says it evaluated must be theirs; else the request is refused. The ids of
the answer are those that the tokenizer makes of each chunk, and a chunk must be one token. They
are found when somebody reads them, after the worker's timing, unless they are to be stopped at.

What this engine does, where engines differ:

- It begins each session with the file's start token, if the file names one.
- At a stop token of the file it ends, whatever was asked for: a forced length can't be forced on.
  It sends no chunk for that token, which shows in its own count only. Which one it was is known
  where the file has one; of several none is given, and the answer ends before it.
- It decodes ahead in a thread of its own while the reader does something else.
- A character whose bytes are split over tokens comes with the last of them, in one chunk.
- Room for keys and values is `max_num_tokens`, the context; the file's own cache bounds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import Any

from backends import checks
from backends.api import (
    Artifact,
    Availability,
    GenerationFailed,
    LoadFailed,
    LoadOptions,
    Rejected,
    Rendering,
    Request,
    Sampling,
    Token,
    Unavailable,
    Unsupported,
)
from backends.text import LateToken

REMEDY = "bakeoff engines install litert-lm"
SEED_LIMIT = 2**31
BROKEN = (RuntimeError, UnicodeDecodeError)
"""What the engine raises: the second for a text that ends within a character."""
ANY_VOCABULARY = 2**31
"""The engine tells no size; an id that it doesn't have is none that its tokenizer makes."""
UNUSED = 1024
"""So many ids without a text in a row: the vocabulary has ended."""
ALL = 2**20
"""A top_k that leaves every token, for an engine that wants one above 0."""
NO_CACHE = ":nocache"
"""Else the engine writes its packed weights beside the model, and loads from there the next time."""


class LiteRTLM:
    """One file in one engine; a session per request."""

    name = "litert-lm"
    formats = frozenset({"litertlm"})
    gaps: Mapping[str, str] = {
        "min_p_honoured": "never: the engine has no such filter",
        "repetition_penalty_honoured": "never: only conversations have one, which take no plain text",
        "prefix_reused_on_request": "notimpl: the adapter makes a new session per request",
        "scores": "never: the engine scores texts, it shows no logits",
        "scores_top": "never: the engine scores texts, it shows no candidates",
        "draws": "notimpl: a session would be needed per draw, which is what `generate` does",
    }

    def __init__(self) -> None:
        self._lib: Any = None
        self._engine: Any = None
        self._session: Any = None
        self._ids: dict[str, int] = {}
        self._texts: dict[str, int] = {}
        self._limit = 0
        self._claims: dict[str, float] = {}

    def probe(self) -> Availability:
        """Version; the engine says nothing of its build, and is asked for its CPU backend only."""
        try:
            lib = _import()
            types = ", ".join(kind.name.lower() for kind in lib.ActivationDataType)
            return Availability(
                version("litert-lm-api"), "litert-lm-api", {"activations": types}, ("cpu",)
            )
        except Unavailable as error:
            return Availability(reason=error.reason, remedy=error.remedy)
        except Exception as error:
            return Availability(reason=f"litert-lm-api is broken: {error}", remedy=REMEDY)

    def load(self, artifact: Artifact, options: LoadOptions) -> None:
        """Open the file; nothing is cached on disk, so that every load is a first one."""
        self.close()
        checks.options("litert-lm", options)
        lib = _import()
        path = artifact.path
        if not path.is_file():
            raise LoadFailed(path, "no such file")
        try:
            with lib.ModelInfo(str(path)) as info:
                most = None if info.is_dynamic_context else info.max_context_tokens or None
            checks.context(options, most)
            self._engine = lib.Engine(
                str(path),
                lib.Backend.CPU(thread_count=options.threads),
                max_num_tokens=options.context,
                cache_dir=NO_CACHE,
                activation_data_type=lib.ActivationDataType.FLOAT32,
                enable_speculative_decoding=False,
                enable_benchmark=True,
            )
        except Unsupported:
            raise
        except Exception as error:
            self.close()
            raise LoadFailed(path, f"litert-lm cannot load it: {error}") from error
        self._lib, self._limit = lib, options.context

    def generate(self, request: Request) -> Iterator[Token]:
        """A new session: its prefill, then its stream of chunks."""
        text = self._text(request)
        stops = frozenset() if request.force_length else request.stop_ids
        self._claims, made = {}, 0
        try:
            session = self._open(request)
            session.run_prefill([text])
            self._check_evaluated(session, request)
            for chunk in session.run_decode_async():
                for token in self._tokens(chunk.texts[0]):
                    made += 1
                    yield token
                    if stops and token.id in stops:
                        return
            yield from self._ended(session, request, made)
        except BROKEN as error:
            raise GenerationFailed(f"litert-lm: {error}") from error
        finally:
            self._end()

    def close(self) -> None:
        """End the session and free the engine."""
        self._end()
        engine, self._engine = self._engine, None
        self._ids, self._texts = {}, {}
        if engine is not None:
            engine.close()

    def tokenize(self, text: str) -> list[int]:
        """Special tokens written out in the text are recognised; the file's start token, if it
        names one, is added as a session adds it."""
        start = self._loaded().bos_token_id
        return ([] if start is None else [start]) + self._encode(text)

    def detokenize(self, ids: Sequence[int]) -> str:
        """As the engine writes them."""
        engine = self._loaded()
        try:
            return str(engine.detokenize(list(ids))) if ids else ""
        except BROKEN as error:
            raise GenerationFailed(f"litert-lm: {error}") from error

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        prefill: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> Rendering:
        """The text that a conversation makes of them, and the ids that the tokenizer makes of it."""
        engine = self._loaded()
        try:
            *before, last = [dict(message) for message in messages]
            with engine.create_conversation(
                messages=before, extra_context=dict(variables or {})
            ) as conversation:
                text = conversation.render_message_to_string(last)
        except Exception as error:
            raise Rejected(f"{type(error).__name__}: {error}") from error
        if not text:
            raise Rejected(
                "the engine gave no text: its Jinja can't run the file's template on them"
            )
        return Rendering(text, tuple(self.tokenize(text)))

    def claims(self) -> Mapping[str, float]:
        """The engine's own counts and times of the last session."""
        return dict(self._claims)

    def _open(self, request: Request) -> Any:
        self._end()
        self._session = self._loaded().create_session(
            apply_prompt_template=False,
            sampler_config=self._lib.SamplerConfig(**_sampler(request.sampling)),
            max_output_tokens=request.max_tokens,
        )
        return self._session

    def _text(self, request: Request) -> str:
        """The text for which the engine's tokenizer makes the very ids. Raises Unsupported."""
        self._loaded()
        if request.reuse_prefix:
            raise Unsupported("reuse_prefix: a session's cache ends with its request")
        _sampler(request.sampling)
        request.check(self._limit, ANY_VOCABULARY)
        text = self.detokenize(request.prompt_ids)
        if tuple(self.tokenize(text)) != request.prompt_ids:
            raise Unsupported(
                f"the prompt's {len(request.prompt_ids)} ids: the engine takes text, and reads "
                "theirs as other ids"
            )
        return text

    def _check_evaluated(self, session: Any, request: Request) -> None:
        said = session.get_benchmark_info()
        count, speed = said.last_prefill_token_count, said.last_prefill_tokens_per_second
        self._claims = {"prefill_tokens": float(count), "load_ms": said.init_time_in_second * 1e3}
        if speed > 0:
            self._claims["prefill_ms"] = count / speed * 1e3
        if count != len(request.prompt_ids):
            raise Unsupported(
                f"the engine evaluated {count} tokens for a prompt of {len(request.prompt_ids)}"
            )

    def _ended(self, session: Any, request: Request, made: int) -> Iterator[Token]:
        """By its own count the engine made the tokens that came, or one more: a stop token."""
        said = session.get_benchmark_info()
        count, speed = said.last_decode_token_count, said.last_decode_tokens_per_second
        self._claims["decode_tokens"] = float(count)
        if speed > 0:
            self._claims["decode_ms"] = count / speed * 1e3
        if made == count == request.max_tokens:
            return
        ends = self._loaded().eos_token_ids
        if made + 1 != count or not ends:
            raise GenerationFailed(f"the engine made {count} tokens, chunks for {made} came")
        if request.force_length and count < request.max_tokens:
            raise GenerationFailed(
                f"told to make {request.max_tokens} tokens, the engine ended at its stop token "
                f"after {count}: a session can't be told to go on"
            )
        if len(ends) == 1 and len(ends[0]) == 1:
            yield Token(ends[0][0], "")
        elif request.force_length:
            raise GenerationFailed(
                f"the last of {count} tokens was a stop token, which has no chunk: which of the "
                f"file's {len(ends)} it was is unknown"
            )

    def _tokens(self, text: str) -> Iterator[Token]:
        """The tokens of a chunk: one, or those of a character whose bytes are split."""
        if "\ufffd" in text:
            raise GenerationFailed("the chunk holds a broken character: its tokens are unknown")
        split = () if text.isascii() else self._split(text)
        for i in split[:-1]:
            yield Token(i, "")
        yield Token(split[-1], text) if split else LateToken(text, self._id)

    def _split(self, text: str) -> Sequence[int]:
        """The ids of a character whose bytes are split over tokens; none if the text is one token.

        It takes some hundredths of a millisecond, and only here: how many tokens a chunk is must be
        known at once. A text whose beginning is whole would have come as a chunk of its own.
        """
        ids = self._encode(text)
        return ids if all(self._broken(ids[:n]) for n in range(1, len(ids))) else ()

    def _broken(self, ids: Sequence[int]) -> bool:
        """Whether their text ends within a character."""
        try:
            return str(self._loaded().detokenize(list(ids))).endswith("\ufffd")
        except UnicodeDecodeError:
            return True

    def _id(self, text: str) -> int:
        """The one token that has this text."""
        if text not in self._ids:
            ids = self._encode(text)
            # A tokenizer splits some tokens' own texts, such as a word with a line's end.
            found = ids[0] if len(ids) == 1 else self._alone().get(text)
            if found is None:
                raise GenerationFailed(
                    f"the chunk {text[:40]!r} is {len(ids)} tokens: which is unknown"
                )
            self._ids[text] = found
        return self._ids[text]

    def _encode(self, text: str) -> list[int]:
        """Without the file's start token."""
        try:
            return list(self._loaded().tokenize(text))
        except BROKEN as error:
            raise GenerationFailed(f"litert-lm: {error}") from error

    def _alone(self) -> Mapping[str, int]:
        """Every token by its text, made when first needed: one or two seconds."""
        if not self._texts:
            empty = token = 0
            while empty < UNUSED:
                text = self.detokenize([token])
                empty = 0 if text else empty + 1
                if text and "\ufffd" not in text:
                    self._texts.setdefault(text, token)
                token += 1
        return self._texts

    def _loaded(self) -> Any:
        if self._engine is None:
            raise GenerationFailed("no model is loaded")
        return self._engine

    def _end(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            with suppress(RuntimeError):
                session.cancel_process()
            session.close()


def _import() -> Any:
    try:
        import litert_lm
    except ImportError as error:
        raise Unavailable(f"litert-lm-api is not installed ({error})", REMEDY) from error
    except (OSError, RuntimeError) as error:
        raise Unavailable(f"litert-lm-api does not load: {error}", REMEDY) from error
    litert_lm.set_min_log_severity(litert_lm.LogSeverity.ERROR)
    return litert_lm


def _sampler(sampling: Sampling) -> dict[str, Any]:
    """SamplerConfig's fields, all of them."""
    if sampling.min_p > 0.0:
        raise Unsupported("min_p: litert-lm has no such filter; set it to 0")
    if sampling.repetition_penalty != 1.0:
        raise Unsupported("repetition_penalty: a session has none; set it to 1")
    if sampling.greedy:
        return {"top_k": 1, "top_p": 1.0, "temperature": 1.0, "seed": 0}
    if not 0 <= sampling.seed < SEED_LIMIT:
        raise Unsupported(f"seed {sampling.seed}: litert-lm takes 0 to {SEED_LIMIT - 1}")
    return {
        "top_k": sampling.top_k or ALL,
        "top_p": sampling.top_p,
        "temperature": sampling.temperature,
        "seed": sampling.seed,
    }
