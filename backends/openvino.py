"""OpenVINO GenAI: GGUF files, and folders of OpenVINO IR, on the CPU.

The pipeline is `ContinuousBatchingPipeline`, which `LLMPipeline` itself runs on by default on x86 and
ARM: it takes ids, and each `step` makes one token, so nothing is computed ahead of the reader.

What this engine does, where engines differ:

- A GGUF is converted when it is opened: Q8_0 and Q4_0 exactly, Q4_1 not. Of the latter the offsets are
  rounded to whole steps, and the weights are then 8 % (rms) off those in the file.
- Length is forced by `ignore_eos`; what ends a sequence is looked at here. Logits stay untouched.
- Filters run in the order of other engines, which the draws show: repetition penalty (over the whole
  sequence, prompt included), temperature, top-k, top-p, min-p. Draws are from a Mersenne Twister of
  32 bits of seed.
- Keys and values are f16, as in other engines here; OpenVINO by itself would take 8 bits, whose cost
  `logits` would not see. The arithmetic is f32, where OpenVINO by itself would take bf16 on CPUs that
  have it. With quantised weights activations are rounded to 8 bits in groups of 32: its own default.
- The cache grows as it is needed: `context` is only a bound here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from backends import checks, openvino_options, openvino_scores
from backends.api import (
    Artifact,
    Availability,
    GenerationFailed,
    LoadFailed,
    LoadOptions,
    Rejected,
    Rendering,
    Request,
    Token,
    Unavailable,
    Unsupported,
)
from backends.text import TextStream

REMEDY = "bakeoff engines install openvino"


class OpenVINO:
    """One model in one pipeline, and one request to it at a time."""

    name = "openvino"
    formats = frozenset({"gguf", "openvino"})
    gaps: Mapping[str, str] = {
        "prefix_reused_on_request": "never: prefix caching is on or off for the whole pipeline",
        "scores_top": "notimpl: `logits` gives the whole distribution",
        "draws": "never: the pipeline shows no logits to draw from again",
    }

    def __init__(self) -> None:
        self._ov: Any = None
        self._genai: Any = None
        self._pipe: Any = None
        self._tokenizer: Any = None
        self._scorer: openvino_scores.Scorer | None = None
        self._path = Path()
        self._properties: Mapping[str, Any] = {}
        self._ends: frozenset[int] = frozenset()
        self._vocab_size = 0
        self._limit = 0
        self._handle: Any = None

    def probe(self) -> Availability:
        """Versions, and what OpenVINO's CPU plugin says of this processor."""
        try:
            ov, genai = _import()
            version, _, commit = str(genai.__version__).partition("-")
            core = ov.Core()
            build = {
                "commit": commit or "unknown",
                "openvino": str(ov.__version__),
                "devices": ", ".join(core.available_devices),
                "cpu": str(core.get_property("CPU", "FULL_DEVICE_NAME")),
                "capabilities": ", ".join(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")),
                "threading": _threading(core),
            }
            return Availability(version, "openvino-genai", build, ("cpu",))
        except Unavailable as error:
            return Availability(reason=error.reason, remedy=error.remedy)
        except Exception as error:
            return Availability(reason=f"openvino-genai is broken: {error}", remedy=REMEDY)

    def load(self, artifact: Artifact, options: LoadOptions) -> None:
        """Open a GGUF file, or a folder with `openvino_model.xml` and its tokenizer."""
        self.close()
        properties = openvino_options.properties(options)
        ov, genai = _import()
        path = artifact.path
        trained, vocabulary = openvino_options.facts(artifact, options)
        checks.context(options, trained)
        scheduler = openvino_options.scheduler(genai, options)
        able = ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        openvino_options.check_precision(properties, able)
        try:
            pipe = genai.ContinuousBatchingPipeline(
                path,
                scheduler,
                "CPU",
                dict(properties),
                {"INFERENCE_NUM_THREADS": options.threads},
            )
            tokenizer = pipe.get_tokenizer()
            config = pipe.get_config()
        except Exception as error:
            raise LoadFailed(path, f"OpenVINO GenAI cannot load it: {_said(error)}") from error
        self._ov, self._genai, self._pipe, self._tokenizer = ov, genai, pipe, tokenizer
        self._path, self._properties = path, properties
        ends = {tokenizer.get_eos_token_id(), config.eos_token_id, *config.stop_token_ids}
        self._ends = frozenset(int(i) for i in ends if i >= 0)
        self._vocab_size = vocabulary or len(tokenizer.get_vocab())
        self._limit = options.context

    def generate(self, request: Request) -> Iterator[Token]:
        """One step of the pipeline per token; the first one evaluates the prompt."""
        self._check(request)
        config = openvino_options.generation(self._genai, request, self._vocab_size)
        pipe, text = self._pipe, TextStream(self.detokenize)
        stops = request.stop_ids | self._ends
        try:
            handle = self._handle = pipe.add_request(0, self._tensor(request.prompt_ids), config)
            try:
                for left in range(request.max_tokens - 1, -1, -1):
                    token = self._step(pipe, handle)
                    last = left == 0 or (not request.force_length and token in stops)
                    yield Token(token, text.add(token, last))
                    if last:
                        return
                    if self._pipe is not pipe:
                        raise GenerationFailed("the model was closed during generation")
            finally:
                if pipe.has_non_finished_requests():
                    handle.cancel()
                    pipe.step()  # computes nothing: it drops what was cancelled
        except RuntimeError as error:
            raise GenerationFailed(f"OpenVINO GenAI: {_said(error)}") from error

    def close(self) -> None:
        """Drop the pipeline; the engine frees it with the last reference."""
        if self._scorer is not None:
            self._scorer.close()
        self._handle = self._scorer = self._pipe = self._tokenizer = None

    def tokenize(self, text: str) -> list[int]:
        """Special tokens written out in the text are recognised."""
        self._check_loaded()
        return self._encode(text, True)

    def detokenize(self, ids: Sequence[int]) -> str:
        """Through the model's own tokenizer, which leaves special tokens out."""
        self._check_loaded()
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True)) if ids else ""

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        prefill: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> Rendering:
        """As `LLMPipeline` does with a chat: apply_chat_template, then encode without adding special
        tokens. There is no way to continue an assistant's message."""
        self._check_loaded()
        try:
            chat = [dict(message) for message in messages]
            text = self._tokenizer.apply_chat_template(
                chat, add_generation_prompt=True, extra_context=dict(variables or {})
            )
            ids = tuple(self._encode(text, False))
        except MemoryError:
            raise
        except Exception as error:
            raise Rejected(f"{type(error).__name__}: {_said(error)}") from error
        decode = self._tokenizer.decode
        pieces = {token: str(decode([token], skip_special_tokens=False)) for token in set(ids)}
        return Rendering(text, ids, tuple(pieces[token] for token in ids))

    def logits(self, ids: Sequence[int]) -> Any:
        """By the same graph and properties, compiled a second time: see `openvino_scores`."""
        self._check_loaded()
        checks.scored(ids, self._limit, self._vocab_size)
        if self._scorer is None:
            self._scorer = openvino_scores.Scorer(
                self._ov, self._genai, self._path, self._properties
            )
        return self._scorer.logits(ids)

    def claims(self) -> Mapping[str, float]:
        """The pipeline's own metrics of the last request: its time to the first token is that of the
        steps until then, and each further token has a duration."""
        self._check_loaded()
        if self._handle is None:
            return {}
        metrics = self._handle.get_perf_metrics()
        raw = metrics.raw_metrics
        if not raw.m_times_to_first_token:
            return {}
        return {
            "prefill_tokens": float(metrics.get_num_input_tokens()),
            "prefill_ms": raw.m_times_to_first_token[0] / 1000,
            "decode_tokens": float(len(raw.m_durations)),
            "decode_ms": sum(raw.m_durations) / 1000,
            "load_ms": float(metrics.get_load_time()),
        }

    def _step(self, pipe: Any, handle: Any) -> int:
        """The next token; a prompt of more than `max_num_batched_tokens` takes several steps."""
        while not handle.can_read():
            if not pipe.has_non_finished_requests():
                raise GenerationFailed(f"the request ended early: {handle.get_status()}")
            pipe.step()
        (token,) = handle.read()[0].generated_ids
        return int(token)

    def _tensor(self, ids: Sequence[int]) -> Any:
        import numpy  # OpenVINO's own tensors are made of numpy's arrays

        return self._ov.Tensor(numpy.array([ids], dtype=numpy.int64))

    def _encode(self, text: str, add_special_tokens: bool) -> list[int]:
        found = self._tokenizer.encode(text, add_special_tokens=add_special_tokens)
        return [int(i) for i in found.input_ids.data.ravel()]

    def _check_loaded(self) -> None:
        if self._pipe is None:
            raise GenerationFailed("no model is loaded")

    def _check(self, request: Request) -> None:
        self._check_loaded()
        if request.reuse_prefix:
            raise Unsupported("reuse_prefix: prefix caching is on or off for the whole pipeline")
        request.check(self._limit, self._vocab_size)


def _import() -> tuple[Any, Any]:
    try:
        import openvino
        import openvino_genai
    except ImportError as error:
        raise Unavailable(f"openvino-genai is not installed ({error})", REMEDY) from error
    except (OSError, RuntimeError) as error:
        raise Unavailable(f"openvino-genai does not load: {error}", REMEDY) from error
    return openvino, openvino_genai


def _said(error: Exception) -> str:
    """OpenVINO's words without the lines that name its source files."""
    lines = (line for line in str(error).splitlines() if not line.startswith("Exception from "))
    return " ".join(" ".join(lines).split()) or type(error).__name__


def _threading(core: Any) -> str:
    """OpenVINO names its thread library by the properties that it has for it."""
    known = core.get_property("CPU", "SUPPORTED_PROPERTIES")
    return "TBB" if "TBB_PARTITIONER" in known else "unknown"
