"""llama.cpp, slowed by a known share: what a gate must find, or must let pass.

Options `delay` (share of each token's own time, first token excepted) and `load_delay` (share of the
process's age when the model is open; Linux only). The waiting is busy, so that it is exact and takes no core from the engine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from backends.api import Artifact, LoadOptions, Request, Token
from backends.llamacpp import LlamaCpp


class SlowedLlamaCpp(LlamaCpp):
    name = "slowed-llamacpp"

    def __init__(self) -> None:
        super().__init__()
        self._delay = 0.0

    def load(self, artifact: Artifact, options: LoadOptions) -> None:
        extra = dict(options.extra)
        self._delay = float(extra.pop("delay", 0.0))
        share = float(extra.pop("load_delay", 0.0))
        super().load(artifact, replace(options, extra=extra))
        if share:
            _wait(share * _age())

    def generate(self, request: Request) -> Iterator[Token]:
        first = True
        began = perf_counter()
        for token in super().generate(request):
            if not first:
                _wait(self._delay * (perf_counter() - began))
            first = False
            yield token
            began = perf_counter()


def _age() -> float:
    """Seconds since this process started."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def _wait(seconds: float) -> None:
    end = perf_counter() + seconds
    while perf_counter() < end:
        pass
