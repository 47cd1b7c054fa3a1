"""Plan a scenario, run every trial in a process of its own, keep what it left behind."""

__version__ = "0.1.0"
