"""A run as one tidy pandas frame, for notebooks: one row per sample.

The frame is raw: warm-up requests and the samples that a failed trial left are in it, marked.
What reports count is `frame.query("status == 'ok' and not warmup")`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results import memory, metrics, store
from results.records import ArtifactFacts, Record

if TYPE_CHECKING:
    import pandas as pd

#: The same for all samples of a trial. `*_bytes` and `*_s` are None unless the OS or worker said.
#: `failed_checks` names what an audit caught.
TRIAL_COLUMNS = (
    "run", "trial", "status", "reason", "model", "backend", "engine_version", "artifact", "format",
    "precision", "weights", "measure", "repetition", "attempt", "started_at", "wall_s",
    "process_s", "import_s", "open_s", "load_s", "peak_rss_bytes", "peak_pss_bytes",
    "peak_memory_to_model_size", "peak_load_pss_bytes", "peak_prefill_pss_bytes",
    "peak_decode_pss_bytes", "peak_anonymous_bytes", "peak_file_backed_bytes", "peak_swap_bytes",
    "peak_device_bytes",
    "sampler_cpu_share", "failed_checks",
)  # fmt: skip

#: Per sample; missing for a record without samples. `sent_tokens` and `received_tokens` were
#: counted; the columns `prompt_tokens` and `output_tokens` are the parameters asked for.
SAMPLE_COLUMNS = (
    "sample", "warmup", "prompt_digest", "prompt_ids", "output_ids", "sent_tokens",
    "received_tokens", "ttft_ms", "ttft_reused_prefix_ms", "prefill_tok_s", "tpot_ms",
    "decode_tok_s", "e2e_ms",
)  # fmt: skip

_RESERVED = frozenset(TRIAL_COLUMNS + SAMPLE_COLUMNS)


def load(path: Path | str) -> pd.DataFrame:
    """Read a run folder into a frame, one row per sample.

    A record without samples gives one row with the sample columns missing. Parameters are
    columns of their own, those of sampling too (`temperature`, `top_k` …). `prompt_ids` holds
    None where the run does not have the prompt. Raises StoreError.
    """
    return of(store.read(path))


def of(run: store.Run) -> pd.DataFrame:
    """The frame of a run that is already in memory."""
    import pandas as pd

    prompts = {prompt.digest: list(prompt.ids) for prompt in run.prompts}
    facts = {(f.model, f.artifact): f for f in run.info.artifacts}
    flat = {
        r.case.key: dict(flatten({**r.case.parameters, **r.case.settings})) for r in run.records
    }
    names = tuple(dict.fromkeys(name for one in flat.values() for name in one))

    # Trial columns are built once per trial and repeated by count: a million samples would
    # otherwise hold a million references per column while it is being built.
    counts = [max(1, len(record.samples)) for record in run.records]
    trials: dict[str, list[Any]] = {name: [] for name in (*TRIAL_COLUMNS, *names)}
    columns: dict[str, list[Any]] = {name: [] for name in SAMPLE_COLUMNS}
    for record in run.records:
        found = facts.get((record.case.model, record.case.artifact))
        for name, value in _trial(run.info.id, record, found).items():
            trials[name].append(value)
        parameters = flat[record.case.key]
        for name in names:
            trials[name].append(parameters.get(name))
        for name, values in _samples(record, prompts).items():
            columns[name].extend(values)

    repeated = pd.DataFrame(trials)
    repeated = repeated.loc[repeated.index.repeat(counts)].reset_index(drop=True)
    each = pd.DataFrame(columns)
    for name in ("sample", "sent_tokens", "received_tokens"):
        each[name] = each[name].astype("Int64")
    each["warmup"] = each["warmup"].astype("boolean")
    for name in SAMPLE_COLUMNS[SAMPLE_COLUMNS.index("ttft_ms") :]:
        each[name] = each[name].astype("float64")
    return pd.concat([repeated, each], axis=1)


def flatten(parameters: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Parameters as (column, value): `sampling` spread out, names of other columns kept apart."""
    for name, value in parameters.items():
        if isinstance(value, Mapping):
            yield from flatten(value)
        else:
            yield (f"parameter_{name}" if name in _RESERVED else name), value


def _trial(run: str, record: Record, facts: ArtifactFacts | None) -> dict[str, Any]:
    case = record.case
    return {
        "run": run,
        "trial": record.trial,
        "status": record.status,
        "reason": record.reason,
        "model": case.model,
        "backend": case.backend,
        "engine_version": record.engine.version if record.engine else None,
        "artifact": case.artifact,
        "format": facts.format if facts else None,
        "precision": facts.precision if facts else None,
        "weights": facts.weights if facts else None,
        "measure": case.measure,
        "repetition": record.repetition,
        "attempt": record.attempt,
        "started_at": record.started_at,
        "wall_s": record.wall_s,
        **metrics.span_values(record),
        **memory.values(record, facts),
        "failed_checks": ", ".join(c.name for c in record.checks if c.passed is False) or None,
    }


def _samples(record: Record, prompts: Mapping[str, list[int]]) -> dict[str, list[Any]]:
    """The sample columns of one record; a record without samples has one row of None."""
    if not record.samples:
        return {name: [None] for name in SAMPLE_COLUMNS}
    from results import samples, timings

    found = samples.of(record)
    none = [None] * len(found)
    reused = metrics.reuses_prefix(record.case)
    ttft = timings.ttft_ms(found).tolist()
    ids, ends = found.token_ids.tolist(), found.ends.tolist()
    return {
        "sample": found.indices.tolist(),
        "warmup": found.warmup.tolist(),
        "prompt_digest": found.prompt,
        "prompt_ids": [prompts.get(digest) for digest in found.prompt],
        "output_ids": [ids[a:b] for a, b in zip([0, *ends], ends, strict=False)],
        "sent_tokens": found.prompt_tokens.tolist(),
        "received_tokens": found.tokens.tolist(),
        "ttft_ms": none if reused else ttft,
        "ttft_reused_prefix_ms": ttft if reused else none,
        "prefill_tok_s": none if reused else timings.prefill_tok_s(found).tolist(),
        "tpot_ms": timings.tpot_ms(found).tolist(),
        "decode_tok_s": timings.decode_tok_s(found).tolist(),
        "e2e_ms": timings.e2e_ms(found).tolist(),
    }
