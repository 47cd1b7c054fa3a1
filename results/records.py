"""What a run keeps: raw observations, as frozen dataclasses (`encoding` takes them to JSON and back).

Standard library only. Times ending in `_ns` are `time.perf_counter_ns` readings. That clock is
system-wide on Linux, macOS and Windows, so readings of the parent and of a worker can be
compared; it has no meaning across reboots.

Nothing here is derived: means, rates and intervals are computed when read (`metrics`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

SCHEMA = 1

Status = Literal["ok", "failed", "timeout", "crashed", "unsupported"]
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True)
class Case:
    """Backend × artifact × measure × parameters, on one model.

    Both mappings hold plain JSON values and are complete: nothing is left to a default elsewhere.
    `parameters` are the task, the same for all cases that may be compared: prompt_tokens,
    output_tokens, context, threads; for `load` page_cache; for `generate` reuse_prefix and
    sampling (a mapping of all sampling parameters). `settings` are how this engine is run: device,
    mmap, mlock, options (the engine's own), python (another interpreter), and the arm's name where the
    scenario gives one. `arm` is `base` or `candidate` in a gate, else empty.
    """

    model: str
    backend: str
    artifact: str
    measure: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    arm: str = ""

    @cached_property
    def key(self) -> str:
        """Stable short digest: the same case has the same key in every run."""
        said = {name: value for name, value in asdict(self).items() if name != "arm" or value}
        canonical = json.dumps(said, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Trial:
    """One planned process: a case and which repetition of it (from 0)."""

    id: str
    case: Case
    repetition: int


@dataclass(frozen=True)
class Sample:
    """One timed request inside a trial.

    `prompt` is the digest of the ids handed to the engine (see `Prompt`). `submitted_ns` is
    stamped right before the request goes to the engine, `token_ns[i]` right after token i came
    out, `done_ns` when the engine's iterator had ended. `claims` is what the engine says about
    this request itself. Warm-up requests are kept, marked, and never counted.
    """

    index: int
    warmup: bool
    prompt: str
    prompt_tokens: int
    submitted_ns: int
    token_ns: tuple[int, ...]
    token_ids: tuple[int, ...]
    done_ns: int
    claims: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class MemoryPoint:
    """Memory of the worker and its children at one moment, in bytes; None where the OS can't say.

    `anonymous` + `file_backed` = `pss` on Linux (proportional shares, from smaps_rollup).
    `device` is what the processes hold on NVIDIA GPUs, as the driver counts it.
    """

    at_ns: int
    rss: int
    pss: int | None = None
    uss: int | None = None
    anonymous: int | None = None
    file_backed: int | None = None
    swap: int | None = None
    device: int | None = None


@dataclass(frozen=True)
class Memory:
    """Memory sampled from outside the worker, with its own readings at the ends of its phases.

    `interval_s` is the shortest time between two samples, `sampler_cpu_s` the CPU time that
    taking them cost the parent; `peak_rss` is the kernel's own high-water mark, which no
    sampling can miss (None where there is none).
    """

    interval_s: float
    sampler_cpu_s: float
    points: tuple[MemoryPoint, ...] = ()
    peak_rss: int | None = None


@dataclass(frozen=True)
class Span:
    """A phase of the worker's life, by name: `process`, `import`, `open`, `generate`, `close`."""

    name: str
    start_ns: int
    end_ns: int


@dataclass(frozen=True)
class Engine:
    """What the worker's `probe` said in this very trial."""

    version: str | None = None
    build: Mapping[str, str] = field(default_factory=dict)
    devices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """One claim of the engine, tried out by the `audit` measure.

    `passed` is None where the engine gives no way to tell. `detail` says what was seen; for a
    check that did not pass it reads as a sentence about the engine.
    """

    name: str
    passed: bool | None
    detail: str


RenderingStatus = Literal["rendered", "rejected", "unsupported", "stopped", "broken"]


@dataclass(frozen=True)
class Rendering:
    """What one engine made of one conversation, or why it made nothing.

    `status` is `rendered`; `rejected` (the template raised, or the engine did, over these
    messages); `unsupported` (the engine cannot be asked this); `stopped` (a limit of time, memory
    or output, or the process died); `broken` (given by the reference only: the model has no usable
    template). `reason` is set unless it was rendered. `ids` is None where no tokenizer was there.
    `pieces` are the texts of the ids, or empty. `answer_ids` (reference only) are the ids of the
    conversation's answer.
    """

    conversation: str
    status: RenderingStatus
    text: str = ""
    ids: tuple[int, ...] | None = None
    pieces: tuple[str, ...] = ()
    reason: str | None = None
    answer_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Conversation:
    """Messages that every engine renders, each with `role` and `content`.

    With `prefill` the last message is the beginning of the answer, to be continued. `answer` is a
    fixed good answer, whose log-probability says what a wrong prompt does to the model. `variables`
    are further template variables (a date).
    """

    name: str
    about: str
    messages: tuple[Mapping[str, Any], ...]
    prefill: bool = False
    answer: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Score:
    """Log-probabilities (natural) of an answer's tokens after a prompt, by a named arm.

    `prompt` and `answer` are digests of ids (`digest_ids`); one number per token of the answer.
    """

    conversation: str
    prompt: str
    answer: str
    logprobs: tuple[float, ...]


@dataclass(frozen=True)
class Record:
    """What one trial left behind, whatever happened.

    `reason` and `remedy` are set unless `status` is ok. `exit_code` is the worker's; `signal`
    the name of the signal that ended it, if one did. `log_tail` is the end of what the engine
    printed, kept for failures only (the whole log is in the run's `logs/`).

    `conditions` are what the trial really ran under; keys that may be there:
    `busy_threads` (threads that did the measured work), `threads` (all of them), `child_cpu_s`
    (CPU time of the worker's children), `affinity`, `nice`, `cpu_user_s`, `cpu_system_s`,
    `page_cache` (`asked`, and the shares of the artifact's pages `resident_before` and
    `resident_after`, 0 to 1, None where unknown), `disturbance` (by others, while the trial ran:
    `steal_s`, `foreign_cpu_s`, `pressure_s`, `frequency_mhz`, `temperature_c`; None where
    unreadable), `vocabulary` (of the chat-template reference: `bos` and `eos` as text or None,
    `special` as a mapping from text to id, `tokenizer` saying which one made the ids). `checks` are
    filled by the `audit` measure only, `renderings` by `templates`, `scores` by `harm`.
    `samples` are a tuple, or the columns that equal it (`results.samples`) in a record that was read.
    `observations` are plain JSON that the module of a measure reads (`fidelity`, `quality`,
    `sampling`); a worker sent them, so their reader checks them.
    """

    trial: str
    case: Case
    repetition: int
    attempt: int
    status: Status
    started_at: str
    wall_s: float
    reason: str | None = None
    remedy: str | None = None
    exit_code: int | None = None
    signal: str | None = None
    log_tail: str = ""
    engine: Engine | None = None
    spans: tuple[Span, ...] = ()
    samples: Sequence[Sample] = ()
    memory: Memory | None = None
    conditions: Mapping[str, Any] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    renderings: tuple[Rendering, ...] = ()
    scores: tuple[Score, ...] = ()
    observations: tuple[Mapping[str, Any], ...] = ()
    schema: int = SCHEMA

    def span(self, name: str) -> Span | None:
        return next((s for s in self.spans if s.name == name), None)


@dataclass(frozen=True)
class Prompt:
    """Token ids that requests were made of. `digest` names them in samples."""

    digest: str
    ids: tuple[int, ...]
    text: str


@dataclass(frozen=True)
class ArtifactFacts:
    """What a run knows about the weights it used.

    `weights` names the set of numbers: two artifacts with equal `weights` hold numerically
    the same ones. `precision` is how they are stored (f32, q4_1, int4 …). `bytes` is the size
    on disk, `sha256` the digest of the file, or of the sorted digests of a folder's files.
    `provenance` says where it came from, made from what, by which tool and version.
    """

    model: str
    artifact: str
    format: str
    precision: str
    weights: str
    bytes: int
    sha256: str
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Budget:
    """An absolute limit on a metric, in the metric's unit."""

    metric: str
    max: float | None = None
    min: float | None = None


@dataclass(frozen=True)
class RunInfo:
    """`run.json`: what was planned, on which machine, with what. Written before the first trial.

    `engines` holds, per backend, what its probe said when the run was planned. `tokenizer` names
    the backend, artifact and version that made the prompt ids. `fingerprint` is a digest of the
    parts of `host` that decide speed: timings under different fingerprints are not comparable.
    `items` are what measures other than speed work on, by measure: a list of mappings with a
    `name`, as the data file has them.
    """

    id: str
    bakeoff: str
    created_at: str
    command: tuple[str, ...]
    scenario_name: str
    scenario_description: str
    scenario_text: str
    scenario_sha256: str
    seed: int
    plan: Mapping[str, Any]
    trials: tuple[Trial, ...]
    artifacts: tuple[ArtifactFacts, ...]
    budgets: tuple[Budget, ...]
    host: Mapping[str, Any]
    fingerprint: str
    tokenizer: Mapping[str, str]
    environment: Mapping[str, str]
    engines: Mapping[str, Any] = field(default_factory=dict)
    conversations: tuple[Conversation, ...] = ()
    items: Mapping[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA


def digest_ids(ids: tuple[int, ...] | list[int]) -> str:
    """The name of a sequence of token ids: 16 hex digits of the sha256 of their decimal list."""
    return hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()[:16]
