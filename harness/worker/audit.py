"""The `audit` measure: try out what an engine claims to do, in a few short requests.

Nothing here is timed for a result. Each check says passed, failed, or that the engine gives no
way to tell. A failed check is a lie: whatever speed the engine showed, it was not for the work
that was asked. Checks compare an engine with itself only, so no reference is needed.
"""

from __future__ import annotations

import importlib.metadata
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from backends.api import (
    Backend,
    Claims,
    GenerationFailed,
    Request,
    Sampling,
    Tokenizes,
    Unsupported,
)
from harness.worker import threads
from harness.worker.channel import Channel

GREEDY = Sampling()
HOT = 5.0
"""A temperature at which the distribution is nearly flat: any filter that is ignored shows."""

SHORT = 4
LONG = 8
CHILD_CPU_S = 0.05
CHILD_RSS = 20 * 2**20

Finding = tuple[bool | None, str]


@dataclass(frozen=True)
class _Answer:
    """What one request gave. Times in seconds; `first` and `last` since the request."""

    ids: tuple[int, ...]
    text: str
    first: float
    last: float
    total: float
    claims: Mapping[str, float]


class Audit:
    """The checks, over a loaded backend and at least three prompts of equal length."""

    def __init__(self, backend: Backend, prompts: list[tuple[int, ...]], told_threads: int) -> None:
        self._backend = backend
        self._prompts = prompts
        self._told = told_threads

    def findings(self) -> Iterator[tuple[str, Finding]]:
        """All checks, in an order in which later ones build on earlier answers."""
        before = threads.cpu_by_thread()
        one, two, three = self._prompts[:3]
        opening = self._ask(one, LONG)
        again, third = self._ask(one, LONG), self._ask(one, LONG)
        others = [self._ask(two), self._ask(three)]
        greedy = [opening, *others]
        yield "load_complete", self._load_complete(opening, [again, third])
        yield "prompt_evaluated", _evaluated(opening, one)
        yield "prefix_not_reused", self._prefix_not_reused([again, third], others)
        yield "one_token_at_a_time", _one_at_a_time([opening, again, third])
        yield (
            "greedy_repeats",
            _told(
                opening.ids == again.ids == third.ids, "the same greedy request gave other tokens"
            ),
        )
        yield (
            "prompt_matters",
            _told(
                len({a.ids[:SHORT] for a in greedy}) > 1, "other prompts gave the very same tokens"
            ),
        )
        yield "forced_length", self._try(lambda: self._forced_length(one, opening))
        yield "stop_ids_honoured", self._try(lambda: self._stops(one, opening))
        yield "text_matches_ids", self._text([opening, *others])
        yield "ids_in_vocabulary", self._vocabulary(one, opening)
        yield from self._sampling(greedy)
        yield "threads_as_told", self._threads(before)
        yield "work_in_process", _children()
        yield "version_matches", self._version()

    def _sampling(self, greedy: list[_Answer]) -> Iterator[tuple[str, Finding]]:
        one = self._prompts[0]

        def drawn(seed: int) -> tuple[int, ...]:
            return self._ask(one, sampling=Sampling(temperature=1.5, seed=seed)).ids

        def seeds() -> tuple[tuple[int, ...], ...]:
            return drawn(11), drawn(11), drawn(12), drawn(13)

        draws = self._catch(seeds)
        if isinstance(draws, str):
            for name in ("seed_repeats", "seed_matters", "temperature_honoured"):
                yield name, (None, draws)
        else:
            yield "seed_repeats", _told(draws[0] == draws[1], "the same seed gave other tokens")
            yield "seed_matters", _told(len(set(draws)) > 1, "other seeds gave the same tokens")
            yield "temperature_honoured", self._temperature(greedy, draws)
        # Each of these leaves only the likeliest token, however flat the distribution is.
        yield "top_k_honoured", self._narrows(greedy, Sampling(temperature=HOT, top_k=1), "top_k")
        yield (
            "top_p_honoured",
            self._narrows(greedy, Sampling(temperature=HOT, top_p=1e-6), "top_p"),
        )
        yield (
            "min_p_honoured",
            self._narrows(greedy, Sampling(temperature=HOT, min_p=0.999), "min_p"),
        )
        yield "repetition_penalty_honoured", self._try(lambda: self._penalty(greedy))

    def _ask(
        self,
        prompt: tuple[int, ...],
        tokens: int = SHORT,
        *,
        sampling: Sampling = GREEDY,
        force: bool = True,
        stop: frozenset[int] = frozenset(),
    ) -> _Answer:
        request = Request(prompt, tokens, force, sampling, stop)
        stamps: list[float] = []
        made = []
        began = perf_counter()
        for token in self._backend.generate(request):
            stamps.append(perf_counter() - began)
            made.append(token)
        total = perf_counter() - began
        claims = dict(self._backend.claims()) if isinstance(self._backend, Claims) else {}
        return _Answer(
            tuple(token.id for token in made),
            "".join(token.text for token in made),
            stamps[0] if stamps else total,
            stamps[-1] if stamps else total,
            total,
            claims,
        )

    def _try(self, check: Callable[[], Finding]) -> Finding:
        found = self._catch(check)
        return (None, found) if isinstance(found, str) else found

    def _catch(self, act: Callable[[], Any]) -> Any:
        """The result, or as text why the engine openly can't."""
        try:
            return act()
        except Unsupported as error:
            return f"unsupported, and said so: {error.reason}"

    def _load_complete(self, opening: _Answer, later: list[_Answer]) -> Finding:
        late = opening.first - max(a.first for a in later)
        return _told(
            late < 1.0 or late < 20 * max(a.total for a in later),
            f"the first request took {late:.1f} s longer than the next: it loads in `generate`",
        )

    def _prefix_not_reused(self, same: list[_Answer], other: list[_Answer]) -> Finding:
        length = len(self._prompts[0])
        counts = [a.claims["prefill_tokens"] for a in same if "prefill_tokens" in a.claims]
        if counts:
            low = min(counts)
            reason = f"a repeated prompt: {low:.0f} of {length} tokens evaluated, the rest reused"
            return _told(low >= length, reason)
        # No count: a prefix that is reused makes the first token come much sooner.
        repeated, fresh = max(a.first for a in same), min(a.first for a in other)
        if repeated < 0.4 * fresh:
            return (
                False,
                f"a repeated prompt's first token came after {repeated / fresh:.0%} of the time",
            )
        return None, "the engine keeps no count of the tokens it evaluates"

    def _forced_length(self, prompt: tuple[int, ...], opening: _Answer) -> Finding:
        lengths = {LONG: len(opening.ids)}
        for tokens in (1, 5):
            # Every token that will come is named as a stop: forced length goes on past all.
            lengths[tokens] = len(self._ask(prompt, tokens, stop=frozenset(opening.ids)).ids)
        wrong = [f"{got} for {asked}" for asked, got in lengths.items() if got != asked]
        return _told(not wrong, f"forced output lengths were not kept: {', '.join(wrong)}")

    def _stops(self, prompt: tuple[int, ...], opening: _Answer) -> Finding:
        stop = opening.ids[2] if len(opening.ids) > 2 else opening.ids[0]
        expected = opening.ids[: opening.ids.index(stop) + 1]
        found = self._ask(prompt, LONG, force=False, stop=frozenset({stop})).ids
        reason = (
            f"told to stop at id {stop}, it gave {len(found)} tokens instead of {len(expected)}"
        )
        return _told(found == expected, reason)

    def _text(self, answers: list[_Answer]) -> Finding:
        if not isinstance(self._backend, Tokenizes):
            return None, "the engine gives no access to its tokenizer"
        for answer in answers:
            expected = self._backend.detokenize(list(answer.ids))
            if _tidy(answer.text) != _tidy(expected):
                return (
                    False,
                    f"its text {answer.text[:40]!r} is not that of its ids, {expected[:40]!r}",
                )
        return True, ""

    def _vocabulary(self, prompt: tuple[int, ...], opening: _Answer) -> Finding:
        wrong = [i for i in opening.ids if i < 0]
        if wrong:
            return False, f"it returned {wrong[0]!r} as a token id"
        try:
            self._ask(prompt + opening.ids, 1)
        except GenerationFailed as error:
            return False, f"it refuses its own output as input: {error.reason}"
        return True, ""

    def _temperature(self, greedy: list[_Answer], draws: tuple[tuple[int, ...], ...]) -> Finding:
        one = self._prompts[0]
        hot = [self._ask(one, sampling=Sampling(temperature=HOT, seed=s)).ids for s in (21, 22)]
        if all(ids == greedy[0].ids[:SHORT] for ids in (*draws, *hot)):
            return False, "temperatures of 1.5 and 5 gave the greedy tokens"
        cold = self._firsts(Sampling(temperature=0.01))
        expected = [a.ids[0] for a in greedy]
        agree = sum(a == b for a, b in zip(cold, expected, strict=True))
        return _told(agree >= 2, "a temperature of 0.01 did not give the greedy tokens")

    def _narrows(self, greedy: list[_Answer], sampling: Sampling, what: str) -> Finding:
        def check() -> Finding:
            expected = [a.ids[0] for a in greedy]
            firsts = self._firsts(sampling)
            agree = sum(a == b for a, b in zip(firsts, expected, strict=True))
            return _told(agree >= 2, f"a {what} that leaves one token left more: it is ignored")

        return self._try(check)

    def _firsts(self, sampling: Sampling) -> list[int]:
        return [self._ask(prompt, 1, sampling=sampling).ids[0] for prompt in self._prompts[:3]]

    def _penalty(self, greedy: list[_Answer]) -> Finding:
        one = self._prompts[0]
        punished = self._ask(one, LONG, sampling=Sampling(repetition_penalty=9.0)).ids
        same = punished == greedy[0].ids
        # Tokens that neither the prompt nor the answer repeats are not touched by a penalty.
        if same and len(set(greedy[0].ids)) == LONG and not set(greedy[0].ids) & set(one):
            return None, "the answer repeats nothing, a penalty would not show"
        return _told(not same, "a repetition penalty of 9 changed nothing")

    def _threads(self, before: threads.Usage) -> Finding:
        used = threads.busy(before, threads.cpu_by_thread())
        if used is None:
            return None, "this system does not tell CPU time by thread"
        return _told(used <= self._told, f"{used} threads did the work, it was told {self._told}")

    def _version(self) -> Finding:
        told = self._backend.probe()
        if told.version is None or told.distribution is None:
            return None, "the engine names no installed package that has its version"
        try:
            installed = importlib.metadata.version(told.distribution)
        except importlib.metadata.PackageNotFoundError:
            return False, f"it says it is {told.distribution}, which is not installed"
        return _told(
            told.version == installed,
            f"it says {told.version}, the installed {told.distribution} is {installed}",
        )


def run(backend: Backend, job: Mapping[str, Any], channel: Channel) -> None:
    """Send every check as soon as it is known."""
    prompts = [tuple(prompt["ids"]) for prompt in job["prompts"]]
    audit = Audit(backend, prompts, job["options"]["threads"])
    for name, (passed, detail) in audit.findings():
        channel.send("check", name=name, passed=passed, detail=detail[:500])


def _told(passed: bool, otherwise: str) -> Finding:
    return passed, "" if passed else otherwise


def _evaluated(answer: _Answer, prompt: tuple[int, ...]) -> Finding:
    count = answer.claims.get("prefill_tokens")
    if count is None:
        return None, "the engine keeps no count of the tokens it evaluates"
    return _told(
        count == len(prompt),
        f"it evaluated {count:.0f} tokens for a prompt of {len(prompt)}: "
        + ("something was added to the ids" if count > len(prompt) else "some were left out"),
    )


def _one_at_a_time(answers: list[_Answer]) -> Finding:
    # Median of three, so that one pause of the machine decides nothing.
    shares = [(a.last - a.first) / a.total if a.total > 0 else 0.0 for a in answers]
    return _told(
        statistics.median(shares) > 0.1, "all tokens came in one burst, after the work was done"
    )


def _tidy(text: str) -> str:
    """A sequence's first space and a last, unfinished character depend on the decoder."""
    return text.rstrip("\ufffd").strip()


def _children() -> Finding:
    working = {
        pid: usage
        for pid, usage in threads.children().items()
        if usage[0] > CHILD_CPU_S or usage[1] > CHILD_RSS
    }
    cpu, rss = sum(u[0] for u in working.values()), sum(u[1] for u in working.values())
    return _told(
        not working,
        f"{len(working)} child processes hold {rss / 1e6:.0f} MB and used {cpu:.1f} s of CPU; "
        "their memory is counted",
    )
