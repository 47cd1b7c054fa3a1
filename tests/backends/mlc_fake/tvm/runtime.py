"""A fake. See `mlc_fake`."""

from __future__ import annotations

from pathlib import Path

LIBRARY = b"\x7fELF a fake library\n"


class Device:
    def __init__(self, name: str, index: int) -> None:
        if name not in ("cpu", "cuda", "metal", "vulkan", "rocm", "opencl"):
            raise ValueError(f"Unknown device type {name}")
        self.name, self.index = name, index

    @property
    def exist(self) -> bool:
        return self.name == "cpu"


def device(name: str, index: int = 0) -> Device:
    return Device(name, index)


def load_module(path: str) -> object:
    if Path(path).read_bytes() != LIBRARY:
        raise RuntimeError(f"{path}: file too short")
    return object()
