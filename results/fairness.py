"""What a fair ratio needs, one function per item: each looks at the evidence of two cases.

An item that shows that the two did not do the same work refuses the ratio; one that shows other
conditions is a caveat on it. Nothing is taken on trust: lengths are counted, threads are those
that used CPU time, the page cache is as it was found; and an engine that failed any check of its
audit, or whose answers are at fault, gets no ratio, whatever its other numbers look like.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from results import conditions
from results.arms import arm
from results.metrics import reuses_prefix
from results.summary import CaseSummary, Requests

if TYPE_CHECKING:
    from results.samples import Ints

State = Literal["same", "differs", "unknown"]
Severity = Literal["none", "refuses", "caveat", "unknown"]


#: Checks about how a token is drawn: where they can't be told, a greedy task is none the worse.
DRAWING_CHECKS = frozenset(
    {
        "seed_repeats", "seed_matters", "temperature_honoured", "top_k_honoured", "top_p_honoured",
        "min_p_honoured",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Item:
    """One thing that a fair ratio needs. `detail` says what was the same, how it differs or why
    it is not known; `severity` is `none` exactly where `state` is `same`."""

    name: str
    state: State
    detail: str
    severity: Severity

    @property
    def text(self) -> str:
        return self.state if self.state == "same" else f"{self.state}: {self.detail}"


def name(summary: CaseSummary) -> str:
    return arm(summary.case)


def _same(item: str, detail: str) -> Item:
    return Item(item, "same", detail, "none")


def _differs(item: str, detail: str, severity: Severity) -> Item:
    return Item(item, "differs", detail, severity)


def _unknown(item: str, detail: str) -> Item:
    return Item(item, "unknown", detail, "unknown")


def _shared(one: CaseSummary, other: CaseSummary) -> tuple[Requests, Requests, Ints, Ints]:
    """The requests of both, and where in each those stand that both answered."""
    import numpy as np

    mine, theirs = one.evidence.requests, other.evidence.requests
    if np.array_equal(mine.place, theirs.place):
        both = np.arange(len(mine.place))
        return mine, theirs, both, both
    _, here, there = np.intersect1d(mine.place, theirs.place, return_indices=True)
    return mine, theirs, here, there


def _prompt_ids(one: CaseSummary, other: CaseSummary) -> Item:
    mine, theirs, here, there = _shared(one, other)
    if not len(here):
        return _unknown("prompt_ids", "no request of one has a counterpart in the other")
    unlike = mine.prompt[here] != theirs.prompt[there]
    wrong = int((unlike | (mine.sent[here] != theirs.sent[there])).sum())
    if wrong:
        return _differs(
            "prompt_ids",
            f"{name(one)} and {name(other)} were given different prompts in {wrong} of "
            f"{len(here)} requests",
            "refuses",
        )
    return _same("prompt_ids", f"the same ids in all {len(here)} requests that both answered")


def _output_length(one: CaseSummary, other: CaseSummary) -> Item:
    import numpy as np

    mine, theirs, here, there = _shared(one, other)
    if not len(mine.place) or not len(theirs.place):
        return _unknown("output_length", "not both have a request that was answered")
    lengths = [[int(n) for n in np.unique(found.received)] for found in (mine, theirs)]
    wrong = (mine.received[here] != theirs.received[there]).any()
    if wrong or (not len(here) and lengths[0] != lengths[1]):
        spans = (_span(found) for found in lengths)
        said = " and ".join(
            f"{name(s)} {span}" for s, span in zip((one, other), spans, strict=True)
        )
        return _differs("output_length", f"outputs of different length: {said} tokens", "refuses")
    return _same("output_length", f"{_span(lengths[0])} tokens, counted")


def _prefix(one: CaseSummary, other: CaseSummary) -> Item:
    reused = [reuses_prefix(s.case) for s in (one, other)]
    if reused[0] != reused[1]:
        return _differs("prefix_state", "one may reuse the prompt's prefix, one may not", "refuses")
    wrong, shares, silent = [], [], []
    for summary in (one, other):
        said, sent = summary.evidence.prefills
        passed = {check.name: check.passed for check in summary.evidence.checks}
        if not len(said):
            if reused[0] or passed.get("prefix_not_reused") is not True:
                silent.append(name(summary))
            continue
        bad = said != sent
        if bad.any() and not reused[0]:
            count, length = said[bad][0], sent[bad][0]
            wrong.append(f"{name(summary)} evaluated {count:.0f} of {length:.0f} prompt tokens")
        shares.append(float(said.sum() / max(sent.sum(), 1)))
    if wrong:
        return _differs("prefix_state", "; ".join(wrong), "refuses")
    if silent:
        whose = " and ".join(silent)
        return _unknown("prefix_state", f"nothing says how many prompt tokens {whose} evaluated")
    if reused[0] and abs(shares[0] - shares[1]) > 0.05:
        evaluated = (
            f"{name(one)} evaluated {shares[0]:.0%} of its prompts, {name(other)} {shares[1]:.0%}"
        )
        return _differs("prefix_state", evaluated, "refuses")
    return _same("prefix_state", "reused alike" if reused[0] else "every prompt token evaluated")


def _parameter(item: str, key: str, severity: Severity) -> Callable[..., Item]:
    def compare(one: CaseSummary, other: CaseSummary) -> Item:
        mine, theirs = one.case.parameters.get(key), other.case.parameters.get(key)
        if mine is None and theirs is None:
            return _unknown(item, f"the records do not say which {key}")
        if mine == theirs:
            return _same(item, f"{key} {mine}")
        return _differs(item, f"{key}: {name(one)} {mine}, {name(other)} {theirs}", severity)

    return compare


def _sampler(one: CaseSummary, other: CaseSummary) -> Item:
    mine, theirs = one.case.parameters.get("sampling"), other.case.parameters.get("sampling")
    if mine == theirs:
        return _same("sampler", "greedy" if not _samples(one) else _settings(mine))
    detail = f"{name(one)} {_settings(mine)}; {name(other)} {_settings(theirs)}"
    return _differs("sampler", detail, "refuses")


def _threads_worked(one: CaseSummary, other: CaseSummary) -> Item:
    wrong, silent = [], []
    for summary in (one, other):
        told = conditions.number(summary.case.parameters, "threads")
        worked = conditions.busy_threads(summary)
        if told is None or worked is None:
            silent.append(name(summary))
        elif worked > told or (worked < told and summary.case.measure != "load"):
            # Opening a model is allowed to take fewer: not all of it can be parallel.
            wrong.append(f"{name(summary)} was told {told:g} threads, {worked:g} worked")
    if wrong:
        return _differs("threads_worked", "; ".join(wrong), "caveat")
    if silent:
        return _unknown("threads_worked", f"not seen for {' and '.join(silent)}")
    return _same("threads_worked", "as many as told")


def _page_cache(one: CaseSummary, other: CaseSummary) -> Item | None:
    if one.case.measure != "load" and other.case.measure != "load":
        return None
    mine, theirs = one.case.parameters.get("page_cache"), other.case.parameters.get("page_cache")
    if mine != theirs:
        return _differs("page_cache", f"{name(one)} {mine}, {name(other)} {theirs}", "caveat")
    wrong, silent = [], []
    for summary in (one, other):
        states = [conditions.cache_as_asked(record) for record in summary.evidence.ok]
        if not states or None in states:
            silent.append(name(summary))
        if False in states:
            share = conditions.resident(summary)[0]
            seen = "" if share is None else f": {share:.0%} of its pages were resident"
            wrong.append(f"{name(summary)} did not start with a {mine} page cache{seen}")
    if wrong:
        return _differs("page_cache", "; ".join(wrong), "caveat")
    if silent:
        return _unknown("page_cache", f"not verified for {' and '.join(silent)}")
    return _same("page_cache", f"{mine}, verified before each load")


def _weights(one: CaseSummary, other: CaseSummary) -> Item:
    if one.facts is None or other.facts is None:
        whose = " and ".join(name(s) for s in (one, other) if s.facts is None)
        return _unknown("weights", f"it is not known which weights {whose} holds")
    if one.facts.weights == other.facts.weights:
        return _same("weights", f"both hold {one.facts.weights}")
    said = " and ".join(f"{name(s)} ({s.facts.precision})" for s in (one, other) if s.facts)
    return _differs("weights", f"weights differ: {said} hold other numbers", "caveat")


def _precision(one: CaseSummary, other: CaseSummary) -> Item:
    if one.facts is None or other.facts is None:
        return _unknown("precision", "it is not known how both are stored")
    mine, theirs = one.facts.precision, other.facts.precision
    if mine == theirs:
        return _same("precision", mine)
    detail = f"precision differs: {name(one)} {mine}, {name(other)} {theirs}"
    return _differs("precision", detail, "caveat")


def _host(one: CaseSummary, other: CaseSummary) -> Item:
    mine, theirs = one.evidence.fingerprint, other.evidence.fingerprint
    if not mine or not theirs:
        return _unknown("host", "no fingerprint was recorded")
    if mine == theirs:
        return _same("host", f"fingerprint {mine}")
    return _differs("host", f"other machines: {mine} and {theirs}", "refuses")


def _device(one: CaseSummary, other: CaseSummary) -> Item:
    mine, theirs = (s.case.settings.get("device", "cpu") for s in (one, other))
    if mine == theirs:
        return _same("device", str(mine))
    return _differs("device", f"other devices: {mine} and {theirs}", "caveat")


def _audit(one: CaseSummary, other: CaseSummary) -> Item:
    failed = [(s, check) for s in (one, other) for check in s.evidence.failed_checks]
    if failed:
        said = "; ".join(f"{check.name}: {name(s)}: {check.detail}" for s, check in failed)
        return _differs("audit", said, "refuses")
    silent = [why for s in (one, other) if (why := _not_audited(s))]
    if silent:
        return _unknown("audit", "; ".join(silent))
    return _same("audit", "every check that this task depends on passed on both")


def _not_audited(summary: CaseSummary) -> str:
    audits, checks = summary.evidence.audits, summary.evidence.checks
    if not audits:
        return f"{name(summary)} was not audited"
    if bad := next((a for a in audits if a.status != "ok"), None):
        return f"the audit of {name(summary)} did not end well ({bad.status})"
    untold = [
        check.name
        for check in checks
        if check.passed is None and (_samples(summary) or check.name not in DRAWING_CHECKS)
    ]
    return f"{name(summary)} gives no way to tell {', '.join(untold)}" if untold else ""


def _environment(one: CaseSummary, other: CaseSummary) -> Item:
    wrong, silent = [], []
    for summary in (one, other):
        seen = [conditions.disturbed(record) for record in summary.evidence.ok]
        if not seen or None in seen:
            silent.append(name(summary))
        if count := seen.count(True):
            wrong.append(f"{count} of {len(seen)} trials of {name(summary)}")
    if wrong:
        share = f"{conditions.DISTURBED * 100:.0f} %"
        detail = f"disturbed: others took more than {share} of the CPU in {' and '.join(wrong)}"
        return _differs("environment", detail, "caveat")
    if silent:
        whose = " and ".join(silent)
        return _unknown("environment", f"what else ran was not seen for {whose}")
    return _same("environment", "no trial was disturbed")


def _answers(one: CaseSummary, other: CaseSummary) -> Item | None:
    """Where the run measured fidelity. A gate holds its arms' answers against each other by itself."""
    both = (one, other)
    if any(s.case.arm for s in both) or all(s.evidence.truth is None for s in both):
        return None
    wrong = [
        f"{name(s)} is at fault in fidelity: {'; '.join(s.evidence.faults)}"
        for s in both
        if s.evidence.faults
    ]
    if wrong:
        return _differs("answers", "; ".join(wrong), "refuses")
    silent = [
        name(s)
        for s in both
        if s.evidence.truth is None or s.evidence.truth.verdict == "not judged"
    ]
    if silent:
        return _unknown("answers", f"how true {' and '.join(silent)} is was not judged")
    return _same("answers", "neither is at fault in fidelity")


def _samples(summary: CaseSummary) -> bool:
    """Whether the workload draws tokens at random; without parameters it is greedy."""
    given = summary.case.parameters.get("sampling")
    return isinstance(given, dict) and given.get("temperature", 0) != 0


def _settings(given: Any) -> str:
    return (
        ", ".join(f"{k} {v}" for k, v in given.items()) if isinstance(given, dict) else str(given)
    )


def _span(numbers: list[int]) -> str:
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


#: All items by name; an item that does not apply to a measure gives None.
CHECKED: dict[str, Callable[[CaseSummary, CaseSummary], Item | None]] = {
    "prompt_ids": _prompt_ids,
    "output_length": _output_length,
    "prefix_state": _prefix,
    "sampler": _sampler,
    "context": _parameter("context", "context", "refuses"),
    "threads_told": _parameter("threads_told", "threads", "caveat"),
    "threads_worked": _threads_worked,
    "page_cache": _page_cache,
    "weights": _weights,
    "precision": _precision,
    "host": _host,
    "device": _device,
    "audit": _audit,
    "environment": _environment,
    "answers": _answers,
}
