"""The environment of workers: an allow-list, and fixed values for what engines read.

No secret reaches an engine but the key that its options name, and an OMP_NUM_THREADS of the user's
shell never reaches a number.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

PASSED_ON = (
    "PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "SYSTEMROOT",
    "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "XDG_CACHE_HOME",
)  # fmt: skip

API_KEY = "BAKEOFF_API_KEY"
"""Variables whose name begins so are keys that the user means for an engine. A worker gets the one
that its engine's option `api_key_env` names, and no other."""

FIXED = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONHASHSEED": "0",
    "PYTHONIOENCODING": "utf-8",
    "PYTHONUNBUFFERED": "1",
}

THREADS = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS", "RAYON_NUM_THREADS",
)  # fmt: skip


def fixed(threads: int) -> dict[str, str]:
    """The variables that bakeoff sets, the same for every engine; recorded with the run."""
    return {**FIXED, **{name: str(threads) for name in THREADS}}


def for_worker(threads: int, options: Mapping[str, Any] | None = None) -> dict[str, str]:
    """The whole environment of a worker. Only one whose engine is told to use a key gets that key."""
    key = (options or {}).get("api_key_env")
    told = {key} if isinstance(key, str) and key.startswith(API_KEY) else set()
    passed = {n: v for n, v in os.environ.items() if n in PASSED_ON or n in told}
    return {**passed, **fixed(threads)}
