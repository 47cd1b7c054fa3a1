"""Metrics: numbers derived from one record, each with its unit, direction and definition.

One trial gives one value per metric; `statistics` puts an interval around several trials.
Nothing is derived from a record that is not ok, nor from a warm-up request. Standard library
only at import time, so that reading a run does not pay for numpy.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from results import memory
from results.records import ArtifactFacts, Case, Record, Sample

if TYPE_CHECKING:
    from results.samples import Floats, Samples

Better = Literal["lower", "higher"]

#: How percentiles interpolate between two observations (numpy's name for Hyndman-Fan type 7).
PERCENTILE_METHOD: Literal["linear"] = "linear"


@dataclass(frozen=True)
class Metric:
    """What a metric means. `better` is None where neither direction is an improvement."""

    name: str
    title: str
    unit: str
    better: Better | None
    measures: tuple[str, ...]
    definition: str
    formula: str


_LOAD = ("load",)
_GENERATE = ("generate",)
_BOTH = ("load", "generate")

_DEFINITIONS: tuple[Metric, ...] = (
    Metric(
        "load_s", "load", "s", "lower", _LOAD,
        "Time from starting the worker process until the model is open.",
        "end of span `open` - start of span `process`",
    ),
    Metric(
        "process_s", "process start", "s", "lower", _LOAD,
        "Time from starting the worker process until its first line arrives.",
        "duration of span `process`",
    ),
    Metric(
        "import_s", "engine import", "s", "lower", _LOAD,
        "Time the engine's own modules take to import.",
        "duration of span `import`",
    ),
    Metric(
        "open_s", "model open", "s", "lower", _LOAD,
        "Time the engine takes to open the artifact.",
        "duration of span `open`",
    ),
    Metric(
        "load_first_token_ms", "first token after load", "ms", "lower", _LOAD,
        "Time to first token of the first request after loading: it pays for page faults and "
        "whatever the engine left to do lazily.",
        "first token - submit, of the trial's first request that is not a warm-up",
    ),
    Metric(
        "ttft_ms", "time to first token", "ms", "lower", _GENERATE,
        "Time to first token, the whole prompt being evaluated.",
        "first token - submit; median over the trial's requests",
    ),
    Metric(
        "ttft_reused_prefix_ms", "time to first token (prefix reused)", "ms", "lower", _GENERATE,
        "Time to first token where the engine may reuse the prompt's cached prefix. "
        "Not comparable with ttft_ms.",
        "first token - submit; median over the trial's requests",
    ),
    Metric(
        "prefill_tok_s", "prefill speed", "tok/s", "higher", _GENERATE,
        "Prompt tokens per second until the first token, which is included in the time.",
        "prompt tokens / (first token - submit); median over the trial's requests",
    ),
    Metric(
        "decode_tok_s", "decode speed", "tok/s", "higher", _GENERATE,
        "Tokens per second after the first one.",
        "(tokens - 1) / (last token - first token); median over the trial's requests",
    ),
    Metric(
        "tpot_ms", "time per output token", "ms", "lower", _GENERATE,
        "Mean time per token after the first one.",
        "(last token - first token) / (tokens - 1); median over the trial's requests",
    ),
    Metric(
        "itl_ms", "inter-token latency", "ms", "lower", _GENERATE,
        "Median gap between two tokens.",
        f"50th percentile of the trial's pooled gaps (method '{PERCENTILE_METHOD}')",
    ),
    Metric(
        "itl_p95_ms", "inter-token latency, p95", "ms", "lower", _GENERATE,
        "Gap between two tokens that 95 % of the gaps do not exceed.",
        f"95th percentile of the trial's pooled gaps (method '{PERCENTILE_METHOD}')",
    ),
    Metric(
        "itl_p99_ms", "inter-token latency, p99", "ms", "lower", _GENERATE,
        "Gap between two tokens that 99 % of the gaps do not exceed.",
        f"99th percentile of the trial's pooled gaps (method '{PERCENTILE_METHOD}')",
    ),
    Metric(
        "e2e_ms", "whole request", "ms", "lower", _GENERATE,
        "Time from submitting a request until the engine has ended it.",
        "done - submit; median over the trial's requests",
    ),
    Metric(
        "output_tokens", "output tokens", "tokens", None, _GENERATE,
        "Tokens that came out.",
        "tokens per request; median over the trial's requests",
    ),
    Metric(
        "peak_rss_bytes", "peak RSS", "bytes", "lower", _BOTH,
        "Largest resident set of the worker, shared pages counted in full.",
        "the kernel's high-water mark; the largest sampled value where there is none",
    ),
    Metric(
        "peak_pss_bytes", "peak PSS", "bytes", "lower", _BOTH,
        "Largest proportional set of the worker, shared pages counted by share (Linux only).",
        "largest sampled value",
    ),
    Metric(
        "peak_memory_to_model_size", "peak memory / model size", "ratio", "lower", _BOTH,
        "Peak memory as a multiple of the artifact's size on disk.",
        "peak_pss_bytes (peak_rss_bytes where there is no PSS) / bytes of the artifact",
    ),
    Metric(
        "peak_load_pss_bytes", "peak PSS, load", "bytes", "lower", _BOTH,
        "Largest proportional set while the engine was imported and the model opened.",
        "largest reading from the start of span `import` until the first request",
    ),
    Metric(
        "peak_prefill_pss_bytes", "peak PSS, prefill", "bytes", "lower", _BOTH,
        "Largest proportional set while a prompt was evaluated.",
        "largest reading between submit and first token, over the trial's requests",
    ),
    Metric(
        "peak_decode_pss_bytes", "peak PSS, decode", "bytes", "lower", _BOTH,
        "Largest proportional set after the first token.",
        "largest reading from the first token until the next request or the close",
    ),
    Metric(
        "peak_anonymous_bytes", "peak anonymous memory", "bytes", "lower", _BOTH,
        "Largest share of the proportional set that no file backs: it can only be swapped out.",
        "largest sampled value",
    ),
    Metric(
        "peak_file_backed_bytes", "peak file-backed memory", "bytes", None, _BOTH,
        "Largest share of the proportional set that is mapped from files: mapped weights, code.",
        "largest sampled value",
    ),
    Metric(
        "peak_swap_bytes", "peak swap", "bytes", "lower", _BOTH,
        "Largest amount of the worker's memory that was swapped out.",
        "largest sampled value",
    ),
    Metric(
        "peak_device_bytes", "peak GPU memory", "bytes", "lower", _BOTH,
        "Largest amount of GPU memory that the worker held, as the driver counts it (NVIDIA only).",
        "largest sampled value, from NVML",
    ),
    Metric(
        "sampler_cpu_share", "sampler's CPU share", "ratio", None, _BOTH,
        "What sampling memory cost, as a share of one core.",
        "CPU time of the sampling / wall time of the trial",
    ),
)  # fmt: skip

#: All metrics by name, in the order in which reports list them.
METRICS: dict[str, Metric] = {metric.name: metric for metric in _DEFINITIONS}

_ONLY_FRESH_PREFIX = {"ttft_ms", "prefill_tok_s"}
_ONLY_REUSED_PREFIX = {"ttft_reused_prefix_ms"}


def reuses_prefix(case: Case) -> bool:
    return case.parameters.get("reuse_prefix") is True


def applicable(case: Case) -> tuple[Metric, ...]:
    """The metrics that a trial of this case can give, whether or not any did."""
    excluded = _ONLY_FRESH_PREFIX if reuses_prefix(case) else _ONLY_REUSED_PREFIX
    return tuple(
        m for m in METRICS.values() if case.measure in m.measures and m.name not in excluded
    )


def derive(record: Record, facts: ArtifactFacts | None = None) -> dict[str, float]:
    """The values of one trial by metric name; empty unless the record is ok.

    A metric whose observations are missing is left out, never guessed. `facts` gives the
    artifact's size; without it there is no peak_memory_to_model_size.
    """
    if record.status != "ok":
        return {}
    found: dict[str, float | None] = {}
    if record.case.measure == "load":
        found.update(_load(record))
    elif record.case.measure == "generate":
        found.update(_generate(record))
    found.update(memory.values(record, facts))
    return {
        metric.name: value
        for metric in applicable(record.case)
        if (value := found.get(metric.name)) is not None
    }


def ttft_ms(sample: Sample) -> float | None:
    """First token - submit of one request, in ms; None where it has no such time (`timings`)."""
    from results import timings

    return _only(timings.ttft_ms, sample)


def decode_tok_s(sample: Sample) -> float | None:
    """Tokens per second after the first of one request; None below two tokens (`timings`)."""
    from results import timings

    return _only(timings.decode_tok_s, sample)


def span_values(record: Record) -> dict[str, float | None]:
    """The phases of loading, in seconds."""
    spans = {name: record.span(name) for name in ("process", "import", "open")}
    values: dict[str, float | None] = {
        f"{name}_s": None if span is None else (span.end_ns - span.start_ns) / 1e9
        for name, span in spans.items()
    }
    start, end = spans["process"], spans["open"]
    values["load_s"] = (end.end_ns - start.start_ns) / 1e9 if start and end else None
    return values


def counted(record: Record) -> tuple[Sample, ...]:
    """The samples of an ok record that count: no warm-ups."""
    return tuple(s for s in record.samples if not s.warmup) if record.status == "ok" else ()


def _load(record: Record) -> dict[str, float | None]:
    values = span_values(record)
    first = next(iter(counted(record)), None)
    values["load_first_token_ms"] = None if first is None else ttft_ms(first)
    return values


def _generate(record: Record) -> dict[str, float | None]:
    from results import samples, timings

    found = samples.of(record)
    first = _median(timings.ttft_ms(found), found)
    p50, p95, p99 = _percentiles(found.gaps_ns() / 1e6, (50, 95, 99))
    return {
        "ttft_ms": first,
        "ttft_reused_prefix_ms": first,
        "prefill_tok_s": _median(timings.prefill_tok_s(found), found),
        "decode_tok_s": _median(timings.decode_tok_s(found), found),
        "tpot_ms": _median(timings.tpot_ms(found), found),
        "itl_ms": p50,
        "itl_p95_ms": p95,
        "itl_p99_ms": p99,
        "e2e_ms": _median(timings.e2e_ms(found), found),
        "output_tokens": _median(found.tokens.astype(float), found),
    }


def _median(values: Floats, of: Samples) -> float | None:
    """Over the requests that count and have a value."""
    known = values[of.counted & (values == values)].tolist()
    return statistics.median(known) if known else None


def _percentiles(values: Floats, ranks: Sequence[int]) -> list[float | None]:
    """What `numpy.percentile(values, ranks, method=PERCENTILE_METHOD)` gives, ten times as fast: a
    run has as many calls as trials."""
    ordered = sorted(values.tolist())
    if not ordered:
        return [None] * len(ranks)
    found: list[float | None] = []
    for rank in ranks:
        at = (len(ordered) - 1) * (rank / 100)
        lower = ordered[int(at)]
        upper, share = ordered[min(int(at) + 1, len(ordered) - 1)], at - int(at)
        # From the nearer end, as numpy does: the last digit is the same.
        step = upper - lower
        found.append(lower + step * share if share < 0.5 else upper - step * (1 - share))
    return found


def _only(of: Callable[[Samples], Floats], sample: Sample) -> float | None:
    from results.samples import Samples

    (value,) = of(Samples((sample,))).tolist()
    return value if value == value else None
