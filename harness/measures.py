"""The measures a scenario can ask for: their fields in YAML, and the cases they expand to.

What a measure does inside a worker is in `harness.worker.measures`, under the same name. A new
measure is a class here, an entry in `MeasureEntry`, and a function there.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


class Strict(BaseModel):
    """User-written input: unknown fields are refused, numbers are not guessed from text."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


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


class MeasureEntry(Strict):
    """One entry of `measures`: exactly one measure with its parameters."""

    load: LoadMeasure | None = None
    generate: GenerateMeasure | None = None

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
        measure: LoadMeasure | GenerateMeasure = getattr(self, self.name)
        yield from measure.parameters()
