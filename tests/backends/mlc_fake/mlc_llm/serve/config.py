"""A fake. See `mlc_fake`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class EngineConfig:
    mode: str | None = None
    max_num_sequence: int | None = None
    max_total_sequence_length: int | None = None
    max_single_sequence_length: int | None = None
    prefill_chunk_size: int | None = None
    speculative_mode: str = "disable"
    prefix_cache_mode: str = "radix"
    verbose: bool = True
