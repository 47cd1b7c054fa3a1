"""The `conform` job: run the named checks of conformance, and send each result as it is known.

The parent puts a crash, and a check that exceeds its time, down to the first check without a result.
"""

from __future__ import annotations

import faulthandler
import importlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from backends.api import Artifact, LoadOptions
from backends.conformance import Subject, by_name
from harness.worker.channel import Channel


def run(job: Mapping[str, Any], channel: Channel) -> None:
    module, _, name = job["backend"].partition(":")
    subject = Subject(
        getattr(importlib.import_module(module), name),
        Artifact(**{**job["artifact"], "path": Path(job["artifact"]["path"])}),
        LoadOptions(**job["options"]),
        Path(job["scratch"]),
    )
    known = by_name()
    for check in job["checks"]:
        # Ends the process from a thread that needs no lock of the interpreter's.
        faulthandler.dump_traceback_later(job["limit_s"], exit=True)
        result = known[check].run(subject)
        faulthandler.cancel_dump_traceback_later()
        channel.send("result", **asdict(result))
    subject.release()
