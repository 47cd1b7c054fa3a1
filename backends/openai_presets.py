"""What each OpenAI-compatible server can be told, and by which names: the protocol leaves it open.

A parameter that a server has no name for is refused unless it is off. What has been run and what
is written from documentation is in docs/servers.md.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from backends.api import Request, Sampling, Unsupported

Paths = tuple[str | int, ...]
"""An endpoint, and the way to a value in its JSON."""

_ALL = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed")


@dataclass(frozen=True)
class Tokenizer:
    """The server's endpoints for its own tokenizer; `extra` makes it find special tokens."""

    encode: str
    text: str
    decode: str
    answer: str
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Preset:
    """One kind of server.

    `sampling` maps the names of `Sampling` to the server's. `late_temperature` says that it
    divides by the temperature after top-p and min-p, which makes another distribution of the
    same numbers. `unproven` are sent to say that they are off, to a server that may know no such
    names. Seeds below `seeds` are taken as they are. `fresh` is how it is made to evaluate a whole
    prompt: told to, or by another prompt between any two (`between`), with which no prompt begins.
    None if neither is known to work.
    """

    name: str
    path: str = "/v1/completions"
    native: bool = False
    command: str | None = None
    health: str = "/v1/models"
    ids_in: bool = True
    ids_out: bool = True
    tokenizer: Tokenizer | None = None
    sampling: Mapping[str, str] = field(default_factory=dict)
    unproven: Mapping[str, Any] = field(default_factory=dict)
    seeds: int = 2**32 - 1  # this very one means "draw one" to llama.cpp
    late_temperature: bool = False
    force: Literal["ignore_eos", "logit_bias"] = "ignore_eos"
    fresh: Literal["cache_prompt", "cache_salt", "between"] | None = None
    usage: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict)
    version: Paths = ()
    model: Paths = ("/v1/models", "data", 0, "id")
    file: Paths = ()
    context: Paths = ()
    vocabulary: Paths = ()
    gaps: Mapping[str, str] = field(default_factory=dict)

    @property
    def controlled(self) -> str:
        """How far sampling is, for the record."""
        if not self.unproven:
            return "all told"
        names = ", ".join(self.unproven)
        return f"not controlled: {names}, told to be off by vLLM's names, which it may not know"

    def body(
        self, request: Request, prompt: str | list[int], model: str, end_ids: tuple[int, ...]
    ) -> dict[str, Any]:
        """The request's JSON. Raises Unsupported for what this server cannot be told."""
        body: dict[str, Any] = {
            "prompt": prompt,
            "stream": True,
            ("n_predict" if self.native else "max_tokens"): request.max_tokens,
            **({"model": model} if model else {}),
            **self.extra,
            **self.unproven,
            **self._sampling(request.sampling),
        }
        if self.native:
            # The penalty sees the whole sequence; some versions refuse the -1 that would say so.
            body["repeat_last_n"] = len(request.prompt_ids) + request.max_tokens
        if self.usage:
            body["stream_options"] = {"include_usage": True}
        if request.force_length:
            body |= self._forced(end_ids)
        if self.fresh == "cache_prompt":
            body["cache_prompt"] = request.reuse_prefix
        elif self.fresh == "cache_salt" and not request.reuse_prefix:
            body["cache_salt"] = secrets.token_hex(16)
        return body

    def _sampling(self, asked: Sampling) -> dict[str, Any]:
        off = Sampling()
        lost = [
            f"{name} {getattr(asked, name)}"
            for name in _ALL
            if name not in self.sampling and getattr(asked, name) != getattr(off, name)
        ]
        if lost:
            raise Unsupported(f"the server {self.name} takes no {', no '.join(lost)}")
        if not asked.greedy and not 0 <= asked.seed < self.seeds:
            raise Unsupported(
                f"seed {asked.seed}: the server {self.name} is given 0 to {self.seeds - 1}"
            )
        filtered = asked.top_p != 1.0 or asked.min_p != 0.0
        if self.late_temperature and asked.temperature not in (0.0, 1.0) and filtered:
            raise Unsupported(
                f"the server {self.name} applies the temperature after top_p and min_p: the same "
                "numbers mean another distribution than in other engines"
            )
        return {theirs: getattr(asked, ours) for ours, theirs in self.sampling.items()}

    def _forced(self, end_ids: tuple[int, ...]) -> dict[str, Any]:
        if self.force == "ignore_eos":
            return {"ignore_eos": True}
        if not end_ids:
            raise Unsupported(
                f"the server {self.name} ignores ends by a logit bias only: say which ids end a "
                'sequence in the option end_ids, such as "0,2"'
            )
        return {"logit_bias": {str(i): -100 for i in end_ids}}


_LLAMA_SERVER = Preset(
    "llama-server",
    # Its own endpoint: what it sends on /v1/completions has no ids.
    path="/completion",
    native=True,
    command=(
        "llama-server -m {model} --host 127.0.0.1 --port {port} -c {context} -t {threads} "
        "-tb {threads} --parallel 1 --cache-ram 0 --no-webui"
    ),
    health="/health",
    tokenizer=Tokenizer(
        "/tokenize",
        "content",
        "/detokenize",
        "content",
        {"add_special": True, "parse_special": True},
    ),
    sampling={**{name: name for name in _ALL}, "repetition_penalty": "repeat_penalty"},
    fresh="cache_prompt",
    usage=False,
    extra={
        "return_tokens": True,
        # The order of the other engines, and nothing beside it (dry, xtc, typical …).
        "samplers": ["penalties", "temperature", "top_k", "top_p", "min_p"],
    },
    version=("/props", "build_info"),
    file=("/props", "model_path"),
    context=("/props", "default_generation_settings", "n_ctx"),
    vocabulary=("/v1/models", "data", 0, "meta", "n_vocab"),
    gaps={
        "characters_arrive_whole": "never: the tokens of a split character come together, "
        "with the last id only",
        "context_usable": "never: the server ends one token before its context is full",
    },
)

PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        _LLAMA_SERVER,
        replace(
            _LLAMA_SERVER,
            name="xllamacpp",
            command=(
                "{python} {here}/openai_xllamacpp.py --model {model} --port {port} "
                "--context {context} --threads {threads}"
            ),
        ),
        Preset(
            "llama-cpp-python",
            command=(
                "{python} -m llama_cpp.server --model {model} --host 127.0.0.1 --port {port} "
                "--n_ctx {context} --n_threads {threads} --n_threads_batch {threads} "
                # Else any other request, such as for a token's id, ends the one that runs.
                "--interrupt_requests false"
            ),
            ids_in=False,
            ids_out=False,
            tokenizer=Tokenizer("/extras/tokenize", "input", "/extras/detokenize", "text"),
            # Its repetition penalty sees the last 64 tokens only: not what is asked for.
            sampling={n: n for n in _ALL if n != "repetition_penalty"},
            late_temperature=True,
            force="logit_bias",
            # It keeps the last prompt only, and always.
            fresh="between",
            usage=False,
            extra={"repeat_penalty": 1.0},
            version=("/openapi.json", "info", "version"),
            gaps={
                "characters_arrive_whole": "never: it shows text only, of which a part of a "
                "character is none"
            },
        ),
        Preset(
            "vllm",
            command=(
                "{python} -m vllm.entrypoints.openai.api_server --model {model} --host 127.0.0.1 "
                "--port {port} --max-model-len {context}"
            ),
            health="/health",
            tokenizer=Tokenizer("/tokenize", "prompt", "/detokenize", "prompt"),
            sampling={n: n for n in _ALL},
            seeds=2**63,
            fresh="cache_salt",
            extra={"return_token_ids": True, "add_special_tokens": False},
            version=("/version", "version"),
            context=("/v1/models", "data", 0, "max_model_len"),
        ),
        # Refused: neither ids nor a tokenizer.
        Preset("mlx-lm", ids_in=False),
        Preset("transformers", ids_in=False),
        Preset(
            "generic",
            sampling={n: n for n in ("temperature", "top_p", "seed")},
            # vLLM and SGLang have their own defaults for these, from the model's files. A top_k of
            # 0 is refused by SGLang.
            unproven={"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0},
            extra={"return_token_ids": True},
        ),
    )
}
