"""Nested facts (a host, a plan, where an artifact comes from) as flat rows to show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reports import numbers
from reports.untrusted import one_line


def rows(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """A nested mapping as flat (name, text) rows, bounded in number by what a run holds."""
    for key, value in data.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from rows(value, f"{name}.")
        elif isinstance(value, list | tuple):
            yield one_line(name, 80), one_line(", ".join(map(str, value)), 400)
        elif str(key).endswith("_bytes") and isinstance(value, int | float):
            yield one_line(name, 80), numbers.quantity(value, "bytes")
        elif value is not None:
            yield one_line(name, 80), one_line(value, 400)
