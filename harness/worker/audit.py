"""The `audit` measure: try out what an engine claims to do, in a few short requests.

Nothing here is timed for a result. Each check says passed, failed, or that the engine gives no
way to tell. A failed check is a lie: whatever speed the engine showed, it was not for the work
that was asked. Checks compare an engine with itself only, so no reference is needed.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from backends.api import Backend, GenerationFailed
from backends.promises import (
    LONG,
    SHORT,
    Answer,
    Finding,
    Promises,
    evaluated,
    one_at_a_time,
    verdict,
)
from harness.worker import threads
from harness.worker.channel import Channel

CHILD_CPU_S = 0.05
CHILD_RSS = 20 * 2**20


class Audit(Promises):
    """The checks, over a loaded backend and at least three prompts of equal length."""

    def __init__(self, backend: Backend, prompts: list[tuple[int, ...]], told_threads: int) -> None:
        super().__init__(backend, prompts)
        self._told = told_threads

    def findings(self) -> Iterator[tuple[str, Finding]]:
        """All checks, in an order in which later ones build on earlier answers."""
        before = threads.cpu_by_thread()
        one, two, three = self.prompts[:3]
        opening = self.ask(one, LONG)
        again, third = self.ask(one, LONG), self.ask(one, LONG)
        others = [self.ask(two), self.ask(three)]
        greedy = [opening, *others]
        yield "load_complete", self._load_complete(opening, [again, third])
        yield "prompt_evaluated", evaluated(opening, one)
        yield "prefix_not_reused", self._prefix_not_reused([again, third], others)
        yield "one_token_at_a_time", one_at_a_time([opening, again, third])
        yield (
            "greedy_repeats",
            verdict(
                opening.ids == again.ids == third.ids, "the same greedy request gave other tokens"
            ),
        )
        yield (
            "prompt_matters",
            verdict(
                len({a.ids[:SHORT] for a in greedy}) > 1, "other prompts gave the very same tokens"
            ),
        )
        yield "forced_length", self.attempt(lambda: self.forced_length(one, opening))
        yield "stop_ids_honoured", self.attempt(lambda: self.stops(one, opening))
        yield "text_matches_ids", self.text([opening, *others])
        yield "ids_in_vocabulary", self.vocabulary(one, opening)
        yield from self.sampling(greedy)
        yield "threads_as_told", self._threads(before)
        yield "work_in_process", self._children()
        yield "version_matches", self._version()

    def result_or_refusal(self, act: Callable[[], Any]) -> Any:
        """An engine that fails openly does not lie, but there is no telling what it would have done."""
        try:
            return super().result_or_refusal(act)
        except GenerationFailed as error:
            return f"the request failed, and said so: {error.reason}"

    def _load_complete(self, opening: Answer, later: list[Answer]) -> Finding:
        late = opening.first - max(a.first for a in later)
        return verdict(
            late < 1.0 or late < 20 * max(a.total for a in later),
            f"the first request took {late:.1f} s longer than the next: it loads in `generate`",
        )

    def _children(self) -> Finding:
        """A client of a server says so; its children are then the engine, and are counted."""
        declared = getattr(self.backend, "gaps", {}).get("work_in_process")
        if declared is not None:
            return None, str(declared)
        working = {
            pid: usage
            for pid, usage in threads.children().items()
            if usage[0] > CHILD_CPU_S or usage[1] > CHILD_RSS
        }
        cpu, rss = sum(u[0] for u in working.values()), sum(u[1] for u in working.values())
        return verdict(
            not working,
            f"{len(working)} child processes hold {rss / 1e6:.0f} MB and used {cpu:.1f} s of CPU; "
            "their memory is counted",
        )

    def _prefix_not_reused(self, same: list[Answer], other: list[Answer]) -> Finding:
        length = len(self.prompts[0])
        counts = [a.claims["prefill_tokens"] for a in same if "prefill_tokens" in a.claims]
        if counts:
            low = min(counts)
            reason = f"a repeated prompt: {low:.0f} of {length} tokens evaluated, the rest reused"
            return verdict(low >= length, reason)
        # No count: a prefix that is reused makes the first token come much sooner.
        repeated, fresh = max(a.first for a in same), min(a.first for a in other)
        if repeated < 0.4 * fresh:
            return (
                False,
                f"a repeated prompt's first token came after {repeated / fresh:.0%} of the time",
            )
        return None, "the engine keeps no count of the tokens it evaluates"

    def _threads(self, before: threads.Usage) -> Finding:
        used = threads.busy(before, threads.cpu_by_thread())
        if used is None:
            return None, "this system does not tell CPU time by thread"
        said = f"{used} threads did the work, it was told {self._told}"
        declared = getattr(self.backend, "gaps", {}).get("threads_as_told")
        if used > self._told and declared is not None:
            return None, f"{said}: {declared}"
        return verdict(used <= self._told, said)

    def _version(self) -> Finding:
        told = self.backend.probe()
        if told.version is None or told.distribution is None:
            return None, "the engine names no installed package that has its version"
        try:
            installed = importlib.metadata.version(told.distribution)
        except importlib.metadata.PackageNotFoundError:
            return False, f"it says it is {told.distribution}, which is not installed"
        return verdict(
            told.version == installed,
            f"it says {told.version}, the installed {told.distribution} is {installed}",
        )


def run(backend: Backend, job: Mapping[str, Any], channel: Channel) -> None:
    """Send every check as soon as it is known."""
    prompts = [tuple(prompt["ids"]) for prompt in job["prompts"]]
    audit = Audit(backend, prompts, job["options"]["threads"])
    for name, (passed, detail) in audit.findings():
        channel.send("check", name=name, passed=passed, detail=detail[:500])
