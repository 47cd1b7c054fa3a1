"""The policy file: what a gate asks for, and what it does when it can't tell."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from harness import places, yaml_source
from harness.measures import Number
from harness.scenario import Limit
from harness.strict import Strict
from results.gate.rules import EXACT, Looks, Margin, Rules
from results.metrics import METRICS
from results.records import Budget

DEFAULT = "default"


def _metric(name: str) -> str:
    if name not in METRICS:
        raise ValueError("unknown metric" + yaml_source.suggestion(name, METRICS))
    return name


MetricName = Annotated[str, BeforeValidator(_metric)]


class MarginFields(Strict):
    """Shares of the base: 0.05 is 5 %."""

    ignorable: Number = Field(0.01, ge=0, lt=1, description="a change up to this is none")
    interest: Number = Field(0.05, gt=0, lt=10, description="a change from this on matters")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.interest <= self.ignorable:
            raise ValueError("expected interest above ignorable")
        return self


class LookFields(Strict):
    """When to judge, in blocks. A regression can be called from ten blocks on."""

    blocks: list[Annotated[int, Field(ge=3, le=1_000)]] = Field([6, 10, 20], min_length=1)
    alpha: Number = Field(0.05, gt=0, le=0.5, description="error allowed over all looks")

    @field_validator("blocks")
    @classmethod
    def _rising(cls, blocks: list[int]) -> list[int]:
        if any(a >= b for a, b in pairwise(blocks)):
            raise ValueError("expected rising numbers of blocks")
        if blocks[-1] < Looks.least:
            raise ValueError(f"expected a last look at {Looks.least} blocks or more")
        return blocks


class Policy(Strict):
    """What fails a candidate."""

    description: str = Field("", max_length=2_000)
    metrics: list[MetricName] = Field(list(Rules.metrics), min_length=1, max_length=40)
    margin: MarginFields = Field(default_factory=lambda: MarginFields.model_validate({}))
    margins: dict[MetricName, MarginFields] = Field(
        default_factory=dict, description="for single metrics; the others have `margin`"
    )
    looks: LookFields = Field(default_factory=lambda: LookFields.model_validate({}))
    redo: int = Field(5, ge=0, le=1_000, description="disturbed blocks that are run again, at most")
    time_limit_s: Number | None = Field(None, gt=0, description="starts no further block")
    yellow: Literal["pass", "fail"] = Field("pass", description="what a gate that can't tell does")
    exact: list[Literal[EXACT]] = Field(list(EXACT), description="must be the same")  # type: ignore[valid-type]
    kl_nats: Number | None = Field(
        0.1, gt=0, description="mean KL of the candidate from the base; null: what its bits allow"
    )
    quality_alpha: Number = Field(0.05, gt=0, le=0.5)
    budgets: dict[MetricName, Limit] = Field(default_factory=dict)

    def rules(self) -> Rules:
        given = {
            name: Margin(float(one.ignorable), float(one.interest))
            for name, one in self.margins.items()
        }
        usual = Rules()
        margin = Margin(float(self.margin.ignorable), float(self.margin.interest))
        return Rules(
            metrics=tuple(dict.fromkeys(self.metrics)),
            margin=margin,
            margins={**usual.margins, **given},
            looks=Looks(tuple(self.looks.blocks), float(self.looks.alpha)),
            redo=self.redo,
            time_limit_s=self.time_limit_s,
            yellow=self.yellow,
            exact=tuple(dict.fromkeys(self.exact)),
            kl_nats=self.kl_nats,
            quality_alpha=float(self.quality_alpha),
            budgets=tuple(Budget(n, limit.max, limit.min) for n, limit in self.budgets.items()),
        )


def load(path: Path | None) -> Rules:
    """The rules of a policy file, or of a shipped policy by name. Raises BadInput."""
    if path is None:
        path = places.POLICIES / f"{DEFAULT}.yaml"
    shipped = places.POLICIES / f"{path.name}.yaml"
    if not path.exists() and path.parent == Path() and not path.suffix and shipped.exists():
        path = shipped
    return yaml_source.validate(Policy, yaml_source.read(path)).rules()


def json_schema() -> dict[str, Any]:
    """JSON Schema of policy files, for editors."""
    schema = Policy.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
