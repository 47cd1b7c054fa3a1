"""A fake. See `mlc_fake`."""

from .engine import AsyncMLCEngine as AsyncMLCEngine

__version__ = "0.20.dev0+fake"
