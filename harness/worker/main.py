"""One job in one process: probe an engine, tokenize with it, run a trial, or conformance."""

from __future__ import annotations

import gc
import importlib
import os
import resource
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from backends import checks
from backends.api import (
    ABILITIES,
    Artifact,
    Availability,
    Backend,
    BackendError,
    LoadOptions,
    RendersChat,
    Tokenizes,
    Unavailable,
    Unsupported,
)
from harness.worker import threads
from harness.worker.channel import Channel, die_with_parent
from harness.worker.measures import MEASURES, weigh


def main(job: Mapping[str, Any], descriptor: int, started_ns: int) -> None:
    """Do the job; the last message is always `end`, unless the process dies."""
    channel = Channel(descriptor)
    die_with_parent()
    channel.send("started", at_ns=started_ns, python=sys.version.split()[0])
    try:
        _work(job, channel)
    except BackendError as error:
        refused = isinstance(error, Unavailable | Unsupported)
        status = "unsupported" if refused else "failed"
        reason = checks.without(_key(job), error.reason)
        channel.send("end", status=status, reason=reason, remedy=error.remedy)
    except Exception as error:
        key = _key(job)
        sys.stderr.write(checks.without(key, traceback.format_exc()))
        reason = checks.without(key, f"{type(error).__name__}: {error}")
        channel.send("end", status="failed", reason=reason[:2000], remedy=None)
    else:
        channel.send("end", status="ok", reason=None, remedy=None)


def _key(job: Mapping[str, Any]) -> str:
    """The key that this engine was given, which belongs into no record and no log. Without a line's
    end at its own: an error that quotes it may write it otherwise."""
    options = job.get("options") or {}
    found = os.environ.get(str((options.get("extra") or {}).get("api_key_env", "")), "").strip()
    # A shorter one is refused, and would be cut out of the words that say so.
    return found if len(found) >= checks.KEY_LENGTH else ""


def _work(job: Mapping[str, Any], channel: Channel) -> None:
    if job.get("cpus"):
        os.sched_setaffinity(0, job["cpus"])  # before the engine makes threads
    if job["job"] == "conform":
        from harness.worker import conformance

        conformance.run(job, channel)
        return
    started = perf_counter_ns()
    backend = _adapter(job["backend"])
    availability = backend.probe()
    channel.send("span", name="import", start_ns=started, end_ns=perf_counter_ns())
    _introduce(backend, availability, channel)
    if job["job"] == "probe":
        return
    if not availability.available:
        raise Unavailable(str(availability.reason), availability.remedy)
    artifact = Artifact(**{**job["artifact"], "path": Path(job["artifact"]["path"])})
    opened = perf_counter_ns()
    backend.load(artifact, LoadOptions(**job["options"]))
    channel.send("span", name="open", start_ns=opened, end_ns=perf_counter_ns())
    try:
        if job["job"] == "tokenize":
            _tokenize(backend, job, channel)
        elif job["job"] == "encode":
            _encode(backend, job, channel)
        else:
            weigh(channel)
            gc.collect()
            gc.freeze()
            used = threads.cpu_by_thread()
            began = perf_counter_ns()
            try:
                MEASURES[job["measure"]](backend, job, channel)
            finally:
                channel.send("span", name=job["measure"], start_ns=began, end_ns=perf_counter_ns())
                busy = threads.busy(used, threads.cpu_by_thread())
                if "work_in_process" in getattr(backend, "gaps", {}):
                    busy = None  # the threads that worked are another process's
                child_cpu_s = sum(cpu for cpu, _ in threads.children().values())
                channel.send(
                    "conditions", conditions={"busy_threads": busy, "child_cpu_s": child_cpu_s}
                )
                weigh(channel)
            if availability.distribution is None:
                _introduce(backend, backend.probe(), channel)  # a server tells once it runs
    finally:
        channel.send("conditions", conditions=_conditions())
        closing = perf_counter_ns()
        backend.close()
        channel.send("span", name="close", start_ns=closing, end_ns=perf_counter_ns())


def _introduce(backend: Backend, found: Availability, channel: Channel) -> None:
    channel.send(
        "engine",
        version=found.version,
        build={str(k): str(v)[:500] for k, v in found.build.items()},
        devices=[str(d) for d in found.devices],
        formats=sorted(backend.formats),
        abilities=[name for name, ability in ABILITIES.items() if isinstance(backend, ability)],
        reason=found.reason,
        remedy=found.remedy,
    )


def _adapter(reference: str) -> Backend:
    module, _, name = reference.partition(":")
    backend: Backend = getattr(importlib.import_module(module), name)()
    return backend


def _tokenize(backend: Backend, job: Mapping[str, Any], channel: Channel) -> None:
    """Token ids of texts, each cut to `tokens` ids, with the text of what is left."""
    if not isinstance(backend, Tokenizes):
        raise Unsupported("the engine gives no access to its tokenizer")
    for text, limit in job["texts"]:
        ids = backend.tokenize(text)[:limit]
        channel.send("tokens", ids=[int(i) for i in ids], text=backend.detokenize(ids))


def _encode(backend: Backend, job: Mapping[str, Any], channel: Channel) -> None:
    """Ids of whole texts, and of chats up to where the answer begins; None for what is refused."""
    from harness.worker import templates

    stopped = 0
    for item in job["items"]:
        messages, text = item.get("messages"), item.get("text")
        ids: list[int] | None = None
        if messages is not None and isinstance(backend, RendersChat):
            plain = {"messages": messages, "prefill": False, "variables": {}, "answer": None}
            found = templates.rendering(backend, plain, stopped)
            stopped += found["status"] == "stopped"
            text, ids = found.get("text") or found["reason"], found.get("ids")
        elif isinstance(backend, Tokenizes):
            text = text or "\n".join(message["content"] for message in messages)
            ids = [int(i) for i in backend.tokenize(text)]
        channel.send("tokens", ids=ids, text=text)


def _conditions() -> dict[str, Any]:
    """The conditions that this process really ran under, seen from inside, after the work."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    conditions: dict[str, Any] = {
        "cpu_user_s": usage.ru_utime,
        "cpu_system_s": usage.ru_stime,
        "nice": os.getpriority(os.PRIO_PROCESS, 0),
    }
    if sys.platform == "linux":
        conditions["affinity"] = sorted(os.sched_getaffinity(0))
        conditions["threads"] = len(os.listdir("/proc/self/task"))  # noqa: PTH208
        # Not ru_maxrss: Linux lets it inherit the high-water mark of the parent that forked us.
        status = Path("/proc/self/status").read_text()
        kib = next(
            (line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")), None
        )
        conditions["peak_rss"] = int(kib) * 1024 if kib else None
    else:
        conditions["peak_rss"] = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return conditions
