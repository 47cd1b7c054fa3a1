"""Hugging Face transformers on PyTorch: safetensors folders on the CPU.

The loop is our own over `forward` with a DynamicCache: one token per step, cancelled by not asking
for the next, and somewhat faster than `generate()`. Filters are transformers' own logits
processors in `generate`'s order: repetition penalty (over the whole sequence, prompt included),
temperature, top-k, top-p, min-p; the draw is from a torch generator seeded per request.

Length is forced by not asking whether a token ends the sequence; the logits stay untouched. Keys
and values take memory as the sequence grows: `context` is only a bound here.
"""

from __future__ import annotations

import gc
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from backends.text import TextStream

REMEDY = "pip install 'bakeoff[transformers]'"
DTYPES = ("auto", "float32", "bfloat16", "float16")
EXTRA = {"dtype", "attn_implementation", "chat_call"}
CHAT_CALLS = ("template", "text")


class Transformers:
    """One causal language model of an HF folder, run eagerly."""

    name = "transformers"
    formats = frozenset({"hf"})
    gaps: Mapping[str, str] = {
        "prefix_reused_on_request": "notimpl: the adapter makes a new cache per request",
        "scores_top": "notimpl: `logits` gives the whole distribution",
    }

    def __init__(self) -> None:
        self._torch: Any = None
        self._library: Any = None
        self._model: Any = None
        self._tokenizer: Any = None
        self._ends: frozenset[int] = frozenset()
        self._vocab_size = 0
        self._limit = 0
        self._cache = ""
        self._prefilled = 0
        self._chat_call = ""

    def probe(self) -> Availability:
        """Versions of transformers and torch, and what does torch's arithmetic and threading."""
        try:
            torch, library = _import()
            build = {
                "torch": str(torch.__version__),
                "cpu_capability": str(torch.backends.cpu.get_cpu_capability()),
                "mkl": str(torch.backends.mkl.is_available()),
                "onednn": str(torch.backends.mkldnn.is_available()),
                "threading": _threading(torch),
            }
            return Availability(library.__version__, "transformers", build, ("cpu",))
        except Unavailable as error:
            return Availability(reason=error.reason, remedy=error.remedy)
        except Exception as error:
            return Availability(reason=f"transformers is broken: {error}", remedy=REMEDY)

    def load(self, artifact: Artifact, options: LoadOptions) -> None:
        """Open the folder; `dtype` auto, the default, means the weights' own type."""
        self.close()
        dtype, attention = _options(options)
        torch, library = _import()
        _set_threads(torch, options.threads)
        path = artifact.path
        if not (path / "config.json").is_file():
            raise LoadFailed(path, "no Hugging Face folder (config.json is missing)")
        local = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._tokenizer = library.AutoTokenizer.from_pretrained(path, **local)
            self._model = library.AutoModelForCausalLM.from_pretrained(
                path, dtype=dtype, attn_implementation=attention, use_safetensors=True, **local
            ).eval()
        except Exception as error:
            self.close()
            raise LoadFailed(path, f"transformers cannot load it: {checks.said(error)}") from error
        try:
            checks.context(options, getattr(self._model.config, "max_position_embeddings", None))
        except Unsupported:
            self.close()
            raise
        self._torch, self._library = torch, library
        self._chat_call = str(options.extra.get("chat_call", CHAT_CALLS[0]))
        self._ends = _ends(self._model)
        # transformers 5.24 renamed it; from 5.40 on the old name is gone.
        named = inspect.signature(self._model.forward).parameters
        self._cache = "cache" if "cache" in named else "past_key_values"
        self._vocab_size = int(self._model.get_input_embeddings().num_embeddings)
        self._limit = options.context

    def generate(self, request: Request) -> Iterator[Token]:
        """Prefill, then one forward pass per token. Inference mode never spans a yield."""
        self._check(request)
        torch, model = self._torch, self._model
        ids = torch.empty((1, len(request.prompt_ids) + request.max_tokens), dtype=torch.long)
        length = len(request.prompt_ids)
        ids[0, :length] = torch.tensor(request.prompt_ids)
        cache = self._library.DynamicCache(config=model.config)
        pick = _picker(torch, self._library, request.sampling)
        text = TextStream(self.detokenize)
        step = ids[:, :length]
        while True:
            try:
                with torch.inference_mode():
                    logits = model(
                        input_ids=step, use_cache=True, logits_to_keep=1, **{self._cache: cache}
                    ).logits[:, -1]
                    token = pick(ids[:, :length], logits)
            except RuntimeError as error:
                raise GenerationFailed(f"transformers: {error}") from error
            if length == len(request.prompt_ids):
                self._prefilled = int(cache.get_seq_length())
            ids[0, length] = token
            length += 1
            last = length == ids.shape[1] or (
                not request.force_length and (token in request.stop_ids or token in self._ends)
            )
            yield Token(token, text.add(token, last))
            if last:
                return
            step = ids[:, length - 1 : length]

    def close(self) -> None:
        """Drop model and tokenizer, reference cycles included."""
        self._model = self._tokenizer = None
        gc.collect()

    def tokenize(self, text: str) -> list[int]:
        """Special tokens written out in the text are recognised."""
        self._check_loaded()
        return list(self._tokenizer(text)["input_ids"])

    def detokenize(self, ids: Sequence[int]) -> str:
        """Nothing is tidied up: the text is what the ids say."""
        self._check_loaded()
        return str(
            self._tokenizer.decode(
                list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        prefill: bool = False,
        variables: Mapping[str, Any] | None = None,
    ) -> Rendering:
        """By `chat_call`: `template` lets apply_chat_template make the ids; `text` has it make the
        text and encodes that with the tokenizer's defaults, which may add a second BOS."""
        self._check_loaded()
        how = {"add_generation_prompt": not prefill, "continue_final_message": prefill}
        told = {**how, **(variables or {})}
        apply = self._tokenizer.apply_chat_template
        try:
            chat = [dict(message) for message in messages]
            text = apply(chat, tokenize=False, **told)
            if self._chat_call == "text":
                ids = self._tokenizer(text)["input_ids"]
            else:
                ids = apply(chat, tokenize=True, return_dict=True, **told)["input_ids"]
        except MemoryError:
            raise
        except Exception as error:
            raise Rejected(f"{type(error).__name__}: {error}") from error
        pieces = {token: self._written(token) for token in set(ids)}
        return Rendering(text, tuple(ids), tuple(pieces[token] for token in ids))

    def logits(self, ids: Sequence[int]) -> Any:
        """One forward pass without a cache."""
        self._check_loaded()
        checks.scored(ids, self._limit, self._vocab_size)
        with self._torch.inference_mode():
            given = self._torch.tensor([list(ids)])
            found = self._model(input_ids=given, use_cache=False).logits[0]
            return found.float().numpy()

    def draw(
        self, prompt_ids: Sequence[int], sampling: Sampling, seeds: Sequence[int]
    ) -> list[int]:
        """The filters once, then per seed the draw that `generate` makes."""
        request = Request(tuple(prompt_ids), 1, sampling=sampling)
        self._check(request)
        torch = self._torch
        with torch.inference_mode():
            ids = torch.tensor([request.prompt_ids])
            logits = self._model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[:, -1]
            if sampling.greedy:
                return [_picker(torch, self._library, sampling)(ids, logits)] * len(seeds)
            probabilities = _probabilities(torch, self._library, sampling)(ids, logits)
            return [_pick(torch, probabilities, _generator(torch, seed)) for seed in seeds]

    def claims(self) -> Mapping[str, float]:
        """Length of the engine's own cache after the prompt; it keeps no timings."""
        return {"prefill_tokens": float(self._prefilled)}

    def _written(self, token: int) -> str:
        return str(
            self._tokenizer.decode(
                [token], skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        )

    def _check_loaded(self) -> None:
        if self._model is None:
            raise GenerationFailed("no model is loaded")

    def _check(self, request: Request) -> None:
        self._check_loaded()
        if request.reuse_prefix:
            raise Unsupported("reuse_prefix: a request's cache ends with it")
        request.check(self._limit, self._vocab_size)


def _import() -> tuple[Any, Any]:
    try:
        import torch
        import transformers
    except ImportError as error:
        raise Unavailable(f"transformers or torch is not installed ({error})", REMEDY) from error
    except (OSError, RuntimeError) as error:
        raise Unavailable(f"transformers or torch does not load: {error}", REMEDY) from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return torch, transformers


def _threading(torch: Any) -> str:
    lines = [line.strip() for line in torch.__config__.parallel_info().splitlines()]
    return next(
        (li.split(":", 1)[1].strip() for li in lines if "parallel backend" in li), "unknown"
    )


def _options(options: LoadOptions) -> tuple[str, str | None]:
    checks.options("transformers", options, sorted(EXTRA))
    dtype = str(options.extra.get("dtype", "auto"))
    if dtype not in DTYPES:
        raise Unsupported(f"dtype {dtype!r}: known are {', '.join(DTYPES)}")
    if (call := options.extra.get("chat_call", CHAT_CALLS[0])) not in CHAT_CALLS:
        raise Unsupported(f"chat_call {call!r}: known are {', '.join(CHAT_CALLS)}")
    return dtype, str(options.extra.get("attn_implementation", "sdpa"))


def _set_threads(torch: Any, threads: int) -> None:
    torch.set_num_threads(threads)
    # Eager CPU code runs its operators one after the other. torch takes this only once a process.
    if torch.get_num_interop_threads() != 1:
        try:
            torch.set_num_interop_threads(1)
        except RuntimeError as error:
            raise Unsupported(
                f"threads: torch runs already with other inter-op threads: {error}"
            ) from error


def _ends(model: Any) -> frozenset[int]:
    """End-of-sequence ids, which a model names once, many times, or not at all."""
    ends = getattr(model.generation_config, "eos_token_id", None)
    ends = model.config.eos_token_id if ends is None else ends
    if ends is None:
        return frozenset()
    return frozenset([ends] if isinstance(ends, int) else ends)


def _picker(torch: Any, library: Any, sampling: Sampling) -> Callable[[Any, Any], int]:
    """From the ids so far and the last logits, both (1, …), to the next id."""
    if sampling.greedy:
        chain = _penalty(library, sampling)
        return lambda ids, logits: int(chain(ids, logits).argmax())
    probabilities = _probabilities(torch, library, sampling)
    generator = _generator(torch, sampling.seed)
    return lambda ids, logits: _pick(torch, probabilities(ids, logits), generator)


def _pick(torch: Any, probabilities: Any, generator: Any) -> int:
    return int(torch.multinomial(probabilities, 1, generator=generator))


def _generator(torch: Any, seed: int) -> Any:
    if not 0 <= seed < 2**63:
        raise Unsupported(f"seed {seed}: torch is given 0 to {2**63 - 1}")
    return torch.Generator().manual_seed(seed)


def _penalty(library: Any, sampling: Sampling) -> Any:
    chain = library.LogitsProcessorList()
    if sampling.repetition_penalty != 1.0:
        chain.append(library.RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    return chain


def _probabilities(torch: Any, library: Any, sampling: Sampling) -> Callable[[Any, Any], Any]:
    """From the ids so far and the last logits to the filtered distribution, (1, vocabulary)."""
    chain = _penalty(library, sampling)
    chain.append(library.TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k > 0:
        chain.append(library.TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1.0:
        chain.append(library.TopPLogitsWarper(sampling.top_p))
    if sampling.min_p > 0.0:
        chain.append(library.MinPLogitsWarper(sampling.min_p))
    # In float32, whatever the weights are: half precision would tie many tokens.
    return lambda ids, logits: torch.softmax(chain(ids, logits.float()), dim=-1)
