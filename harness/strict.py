"""The base of everything that users write."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """User-written input: unknown fields are refused, numbers are not guessed from text."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
