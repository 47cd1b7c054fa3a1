"""MLC-LLM through its AsyncMLCEngine: models that `mlc_llm compile` has compiled.

Written from MLC-LLM's sources and from what was seen of a 0.20 development build. Which of it has
been run is in docs/backends/mlc.md.

What this engine does, where engines differ:

- It computes on in its own thread, whether or not anyone asks for the next token; a closed request
  is aborted.
- End-of-sequence tokens are always ignored by the engine, and stop ids looked for here: by itself
  it would swallow the token that it stops at.
- A request is admitted only where 8 more tokens than its prompt, and a page of 16, fit into the
  cache: without that room a prompt that nearly fills the context would wait for ever. The cache is
  so much larger than the context; requests are held to the size asked for.
- There is no top-k and no min-p; the repetition penalty is no parameter of completions. Temperature
  and top-p are applied in this order. Up to a temperature of 1e-5 it is greedy.
- Threads are those of TVM's pool, told by an environment variable; it binds them to cores by itself.
"""

from __future__ import annotations

import gc
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.metadata import packages_distributions, version
from typing import Any

from backends import checks, mlc_folder, mlc_options
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
from backends.mlc_folder import Folder
from backends.mlc_stream import Stream

REMEDY = "bakeoff engines install mlc --find-links https://mlc.ai/wheels"
TOP = 5  # the most that completions give
FLAGS = ("GIT_COMMIT_HASH", "LLVM_VERSION", "USE_OPENMP", "USE_MKL", "USE_CUDA")  # of TVM's build


class MLC:
    """One compiled model in one engine, one request at a time."""

    name = "mlc"
    formats = frozenset({"mlc"})
    gaps: Mapping[str, str] = {
        "prefix_reused_on_request": "notimpl: reuse is a mode of the engine, not of a request",
        "top_k_honoured": "never: MLC-LLM has no such filter",
        "min_p_honoured": "never: MLC-LLM has no such filter",
        "repetition_penalty_honoured": "never: completions have no such parameter",
        "scores": "never: MLC-LLM shows the likeliest tokens only",
    }

    def __init__(self) -> None:
        self._stream: Stream | None = None
        self._folder: Folder | None = None
        self._spellings: dict[bytes, int] = {}
        self._limit = 0

    def probe(self) -> Availability:
        """Versions of MLC-LLM and TVM, and the devices that TVM finds."""
        try:
            mlc, tvm = _import()
            devices = tuple(name for name in mlc_options.DEVICES if _exists(tvm, name))
            return Availability(*_version(mlc), _build(tvm), devices)
        except Unavailable as error:
            return Availability(reason=error.reason, remedy=error.remedy)
        except Exception as error:
            return Availability(reason=f"mlc-llm is broken: {error}", remedy=REMEDY)

    def load(self, artifact: Artifact, options: LoadOptions) -> None:
        """Open the folder with its own compiled library; nothing is compiled here."""
        self.close()
        mlc_options.check(options)
        # TVM's pool reads it when a thread first computes: the engine's thread, made below.
        os.environ["TVM_NUM_THREADS"] = str(options.threads)
        mlc, tvm = _import()
        if not _exists(tvm, options.device):
            raise Unsupported(f"device {options.device!r}: this build of TVM does not find it")
        folder = mlc_folder.read(artifact.path)
        checks.context(options, folder.context)
        others = set(threading.enumerate())
        try:
            # For its error: in the engine's own thread it would be lost, and waited for.
            tvm.runtime.load_module(str(folder.library))
            engine = mlc.AsyncMLCEngine(
                str(folder.path),
                # As an object: for a name, MLC-LLM starts a Python of its own to look for it.
                tvm.runtime.device(options.device, 0),
                model_lib=str(folder.library),
                mode="interactive",
                engine_config=mlc_options.engine_config(folder, options),
            )
        except Exception as error:
            raise LoadFailed(
                folder.path, f"MLC-LLM cannot load it: {checks.said(error)}"
            ) from error
        self._folder, self._limit = folder, options.context
        try:
            self._stream = Stream(engine, set(threading.enumerate()) - others)
        except Unsupported:
            engine.terminate()
            raise

    def generate(self, request: Request) -> Iterator[Token]:
        """One streamed completion of token ids."""
        stream, folder = self._loaded()
        request.check(self._limit, folder.vocabulary)
        how = {**mlc_options.completion(request), "max_tokens": request.max_tokens}
        text = _text(stream.engine, folder)
        stops = request.stop_ids | folder.ends
        made = stream.tokens(request.prompt_ids, **how)
        try:
            for number, (token, _) in enumerate(made, 1):
                last = number == request.max_tokens
                last = last or (not request.force_length and token in stops)
                yield Token(token, text(token, last))
                if self._stream is not stream:
                    raise GenerationFailed("the model was closed during generation")
                if number == request.max_tokens:
                    next(made, None)  # the usage, for `claims`, comes after the last token
                if last:
                    return
            raise GenerationFailed(f"MLC-LLM ended before {request.max_tokens} tokens were made")
        finally:
            made.close()

    def close(self) -> None:
        """End the engine and have TVM give back the memory that it keeps for the next one."""
        stream, self._stream = self._stream, None
        self._folder, self._spellings = None, {}
        if stream is None:
            return
        stream.close()
        del stream
        gc.collect()
        clear = import_module("tvm").get_global_func(
            "vm.builtin.memory_manager.clear", allow_missing=True
        )
        if clear is not None:
            clear()

    def tokenize(self, text: str) -> list[int]:
        """Special tokens written out in the text are recognised; MLC-LLM itself adds none."""
        stream, _ = self._loaded()
        return [int(token) for token in stream.engine.tokenizer.encode(text)]

    def detokenize(self, ids: Sequence[int]) -> str:
        """By the engine's tokenizer, which would spell special tokens out."""
        stream, folder = self._loaded()
        plain = [token for token in ids if token not in folder.special]
        return str(stream.engine.tokenizer.decode(plain)) if plain else ""

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        prefill: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> Rendering:
        """By the function that `chat.completions.create` makes its prompt with.

        The template is the one of `mlc-chat-config.json`, out of MLC-LLM's own registry; the
        model's Jinja template is never read. It can't continue an assistant's message.
        """
        stream, _ = self._loaded()
        if variables:
            raise Unsupported("template variables: MLC-LLM's conversation templates take none")
        protocol = import_module("mlc_llm.protocol.openai_api_protocol")
        engine_base = import_module("mlc_llm.serve.engine_base")
        engine, texts = stream.engine, []

        def encode(text: str) -> list[int]:
            texts.append(text)
            return list(engine.tokenizer.encode(text))

        try:
            chat = [protocol.ChatCompletionMessage.model_validate(dict(one)) for one in messages]
            prompts, *_ = engine_base.process_chat_completion_request(
                request=protocol.ChatCompletionRequest(messages=chat),
                request_id="bakeoff-render",
                engine_state=engine.state,
                model_config=engine.model_config_dicts[0],
                f_tokenize=encode,
                max_input_sequence_length=engine.max_input_sequence_length,
                conv_template=engine.conv_template.model_copy(deep=True),
            )
        except MemoryError:
            raise
        except Exception as error:
            raise Rejected(f"{type(error).__name__}: {error}") from error
        ids = tuple(int(token) for prompt in prompts for token in prompt)
        pieces = tuple(str(engine.tokenizer.decode([token])) for token in ids)
        return Rendering("".join(texts), ids, pieces)

    def top_logprobs(self, ids: Sequence[int]) -> Sequence[Sequence[tuple[int, float]]]:
        """The best five of each position: one request per position, for MLC-LLM tells nothing about
        a prompt. At temperature 1, since it takes logarithms after the temperature."""
        stream, folder = self._loaded()
        Request(tuple(ids), 1).check(self._limit + 1, folder.vocabulary)
        self._spellings = self._spellings or mlc_folder.spellings(folder)
        how = mlc_options.completion(Request(tuple(ids), 1, sampling=Sampling(temperature=1.0)))
        rows = []
        for end in range(1, len(ids) + 1):
            made = list(stream.tokens(ids[:end], **how, max_tokens=1, logprobs=TOP))
            if len(made) != 1 or made[0][1] is None:
                raise GenerationFailed("MLC-LLM gave no log-probabilities")
            rows.append([self._scored(one) for one in json.loads(made[0][1])["top_logprobs"]])
        return rows

    def claims(self) -> Mapping[str, float]:
        """`usage.extra` of the last request that was not aborted.

        Its first token comes of the prefill, so a request for n tokens claims n - 1 decoded ones.
        The prefill's time runs from when the request was added.
        """
        stream, _ = self._loaded()
        said = getattr(stream.usage, "extra", None) or {}
        found = {
            key: float(said[key]) for key in ("prefill_tokens", "decode_tokens") if key in said
        }
        if "ttft_s" in said:
            found["prefill_ms"] = said["ttft_s"] * 1e3
            if "end_to_end_latency_s" in said:
                found["decode_ms"] = (said["end_to_end_latency_s"] - said["ttft_s"]) * 1e3
        return found

    def _loaded(self) -> tuple[Stream, Folder]:
        if self._stream is None or self._folder is None:
            raise GenerationFailed("no model is loaded")
        return self._stream, self._folder

    def _scored(self, one: Mapping[str, Any]) -> tuple[int, float]:
        token = self._spellings.get(bytes(one["bytes"]))
        if token is None:
            raise GenerationFailed(f"no one token, or more than one, is spelled {one['bytes']}")
        return token, float(one["logprob"])


def _import() -> tuple[Any, Any]:
    try:
        return import_module("mlc_llm"), import_module("tvm")
    except ImportError as error:
        raise Unavailable(f"mlc-llm is not installed ({error})", REMEDY) from error
    except (OSError, RuntimeError) as error:
        raise Unavailable(f"mlc-llm does not load: {error}", REMEDY) from error


def _version(mlc: Any) -> tuple[str, str | None]:
    """Of the wheel, whose name says for which devices it was built; or of a build by hand."""
    for distribution in packages_distributions().get("mlc_llm", []):
        return version(distribution), distribution
    return str(mlc.__version__), None


def _build(tvm: Any) -> dict[str, str]:
    build = {"tvm": str(tvm.__version__), "threading": "TVM's thread pool"}
    with suppress(Exception):  # facts that TVM's runtime alone cannot tell
        told = tvm.support.libinfo()
        build |= {key.lower(): str(told[key]) for key in FLAGS if key in told}
        build["host_cpu"] = str(tvm.target.codegen.llvm_get_system_cpu())
    return build


def _exists(tvm: Any, name: str) -> bool:
    try:
        return bool(tvm.runtime.device(name, 0).exist)
    except Exception:
        return False


def _text(engine: Any, folder: Folder) -> Callable[[int, bool], str]:
    """The text that each token adds, by the engine's own streamer; special tokens add none."""
    streamer = import_module("mlc_llm.tokenizers").TextStreamer(engine.tokenizer)

    def add(token: int, last: bool) -> str:
        text = "" if token in folder.special else str(streamer.put([token]))
        return text + str(streamer.finish()) if last else text

    return add
