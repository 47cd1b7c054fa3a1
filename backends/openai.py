"""Any OpenAI-compatible server over HTTP: one that bakeoff starts, or one that runs already.

The prompt is sent as token ids and the answer's ids are read back, where the server can do both.
Where it can't, that is refused, or accepted openly by an option of the scenario. What each server
is told, what it can't be told, and what was seen to run is in docs/servers.md.

What this adapter does where servers differ:

- A chunk that holds another number of tokens than one fails the request (`openai_stream`).
- The prompt is evaluated anew: `cache_prompt: false`, a salt, or another prompt between any two;
  else `prefix_reuse: true` must say that the server may keep what it likes.
- Times hold what HTTP costs. It is measured against a loopback server and told as a claim.
- A server that runs already is seen from outside only: neither its threads nor its memory are
  known, whatever the record's memory says about this client.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from time import perf_counter_ns
from typing import Any

from backends import openai_echo, openai_options, openai_process, openai_stream
from backends.api import (
    Artifact,
    Availability,
    BackendError,
    GenerationFailed,
    LoadFailed,
    LoadOptions,
    Request,
    Token,
    Unsupported,
)
from backends.openai_http import Address, Client, address, first
from backends.openai_options import Settings
from backends.openai_presets import Paths, Preset, Tokenizer
from backends.openai_stream import Tally
from backends.text import LateToken

_ANY_VOCABULARY = 2**31
_BETWEEN = "\u241e"  # a symbol that no prompt begins with
_ASK_S = 5.0


class OpenAIServer:
    """One server, and one request to it at a time."""

    name = "openai"
    formats = frozenset({"gguf", "hf", "mlx", "mlc", "openvino"})
    gaps: Mapping[str, str] = {
        "work_in_process": "never: the engine is a server in a process of its own, counted with it",
    }

    # Abilities of some servers only: set when one is loaded that has them.
    tokenize: Callable[[str], list[int]]
    detokenize: Callable[[Sequence[int]], str]

    def __init__(self) -> None:
        self._settings: Settings | None = None
        self._client: Client | None = None
        self._server: openai_process.Server | None = None
        self._model = ""
        self._limit = 0
        self._vocabulary = _ANY_VOCABULARY
        self._tally = Tally()
        self._overhead: Mapping[str, float] = {}
        self._text_ms: float | None = None
        self._sent: tuple[tuple[int, ...], str] | None = None
        self._kept = False  # the server holds a prompt that the next one may begin with
        self._ids: dict[str, int] = {}
        self._facts: dict[str, str] = {}

    def probe(self) -> Availability:
        """The protocol; once a server is loaded, what it says that it is."""
        if self._settings is None or self._client is None:
            return Availability("v1", build={"protocol": "completions over HTTP"}, devices=("cpu",))
        preset = self._settings.preset
        said = self._try(preset.version)
        version = preset.name if said is None else f"{preset.name} {str(said)[:80]}"
        return Availability(version, build=self._facts, devices=("cpu",))

    def load(self, artifact: Artifact, options: LoadOptions) -> None:
        """Start the server and wait until it is ready, or connect to the one that runs."""
        self.close()
        settings = openai_options.read(options)
        _refuse(settings)
        if not artifact.path.exists():
            raise LoadFailed(artifact.path, "no such file")
        try:
            self._settings, self._limit = settings, options.context
            self._open(artifact, options, settings)
            self._compare(artifact, options, settings.preset)
            self.gaps = {**type(self).gaps, **settings.preset.gaps}
        except GenerationFailed as error:
            self.close()
            raise LoadFailed(artifact.path, error.reason, error.remedy) from None
        except BackendError:
            self.close()
            raise

    def _open(self, artifact: Artifact, options: LoadOptions, settings: Settings) -> None:
        preset = settings.preset
        times = settings.stall_timeout_s, settings.request_timeout_s, settings.key
        if settings.url is not None:
            self._client = Client(address(settings.url), *times)
            if why := self._client.trouble(preset.health, settings.start_timeout_s):
                raise GenerationFailed(why)
            return
        port = settings.port or openai_process.free_port()
        client = self._client = Client(Address("127.0.0.1", port), *times)
        command = openai_process.words(
            str(settings.command),
            {
                "model": str(artifact.path),
                "port": str(port),
                "context": str(options.context),
                "threads": str(options.threads),
                "device": options.device,
            },
        )
        self._server = openai_process.Server(command, settings.key_name, client.clean)
        self._server.wait_for(
            lambda left: client.trouble(preset.health, min(left, _ASK_S)), settings.start_timeout_s
        )
        if end := self._server.ended():  # so somebody else has answered
            raise GenerationFailed(f"port {port} is another server's: ours {end}")

    def _compare(self, artifact: Artifact, options: LoadOptions, preset: Preset) -> None:
        """Is it the model and the context that were asked for, as far as the server tells?"""
        assert self._settings is not None
        context = self._try(preset.context)
        if isinstance(context, int) and context < options.context:
            raise GenerationFailed(
                f"the server has a context of {context}, {options.context} is asked for"
            )
        file = self._try(preset.file)
        if isinstance(file, str) and file.rpartition("/")[2] != artifact.path.name:
            raise GenerationFailed(f"the server holds another model: {file[:200]}")
        vocabulary = self._try(preset.vocabulary)
        self._vocabulary = vocabulary if isinstance(vocabulary, int) else _ANY_VOCABULARY
        self._model = self._settings.model or str(self._try(preset.model) or "")
        if preset.tokenizer is not None:
            self.tokenize, self.detokenize = self._tokenizer(preset.tokenizer)
        self._facts = {
            "server": preset.name,
            "model": self._model[:200],
            "prompt": "token ids" if preset.ids_in else "text, for ids that it reads the same",
            "ids": "the server's" if preset.ids_out else "by the server's tokenizer, from the text",
            "prefixes": "evaluated anew" if preset.fresh else "kept by the server",
            "sampling": preset.controlled,
            "memory": "of the worker and the server" if self._server else "of the client only",
            "threads": "told" if "{threads}" in (self._settings.command or "") else "not told",
        }
        print("server:", self._facts, flush=True)  # noqa: T201 - into the trial's log

    def generate(self, request: Request) -> Iterator[Token]:
        """One streamed completion. Closing the iterator hangs up, which ends it in the server."""
        settings, client = self._loaded()
        self._settle()
        request.check(self._limit, self._vocabulary)
        preset = settings.preset
        if request.reuse_prefix and preset.fresh not in ("cache_prompt", "cache_salt"):
            raise Unsupported(f"the server {preset.name} cannot be told to reuse a prefix")
        if not request.force_length and request.stop_ids and not preset.ids_out:
            raise Unsupported(f"the server {preset.name} gives no ids to stop at")
        tally = self._tally = Tally()
        try:
            prompt = list(request.prompt_ids) if preset.ids_in else self._text(request)
            body = preset.body(request, prompt, self._model, settings.end_ids)
            lines = client.lines(preset.path, body)
            self._kept = preset.fresh == "between"
            try:
                stream = openai_stream.events(lines, preset.native)
                for token, text in openai_stream.tokens(
                    stream, request, tally, native=preset.native, ids_out=preset.ids_out
                ):
                    if self._client is not client:
                        raise GenerationFailed("the server was closed during generation")
                    text = client.clean(text)
                    yield LateToken(text, self._id) if token is None else Token(token, text)
            finally:
                lines.close()  # type: ignore[attr-defined]
        except GenerationFailed as error:
            more = self._server.obituary() if self._server else ""
            raise GenerationFailed(client.clean(error.reason) + more, error.remedy) from None

    def close(self) -> None:
        """Stop the server, if it is ours."""
        if self._server is not None:
            self._server.stop()
        self._server = self._client = self._settings = self._sent = None
        self._kept = False
        self._ids, self._facts, self._tally = {}, {}, Tally()
        for ability in ("tokenize", "detokenize"):
            with suppress(AttributeError):
                delattr(self, ability)

    def claims(self) -> Mapping[str, float]:
        """The server's counters for the last request, and what HTTP costs here.

        What is asked for here is asked when the request is over, since nobody times it then.
        """
        settings, _ = self._loaded()
        self._settle()
        self._overhead = self._overhead or openai_echo.overhead()
        found: dict[str, float] = dict(self._overhead)
        if self._text_ms is not None:
            found["text_prompt_ms"] = self._text_ms
        if settings.pid is not None and (held := openai_process.memory(settings.pid)) is not None:
            found["server_rss_bytes"] = float(held)
        timings, usage = self._tally.timings, self._tally.usage
        names = ("prompt_n", "prompt_ms", "predicted_n", "predicted_ms")
        if all(isinstance(timings.get(name), int | float) for name in names):
            found["prefill_tokens"], found["prefill_ms"] = timings["prompt_n"], timings["prompt_ms"]
            # It times from the first token on, so that one is not in it.
            found["decode_tokens"] = timings["predicted_n"] - 1
            found["decode_ms"] = timings["predicted_ms"]
        cached = first(usage, "prompt_tokens_details", "cached_tokens")
        if isinstance(cached, int) and self._tally.prompt is not None:
            found["prefill_tokens"] = self._tally.prompt - cached
        return found

    def _loaded(self) -> tuple[Settings, Client]:
        if self._settings is None or self._client is None:
            raise GenerationFailed("no model is loaded")
        return self._settings, self._client

    def _try(self, where: Paths) -> Any:
        """What the server tells there, None where it doesn't."""
        if not where or self._client is None:
            return None
        with suppress(GenerationFailed):
            return first(self._client.ask("GET", str(where[0]), total_s=_ASK_S), *where[1:])
        return None

    def _tokenizer(
        self, made: Tokenizer
    ) -> tuple[Callable[[str], list[int]], Callable[[Sequence[int]], str]]:
        def tokenize(text: str) -> list[int]:
            answer = self._loaded()[1].ask("POST", made.encode, {made.text: text, **made.extra})
            ids = first(answer, "tokens")
            if not isinstance(ids, list) or not all(type(i) is int for i in ids):
                raise GenerationFailed(f"{made.encode}: the server's answer holds no ids")
            return ids

        def detokenize(ids: Sequence[int]) -> str:
            answer = self._loaded()[1].ask("POST", made.decode, {"tokens": list(ids)})
            text = first(answer, made.answer)
            if not isinstance(text, str):
                raise GenerationFailed(f"{made.decode}: the server's answer holds no text")
            return text

        return tokenize, detokenize

    def _text(self, request: Request) -> str:
        began = perf_counter_ns()
        text = self.detokenize(request.prompt_ids)
        if text.startswith(_BETWEEN):
            raise Unsupported(f"a prompt that begins with {_BETWEEN!r}")
        self._text_ms = (perf_counter_ns() - began) / 1e6
        self._sent = (request.prompt_ids, text)
        return text

    def _settle(self) -> None:
        """What the last request left to do, when nobody times it.

        Does the server read the text that was sent as the ids that were asked for? And it is given
        another prompt, where that is what makes it forget the last one.
        """
        if self._sent is not None:
            (ids, text), self._sent = self._sent, None
            read = self.tokenize(text)
            if tuple(read) != ids:
                raise GenerationFailed(
                    f"sent as text, the prompt of {len(ids)} ids is {len(read)} other ids to the "
                    "server"
                )
        if self._kept:
            settings, client = self._loaded()
            body = {"prompt": _BETWEEN, "max_tokens": 1, "temperature": 0.0, "model": self._model}
            client.ask("POST", settings.preset.path, body)
            self._kept = False

    def _id(self, text: str) -> int:
        """The id of a token that came as text: the one that the server's tokenizer makes of it."""
        if text not in self._ids:
            added = len(self.tokenize(""))
            ids = self.tokenize(text)[added:]
            if len(ids) != 1:
                raise GenerationFailed(
                    f"the chunk {text[:40]!r} is {len(ids)} tokens to the server's tokenizer: "
                    "which ones were made is not known"
                )
            self._ids[text] = ids[0]
        return self._ids[text]


def _refuse(settings: Settings) -> None:
    """What this server cannot do, before it is started."""
    preset = settings.preset
    if not preset.ids_in and not settings.text_prompt:
        raise Unsupported(
            f"the server {preset.name} takes no token ids as a prompt",
            "text_prompt: true sends text, and fails where the server reads it as other ids",
        )
    if preset.fresh is None and not settings.prefix_reuse:
        raise Unsupported(
            f"the server {preset.name} cannot be told to evaluate the whole prompt anew",
            "prefix_reuse: true accepts that it may keep prefixes",
        )
