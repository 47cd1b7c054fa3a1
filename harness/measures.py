"""The measures a scenario can ask for: their fields in YAML, and the cases they expand to.

What a measure does inside a worker is in `harness.worker.measures`, under the same name. A new
measure is a class here, an entry in `MeasureEntry`, and a function there.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from harness.strict import Strict

CHAT_CONTEXT = 1024
"""Tokens that a conversation with its answer may need."""


def _listed(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _greedy(value: object) -> object:
    return {} if value == "greedy" else value


Length = Annotated[int, Field(ge=1, le=1_000_000)]
Lengths = Annotated[
    list[Length],
    Field(min_length=1, max_length=64, json_schema_extra={"description": "one number or a list"}),
    BeforeValidator(_listed, json_schema_input_type=Length | list[Length]),
]
Count = Annotated[int, Field(ge=0, le=100_000)]
Number = Annotated[float, Field(allow_inf_nan=False, strict=False)]


class SamplingSettings(Strict):
    """How the next token is chosen. Every parameter is always passed; the defaults mean "off"."""

    temperature: Number = Field(0.0, ge=0, le=10, description="0 is greedy decoding")
    top_k: int = Field(0, ge=0, description="0 is off")
    top_p: Number = Field(1.0, gt=0, le=1, description="1 is off")
    min_p: Number = Field(0.0, ge=0, lt=1, description="0 is off")
    repetition_penalty: Number = Field(1.0, gt=0, le=10, description="1 is off")
    seed: int = Field(0, ge=0, lt=2**32, description="request k of a trial uses seed + k")

    @model_validator(mode="after")
    def _filters_need_temperature(self) -> Self:
        if self.temperature == 0 and (self.top_k or self.top_p < 1 or self.min_p):
            raise ValueError(
                "top_k, top_p and min_p do nothing at temperature 0 (greedy), expected a temperature"
            )
        return self


Sampling = Annotated[
    SamplingSettings,
    BeforeValidator(_greedy, json_schema_input_type=Literal["greedy"] | SamplingSettings),
]


class LoadMeasure(Strict):
    """Start a process, import the engine, open the model, make the first token."""

    page_cache: Annotated[list[Literal["warm", "cold"]], BeforeValidator(_listed)] = Field(
        ["warm"],
        min_length=1,
        description="state of the model's files in the page cache: read once before, or dropped",
    )

    def parameters(self) -> Iterator[dict[str, Any]]:
        for state in dict.fromkeys(self.page_cache):
            yield {"page_cache": state, "prompt_tokens": 8, "output_tokens": 1}


class GenerateMeasure(Strict):
    """Time to first token, decode speed and memory for requests of a given size."""

    prompt_tokens: Lengths = Field(description="lengths of the prompt, made from real text")
    output_tokens: Lengths = Field(description="tokens generated, forced past end-of-sequence")
    sampling: Sampling = Field(default_factory=lambda: SamplingSettings.model_validate({}))
    reuse_prefix: bool = Field(
        False,
        description="requests share the first 7/8 of their prompt, and the engine may keep its KV "
        "cache; gives another TTFT metric",
    )

    def parameters(self) -> Iterator[dict[str, Any]]:
        lengths = itertools.product(
            dict.fromkeys(self.prompt_tokens), dict.fromkeys(self.output_tokens)
        )
        for prompt_tokens, output_tokens in lengths:
            yield {
                "prompt_tokens": prompt_tokens,
                "output_tokens": output_tokens,
                "sampling": self.sampling.model_dump(),
                "reuse_prefix": self.reuse_prefix,
            }


class TemplatesMeasure(Strict):
    """What each engine itself makes of conversations, against the model's own chat template."""

    conversations: str = Field(
        "standard", min_length=1, description="a shipped set, or the path of a YAML file"
    )
    harm: bool = Field(
        True,
        description="also score a good answer after each wrong prompt, with an engine of the "
        "scenario that gives logits",
    )

    def parameters(self) -> Iterator[dict[str, Any]]:
        yield {}


class ReferenceArm(Strict):
    """The engine and artifact that fidelity is held against."""

    backend: str = Field("transformers", min_length=1)
    artifact: str | None = Field(None, description="default: the one with the model's tokenizer")


class FidelityMeasure(Strict):
    """Each engine's next-token distribution against a reference's, on fixed token ids."""

    texts: str = Field("fidelity", min_length=1, description="a shipped set, or a .jsonl file")
    items: Count = Field(0, description="texts to use, spread over the set; 0 means all")
    output_tokens: Length = Field(24, description="greedy tokens after each chat prompt")
    reference: ReferenceArm = Field(default_factory=lambda: ReferenceArm.model_validate({}))

    def parameters(self) -> Iterator[dict[str, Any]]:
        yield {"output_tokens": self.output_tokens}


class QualityMeasure(Strict):
    """Answers to tasks that can be checked, greedy and sampled."""

    tasks: str = Field("standard", min_length=1, description="a shipped set, or a .jsonl file")
    items: Count = Field(0, description="tasks to use, spread over the set; 0 means all")
    output_tokens: Length = Field(32, description="at most; the model may end sooner")
    settings: list[Sampling] = Field(
        default_factory=lambda: [
            SamplingSettings.model_validate(fields)
            for fields in ({}, {"temperature": 0.8, "top_p": 0.95})
        ],
        min_length=1,
        max_length=16,
        description="how to sample; the first is usually greedy",
    )
    seeds: int = Field(3, ge=1, le=100, description="runs of each setting that samples")

    def parameters(self) -> Iterator[dict[str, Any]]:
        yield {
            "tasks": self.tasks,
            "output_tokens": self.output_tokens,
            "settings": [setting.model_dump() for setting in self.settings],
            "seeds": self.seeds,
        }


class SamplingMeasure(Strict):
    """Many draws of one next token, against the engine's own logits under the same filters."""

    texts: str = Field("sampling", min_length=1, description="a shipped set, or a .jsonl file")
    items: Count = Field(2, description="prompts to use, spread over the set; 0 means all")
    draws: int = Field(2000, ge=50, le=1_000_000, description="per prompt and setting")
    seconds: Number = Field(
        120.0, gt=0, le=86_400, description="after which a slow setting is left with fewer draws"
    )
    settings: list[Sampling] | None = Field(
        None, min_length=1, max_length=64, description="default: each filter alone and together"
    )

    @field_validator("settings")
    @classmethod
    def _draws(cls, settings: list[SamplingSettings] | None) -> list[SamplingSettings] | None:
        if any(setting.temperature == 0 for setting in settings or ()):
            raise ValueError("greedy draws nothing: expected a temperature in each setting")
        return settings

    def parameters(self) -> Iterator[dict[str, Any]]:
        from results.sampling_settings import DEFAULT

        given = [setting.model_dump() for setting in self.settings or ()]
        yield {
            "draws": self.draws,
            "seconds": self.seconds,
            "settings": given or [dict(one) for one in DEFAULT],
        }


class MeasureEntry(Strict):
    """One entry of `measures`: exactly one measure with its parameters."""

    load: LoadMeasure | None = None
    generate: GenerateMeasure | None = None
    templates: TemplatesMeasure | None = None
    fidelity: FidelityMeasure | None = None
    quality: QualityMeasure | None = None
    sampling: SamplingMeasure | None = None

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        if isinstance(value, str):
            return {value: {}}
        if isinstance(value, dict):
            return {name: {} if fields is None else fields for name, fields in value.items()}
        return value

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if len(self.model_fields_set) != 1:
            names = ", ".join(type(self).model_fields)
            raise ValueError(f"expected exactly one measure per entry: {names}")
        return self

    @property
    def name(self) -> str:
        return next(iter(self.model_fields_set))

    def parameters(self) -> Iterator[dict[str, Any]]:
        yield from self.settings.parameters()

    @property
    def settings(self) -> Any:
        """The measure itself."""
        return getattr(self, self.name)

    @property
    def item_set(self) -> str | None:
        """The set of texts or tasks that it works on, if it works on one."""
        return getattr(self.settings, "texts", None) or getattr(self.settings, "tasks", None)


def tokens(parameters: Mapping[str, Any]) -> int:
    """What a case's longest request needs of the context; 0 where no length of prompt is set."""
    if "prompt_tokens" not in parameters:
        return 0
    return int(parameters["prompt_tokens"] + parameters["output_tokens"])
