"""The scenario file: what a user writes to say which bake-off to run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from harness import yaml_source
from harness.errors import BadInput, Problem
from harness.measures import MeasureEntry, Number
from harness.strict import Strict
from results.metrics import METRICS

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
Scalar = str | int | float | bool


def _single(value: object) -> object:
    """`llamacpp` and `llamacpp:` mean `llamacpp: {}`."""
    if isinstance(value, str):
        return {value: {}}
    if isinstance(value, dict):
        if len(value) != 1:
            raise ValueError("expected one backend per entry, as in '- llamacpp: {artifacts: […]}'")
        return {name: {} if fields is None else fields for name, fields in value.items()}
    return value


def _resolved(python: str) -> str:
    from harness import environments

    return environments.resolve(python)


Interpreter = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_resolved)]


class BackendSettings(Strict):
    """How to run one engine."""

    name: Name | None = Field(
        None, max_length=40, description="what reports call this arm, instead of its options"
    )
    artifacts: list[Name] | None = Field(
        None, min_length=1, description="artifacts of the model; default: all it can read"
    )
    python: Interpreter | None = Field(
        None,
        description="interpreter of the worker, or the name of an engine environment; default: the "
        "engine's own environment where there is one, else bakeoff's interpreter",
    )
    device: str = Field("cpu", max_length=80)
    mmap: bool | None = None
    mlock: bool | None = None
    options: dict[Name, Scalar] = Field(
        default_factory=dict, description="engine-specific options, by the engine's own names"
    )

    def recorded(self) -> dict[str, Any]:
        """What the records of a case keep. A name that nobody gave makes no case another one."""
        return self.model_dump(exclude={"artifacts"} | ({"name"} if self.name is None else set()))

    def housed(self, backend: str) -> Self:
        """With the interpreter of the engine's own environment, where none is named."""
        from harness import environments

        found = None if self.python else environments.usual(backend, self.options)
        return self.model_copy(update={"python": found}) if found else self


BackendEntry = Annotated[
    dict[Name, BackendSettings],
    BeforeValidator(_single, json_schema_input_type=str | dict[str, BackendSettings]),
]


class PlanSettings(Strict):
    """How often, in which order, under which limits."""

    trials: int = Field(3, ge=1, le=10_000, description="fresh processes per case")
    warmup: int = Field(1, ge=0, le=1_000, description="untimed requests at the start of a trial")
    requests: int = Field(5, ge=1, le=10_000, description="timed requests per trial")
    threads: int | None = Field(
        None, ge=1, le=4096, description="for prefill and decode; default: the physical cores"
    )
    cpus: list[Annotated[int, Field(ge=0)]] | None = Field(
        None, min_length=1, description="CPU affinity of every worker; default: as bakeoff's own"
    )
    context: int | None = Field(
        None, ge=8, le=10_000_000, description="in tokens; default: what the longest request needs"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="draws the order of trials")
    audit: bool = Field(True, description="try out what each engine claims to do, once per run")
    trial_time_limit_s: Number = Field(300.0, gt=0, le=86_400, description="kills a trial")
    run_time_limit_s: Number | None = Field(
        None, gt=0, description="starts no further trial; the run can be resumed"
    )


class Limit(Strict):
    max: Number | None = None
    min: Number | None = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.max is None and self.min is None:
            raise ValueError("expected max or min")
        return self


def _metric(name: str) -> str:
    if name not in METRICS:
        raise ValueError("unknown metric" + yaml_source.suggestion(name, METRICS))
    return name


class Scenario(Strict):
    """A bake-off: models × backends × measures, a plan, and the budgets to meet."""

    name: Name
    description: str = Field("", max_length=2_000)
    models: list[str] = Field(min_length=1, description="ids, or paths of manifests or model files")
    backends: list[BackendEntry] = Field(min_length=1)
    measures: list[MeasureEntry] = Field(min_length=1)
    plan: PlanSettings = Field(default_factory=lambda: PlanSettings.model_validate({}))
    budgets: dict[Annotated[str, BeforeValidator(_metric)], Limit] = Field(
        default_factory=dict, json_schema_extra={"propertyNames": {"enum": [*sorted(METRICS)]}}
    )

    @model_validator(mode="after")
    def _reuse_needs_a_first_request(self) -> Self:
        reusing = any(m.generate and m.generate.reuse_prefix for m in self.measures)
        if reusing and self.plan.warmup == 0:
            raise ValueError(
                "reuse_prefix needs plan.warmup of at least 1, to have a prefix to reuse"
            )
        return self

    @model_validator(mode="after")
    def _one_set_each(self) -> Self:
        names = [e.name for e in self.measures if e.templates or e.item_set]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"expected at most one `{name}` among the measures")
        return self


@dataclass(frozen=True)
class LoadedScenario:
    """A checked scenario with its text, so that later checks can still name its lines."""

    scenario: Scenario
    document: yaml_source.Document

    @property
    def path(self) -> Path:
        return self.document.path

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.document.text.encode()).hexdigest()

    def refuse(
        self, reason: str, location: yaml_source.Location, remedy: str | None = None
    ) -> BadInput:
        field = ".".join(map(str, location))
        return BadInput(self.path, [Problem(reason, self.document.line(location), field)], remedy)


def load(path: Path, known_backends: Callable[[], list[str]]) -> LoadedScenario:
    """Read and check a scenario file. Raises BadInput with every problem found."""
    return check(yaml_source.read(path), known_backends)


def check(
    document: yaml_source.Document, known_backends: Callable[[], list[str]]
) -> LoadedScenario:
    """Check a scenario that was read before. Raises BadInput with every problem found."""
    loaded = LoadedScenario(yaml_source.validate(Scenario, document), document)
    named = set()
    for index, entry in enumerate(loaded.scenario.backends):
        for backend, settings in entry.items():
            if (arm := settings.name) is not None and (backend, arm) in named:
                place = ("backends", index, backend, "name")
                raise loaded.refuse(f"two arms of {backend} are named {arm!r}", place, "rename one")
            named.add((backend, arm))
    known = known_backends()
    unknown = [
        Problem(
            f"unknown backend {name!r}" + yaml_source.suggestion(name, known),
            document.line(("backends", index, name)),
            f"backends.{index}",
        )
        for index, entry in enumerate(loaded.scenario.backends)
        for name in entry
        if name not in known
    ]
    for index, measure in enumerate(loaded.scenario.measures):
        name = measure.fidelity.reference.backend if measure.fidelity else None
        if name is not None and name not in known:
            where = ("measures", index, "fidelity", "reference", "backend")
            reason = f"unknown backend {name!r}" + yaml_source.suggestion(name, known)
            unknown.append(Problem(reason, document.line(where), f"measures.{index}.fidelity"))
    if unknown:
        raise BadInput(document.path, unknown, "see what is installed: bakeoff backends")
    return loaded


def json_schema() -> dict[str, Any]:
    """JSON Schema of scenario files, for editors."""
    schema = Scenario.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
