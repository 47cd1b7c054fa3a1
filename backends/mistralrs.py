"""mistral.rs through its Python Runner: GGUF files on the CPU.

The Runner takes a text and no ids. So the prompt is sent as the text of its ids, once the engine's own
tokenizer has shown that it reads that text as those ids again; else the request is refused. Its count
of the prompt's tokens is compared when the request is over. The text goes through a chat template that
holds nothing but the message, the one way that streams.

What this engine does, where engines differ:

- A token's id comes with its log-probability, which is therefore asked for: some work per token.
- A special token is made in silence: neither its id nor a chunk comes. So all of them are forbidden by
  a logit bias, but for the one that ends the sequence where the length is not forced. This touches the
  logits, and a greedy answer is another one from the first special token on.
- The tokens of a character that is split over them come together, when it is whole.
- Only greedy decoding: the engine's random numbers can't be seeded on the CPU.
- Keys and values are f16, its own default. The cache grows as needed: `context` is only a bound.
- Threads are rayon's, of which a process has one pool, made when the first model is opened.
"""

from __future__ import annotations

import codecs
import gc
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from backends import checks, gguf_header
from backends.api import (
    Artifact,
    Availability,
    GenerationFailed,
    LoadFailed,
    LoadOptions,
    Request,
    Token,
    Unavailable,
    Unsupported,
)

REMEDY = "bakeoff engines install mistralrs"
DTYPES = {"f32": "F32", "bf16": "BF16", "f16": "F16"}
KV_F32 = "MISTRALRS_CPU_KV_F32"
EXTRA = {"dtype", KV_F32}
FORBIDDEN = -1e9
NO_SEED = "the engine's random numbers can't be seeded on the CPU"

_threads: int | None = None  # of rayon's pool, once this process has one


class MistralRs:
    """One model in one Runner, and one request to it at a time."""

    name = "mistralrs"
    formats = frozenset({"gguf"})
    gaps: Mapping[str, str] = {
        "seed_repeats": f"never: {NO_SEED}",
        "seed_matters": f"never: {NO_SEED}",
        "temperature_honoured": f"never: {NO_SEED}",
        "top_k_honoured": f"never: {NO_SEED}",
        "top_p_honoured": f"never: {NO_SEED}",
        "min_p_honoured": f"never: {NO_SEED}",
        "draws": f"never: {NO_SEED}",
        "prefix_reused_on_request": "never: the prefix cache is on or off for a whole Runner",
        "renders_chat": "never: the Runner shows neither the prompt nor its ids",
        "scores": "never: it gives log-probabilities, and no logits",
        "scores_top": "notimpl: it would take a request for every position",
    }

    def __init__(self) -> None:
        self._lib: Any = None
        self._runner: Any = None
        self._header: gguf_header.Header | None = None
        self._limit = 0
        self._usage: Any = None

    def probe(self) -> Availability:
        """The version and the platform of the wheel: the engine tells nothing of its build."""
        try:
            _import()
            tags = metadata.distribution("mistralrs").read_text("WHEEL") or ""
            found = [line.partition(":")[2].strip() for line in tags.splitlines() if "Tag:" in line]
            build = {"wheel": ", ".join(found) or "unknown"}
            return Availability(metadata.version("mistralrs"), "mistralrs", build, ("cpu",))
        except Unavailable as error:
            return Availability(reason=error.reason, remedy=error.remedy)
        except Exception as error:
            return Availability(reason=f"mistralrs is broken: {error}", remedy=REMEDY)

    def load(self, artifact: Artifact, options: LoadOptions) -> None:
        """Open the file; `dtype` is what is computed in, f32 by default."""
        self.close()
        dtype = _options(options)
        lib = _import()
        path = artifact.path
        header = gguf_header.read(path)
        checks.context(options, header.context)
        _set_threads(options.threads)
        os.environ.pop(KV_F32, None)
        if options.extra.get(KV_F32):
            os.environ[KV_F32] = "1"
        try:
            with tempfile.TemporaryDirectory(prefix="bakeoff-mistralrs-") as folder:
                template = Path(folder) / "message.jinja"
                template.write_text("{{ messages[0]['content'] }}", "utf-8")
                self._runner = lib.Runner(
                    which=lib.Which.GGUF(
                        quantized_model_id=str(path.absolute().parent),
                        quantized_filename=path.name,
                        dtype=getattr(lib.ModelDType, dtype),
                    ),
                    max_seqs=1,
                    prefix_cache_n=0,
                    token_source="none",
                    jinja_explicit=str(template),
                    no_paged_attn=True,
                )
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # Rust's panics are no Exception
            raise LoadFailed(path, f"mistral.rs cannot load it: {checks.said(error)}") from error
        self._lib, self._header, self._limit = lib, header, options.context

    def generate(self, request: Request) -> Iterator[Token]:
        """One chunk per token. Closing the iterator drops the stream, which ends it in the engine."""
        header = self._check(request)
        runner, self._usage = self._runner, None
        asked = self._request(request, self._text(request.prompt_ids), header)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        made = 0
        try:
            for chunk in runner.send_chat_completion_request(asked):
                self._usage = chunk.usage or self._usage
                for choice in chunk.choices:
                    if choice.logprobs is None:
                        continue
                    token, data = _made(choice.logprobs)
                    made += 1
                    last = made == request.max_tokens or (
                        not request.force_length and token in request.stop_ids
                    )
                    yield Token(token, decoder.decode(data, last))
                    if last:
                        self._prove(request, made)
                        return
                    if self._runner is not runner:
                        raise GenerationFailed("the model was closed during generation")
        except ValueError as error:  # all errors of the engine
            raise GenerationFailed(f"mistral.rs: {error}") from error
        if request.force_length or header.end is None:
            raise GenerationFailed(f"mistral.rs ended after {made} of {request.max_tokens} tokens")
        yield Token(header.end, decoder.decode(b"", True))
        self._prove(request, made + 1)

    def close(self) -> None:
        """Drop the Runner; its threads end with the last reference."""
        self._runner = self._header = self._usage = None
        gc.collect()

    def tokenize(self, text: str) -> list[int]:
        """Special tokens written out in the text are recognised."""
        return [int(i) for i in self._loaded().tokenize_text(text, True, None)]

    def detokenize(self, ids: Sequence[int]) -> str:
        """Through the engine's own tokenizer, which leaves special tokens out."""
        return str(self._loaded().detokenize_text(list(ids), True)) if ids else ""

    def claims(self) -> Mapping[str, float]:
        """The engine's count and clock for the last request; nothing for one that was cut short."""
        usage = self._usage
        if usage is None:
            return {}
        return {
            "prefill_tokens": float(usage.prompt_tokens - _cached(usage)),
            "prefill_ms": usage.total_prompt_time_sec * 1000,
            # It times from the first token on, so that one is not in it.
            "decode_tokens": float(usage.completion_tokens - 1),
            "decode_ms": usage.total_completion_time_sec * 1000,
        }

    def _text(self, ids: Sequence[int]) -> str:
        """The prompt as text, proven to be the same ids to the engine."""
        text = str(self._runner.detokenize_text(list(ids), False))
        read = self._runner.tokenize_text(text, True, None)
        if list(read) != list(ids):
            raise Unsupported(
                f"the engine takes text only, and reads the text of these {len(ids)} ids as "
                f"{len(read)} others"
            )
        return text

    def _request(self, request: Request, text: str, header: gguf_header.Header) -> Any:
        """Every parameter that bears on the result."""
        sampling = request.sampling
        seen = () if request.force_length else (header.end,)
        return self._lib.ChatCompletionRequest(
            messages=[{"role": "user", "content": text}],
            model="default",
            max_tokens=request.max_tokens,
            stream=True,
            logprobs=True,
            top_logprobs=1,
            ignore_eos=request.force_length,
            logit_bias={token: FORBIDDEN for token in header.special if token not in seen},
            temperature=0.0,
            top_k=header.vocabulary,
            top_p=1.0,
            min_p=0.0,
            repetition_penalty=sampling.repetition_penalty,
            presence_penalty=0.0,
            frequency_penalty=0.0,
            truncate_sequence=False,
        )

    def _prove(self, request: Request, made: int) -> None:
        """Does the engine's own count agree? Without a count the request was ended by us."""
        usage = self._usage
        if usage is None:
            return
        if usage.prompt_tokens != len(request.prompt_ids):
            raise GenerationFailed(
                f"sent as text, the prompt of {len(request.prompt_ids)} ids was "
                f"{usage.prompt_tokens} to the engine"
            )
        if usage.completion_tokens != made:
            raise GenerationFailed(
                f"the engine says that it made {usage.completion_tokens} tokens, {made} came"
            )

    def _loaded(self) -> Any:
        if self._runner is None:
            raise GenerationFailed("no model is loaded")
        return self._runner

    def _check(self, request: Request) -> gguf_header.Header:
        self._loaded()
        header = self._header
        assert header is not None
        if not request.sampling.greedy:
            raise Unsupported(f"a temperature: {NO_SEED}")
        if request.reuse_prefix:
            raise Unsupported("reuse_prefix: the prefix cache is on or off for a whole Runner")
        request.check(self._limit, header.vocabulary)
        unseen = sorted(request.stop_ids & set(header.special) - {header.end})
        if unseen and not request.force_length:
            raise Unsupported(f"stop ids {unseen}: the engine does not show special tokens")
        return header


def _made(said: Any) -> tuple[int, bytes]:
    """Id and bytes of the token: it is the likeliest one, which alone comes with its id."""
    best = said.top_logprobs[0] if said.top_logprobs else None
    if best is None or best.logprob != said.logprob or said.bytes is None:
        raise GenerationFailed(f"mistral.rs gave no id with the token {said.token!r}")
    return int(best.token), bytes(said.bytes)


def _cached(usage: Any) -> int:
    return int(getattr(usage.prompt_tokens_details, "cached_tokens", None) or 0)


def _import() -> Any:
    try:
        import mistralrs
    except ImportError as error:
        raise Unavailable(f"mistralrs is not installed ({error})", REMEDY) from error
    except (OSError, RuntimeError) as error:
        raise Unavailable(f"mistralrs does not load: {error}", REMEDY) from error
    return mistralrs


def _options(options: LoadOptions) -> str:
    """The dtype by the engine's name. Raises Unsupported."""
    checks.options("mistral.rs", options, sorted(EXTRA))
    if not isinstance(options.extra.get(KV_F32, False), bool):
        raise Unsupported(f"{KV_F32} {options.extra[KV_F32]!r}: expected true or false")
    dtype = str(options.extra.get("dtype", "f32"))
    if dtype not in DTYPES:
        raise Unsupported(f"dtype {dtype!r}: known are {', '.join(DTYPES)}")
    return DTYPES[dtype]


def _set_threads(threads: int) -> None:
    global _threads
    if _threads not in (None, threads):
        raise Unsupported(
            f"threads {threads}: this process runs mistral.rs with {_threads} already"
        )
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    _threads = threads
