"""Keep what trials left behind, derive metrics from it, compare."""

from results.frame import load

__all__ = ["load"]
