"""What each measure does with a loaded backend. Sends a sample as soon as its timing has ended."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Callable, Mapping
from time import perf_counter_ns
from typing import Any

from backends.api import (
    Backend,
    Claims,
    GenerationFailed,
    Request,
    Sampling,
    Token,
    Unsupported,
)
from harness.worker import smaps, threads
from harness.worker.channel import Channel

Job = Mapping[str, Any]


def load(backend: Backend, job: Job, channel: Channel) -> None:
    """The first token after loading: pays for page faults and whatever is set up lazily."""
    _sample(backend, job, channel, index=0, warmup=False)


def generate(backend: Backend, job: Job, channel: Channel) -> None:
    """Warm-up requests, then timed ones. Each has a prompt of its own."""
    for index in range(job["warmup"] + job["requests"]):
        _sample(backend, job, channel, index=index, warmup=index < job["warmup"])


def _late(name: str, module: str) -> Callable[[Backend, Job, Channel], None]:
    """A measure whose module is imported when it runs: imports are a share of every trial."""

    def run(backend: Backend, job: Job, channel: Channel) -> None:
        if job.get("items") == []:
            raise Unsupported(
                "nothing to work on: none of the texts could be encoded for this model"
            )
        getattr(importlib.import_module(f"harness.worker.{module}"), name)(backend, job, channel)

    return run


MEASURES: dict[str, Callable[[Backend, Job, Channel], None]] = {
    "audit": _late("run", "audit"),
    "load": load,
    "generate": generate,
    "templates": _late("templates", "templates"),
    "harm": _late("harm", "harm"),
    "reference": _late("reference", "fidelity"),
    "fidelity": _late("fidelity", "fidelity"),
    "quality": _late("quality", "quality"),
    "sampling": _late("sampling", "sampling"),
}


def weigh(channel: Channel) -> None:
    """A reading of this process and its children, between timed parts: a sampler may come too
    late for a short trial."""
    pids: list[int | str] = ["self", *threads.children()]
    readings = [r for pid in pids if (r := smaps.read(pid)) is not None]
    if readings:
        channel.send("memory", at_ns=perf_counter_ns(), reading=smaps.total(readings))


def _sample(backend: Backend, job: Job, channel: Channel, *, index: int, warmup: bool) -> None:
    parameters, prompt = job["parameters"], job["prompts"][index]
    sampling = Sampling(**parameters.get("sampling", {}))
    request = Request(
        prompt_ids=tuple(prompt["ids"]),
        max_tokens=parameters["output_tokens"],
        force_length=True,
        sampling=Sampling(**{**parameters["sampling"], "seed": sampling.seed + index})
        if not sampling.greedy
        else sampling,
        reuse_prefix=parameters.get("reuse_prefix", False),
    )
    stamps: list[int] = []
    tokens: list[Token] = []
    gc.collect()  # cheap: what the engine's import left behind is frozen
    submitted = perf_counter_ns()
    for token in backend.generate(request):
        if warmup and not stamps:
            weigh(channel)  # at the end of prefill, where no time is measured
        stamps.append(perf_counter_ns())
        tokens.append(token)
    done = perf_counter_ns()
    claims = (
        {k: float(v) for k, v in backend.claims().items()} if isinstance(backend, Claims) else {}
    )
    channel.send(
        "sample",
        sample={
            "index": index,
            "warmup": warmup,
            "prompt": prompt["digest"],
            "prompt_tokens": len(request.prompt_ids),
            "submitted_ns": submitted,
            "token_ns": stamps,
            "token_ids": [int(token.id) for token in tokens],
            "done_ns": done,
            "claims": claims,
        },
        text="".join(token.text for token in tokens),
    )
    _check_work(request, tokens, claims, first=index == 0)


def _check_work(
    request: Request, tokens: list[Token], claims: Mapping[str, float], *, first: bool
) -> None:
    """The engine must have done the work that the request asked for: not less, not more."""
    if len(tokens) != request.max_tokens:
        raise GenerationFailed(
            f"asked for exactly {request.max_tokens} tokens, the engine gave {len(tokens)}"
        )
    evaluated, length = claims.get("prefill_tokens"), len(request.prompt_ids)
    if evaluated is None:
        return
    if evaluated > length:
        raise GenerationFailed(
            f"the engine evaluated {evaluated:.0f} tokens for a prompt of {length}: "
            "something was added to the ids"
        )
    if not request.reuse_prefix and evaluated < length:
        raise GenerationFailed(
            f"the engine evaluated {evaluated:.0f} of {length} prompt tokens: "
            "it reused a cached prefix, or made other ids of the prompt"
        )
    if request.reuse_prefix and not first and evaluated >= length:
        raise GenerationFailed(
            f"told to reuse the prefix, the engine evaluated all {length} prompt tokens"
        )
