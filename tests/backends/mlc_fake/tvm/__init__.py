"""A fake. See `mlc_fake`."""

from __future__ import annotations

from . import runtime as runtime

__version__ = "0.0.fake"
cleared: list[bool] = []


def get_global_func(name: str, allow_missing: bool = False) -> object:
    if name == "vm.builtin.memory_manager.clear":
        return lambda: cleared.append(True)
    if allow_missing:
        return None
    raise ValueError(f"Cannot find global function {name}")
