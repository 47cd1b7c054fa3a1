"""What a loaded engine can be held to by a few short requests: does it do what it was told?

Shared by the audit, which asks in every run, and by conformance, which asks once and in full. An
engine is compared with itself only, so no reference is needed, and nothing is timed for a result.
"""

from __future__ import annotations

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

GREEDY = Sampling()
HOT = 5.0
"""A temperature at which the distribution is nearly flat: any filter that is ignored shows."""

SHORT = 4
LONG = 8

Finding = tuple[bool | None, str]
"""Kept, or not and how, or (None) why there is no telling."""


@dataclass(frozen=True)
class Answer:
    """What one request gave. Times in seconds; `first` and `last` since the request."""

    ids: tuple[int, ...]
    text: str
    first: float
    last: float
    total: float
    claims: Mapping[str, float]


class Promises:
    """Requests to a loaded backend, over at least three prompts of equal length."""

    def __init__(self, backend: Backend, prompts: list[tuple[int, ...]]) -> None:
        self.backend = backend
        self.prompts = prompts

    def ask(
        self,
        prompt: tuple[int, ...],
        tokens: int = SHORT,
        *,
        sampling: Sampling = GREEDY,
        force: bool = True,
        stop: frozenset[int] = frozenset(),
    ) -> Answer:
        """One request, to its end."""
        request = Request(prompt, tokens, force, sampling, stop)
        stamps: list[float] = []
        made = []
        began = perf_counter()
        for token in self.backend.generate(request):
            stamps.append(perf_counter() - began)
            made.append(token)
        total = perf_counter() - began
        claims = dict(self.backend.claims()) if isinstance(self.backend, Claims) else {}
        return Answer(
            tuple(token.id for token in made),
            "".join(token.text for token in made),
            stamps[0] if stamps else total,
            stamps[-1] if stamps else total,
            total,
            claims,
        )

    def attempt(self, check: Callable[[], Finding]) -> Finding:
        """What the check found; a refusal is no fault."""
        found = self.result_or_refusal(check)
        return (None, found) if isinstance(found, str) else found

    def result_or_refusal(self, act: Callable[[], Any]) -> Any:
        """The result, or as text why the engine openly can't."""
        try:
            return act()
        except Unsupported as error:
            return f"unsupported, and said so: {error.reason}"

    def forced_length(self, prompt: tuple[int, ...], opening: Answer) -> Finding:
        """Exactly as many tokens as asked, past any stop."""
        lengths = {LONG: len(opening.ids)}
        for tokens in (1, 5):
            # Every token that will come is named as a stop: forced length goes on past all.
            lengths[tokens] = len(self.ask(prompt, tokens, stop=frozenset(opening.ids)).ids)
        wrong = [f"{got} for {asked}" for asked, got in lengths.items() if got != asked]
        return verdict(not wrong, f"forced output lengths were not kept: {', '.join(wrong)}")

    def stops(self, prompt: tuple[int, ...], opening: Answer) -> Finding:
        """The first stop id ends it, and is yielded."""
        stop = opening.ids[2] if len(opening.ids) > 2 else opening.ids[0]
        expected = opening.ids[: opening.ids.index(stop) + 1]
        found = self.ask(prompt, LONG, force=False, stop=frozenset({stop})).ids
        reason = (
            f"told to stop at id {stop}, it gave {len(found)} tokens instead of {len(expected)}"
        )
        return verdict(found == expected, reason)

    def text(self, answers: list[Answer]) -> Finding:
        """The text of the tokens is that of their ids."""
        if not isinstance(self.backend, Tokenizes):
            return None, "the engine gives no access to its tokenizer"
        for answer in answers:
            expected = self.backend.detokenize(list(answer.ids))
            if tidy(answer.text) != tidy(expected):
                return (
                    False,
                    f"its text {answer.text[:40]!r} is not that of its ids, {expected[:40]!r}",
                )
        return True, ""

    def vocabulary(self, prompt: tuple[int, ...], opening: Answer) -> Finding:
        """What comes out can go in."""
        wrong = [i for i in opening.ids if i < 0]
        if wrong:
            return False, f"it returned {wrong[0]!r} as a token id"
        try:
            self.ask(prompt + opening.ids, 1)
        except GenerationFailed as error:
            return False, f"it refuses its own output as input: {error.reason}"
        return True, ""

    def sampling(self, greedy: list[Answer]) -> Iterator[tuple[str, Finding]]:
        """Seeds, temperature, filters and penalty, by the name of the promise."""
        one = self.prompts[0]

        def drawn(seed: int) -> tuple[int, ...]:
            return self.ask(one, sampling=Sampling(temperature=1.5, seed=seed)).ids

        def seeds() -> tuple[tuple[int, ...], ...]:
            return drawn(11), drawn(11), drawn(12), drawn(13)

        draws = self.result_or_refusal(seeds)
        if isinstance(draws, str):
            for name in ("seed_repeats", "seed_matters", "temperature_honoured"):
                yield name, (None, draws)
        else:
            yield "seed_repeats", verdict(draws[0] == draws[1], "the same seed gave other tokens")
            yield "seed_matters", verdict(len(set(draws)) > 1, "other seeds gave the same tokens")
            yield "temperature_honoured", self.attempt(lambda: self.temperature(greedy, draws))
        # Each of these leaves only the likeliest token, however flat the distribution is.
        yield "top_k_honoured", self.narrows(greedy, Sampling(temperature=HOT, top_k=1), "top_k")
        yield (
            "top_p_honoured",
            self.narrows(greedy, Sampling(temperature=HOT, top_p=1e-6), "top_p"),
        )
        yield (
            "min_p_honoured",
            self.narrows(greedy, Sampling(temperature=HOT, min_p=0.999), "min_p"),
        )
        yield "repetition_penalty_honoured", self.attempt(lambda: self.penalty(greedy))

    def temperature(self, greedy: list[Answer], draws: tuple[tuple[int, ...], ...]) -> Finding:
        one = self.prompts[0]
        hot = [self.ask(one, sampling=Sampling(temperature=HOT, seed=s)).ids for s in (21, 22)]
        if all(ids == greedy[0].ids[:SHORT] for ids in (*draws, *hot)):
            return False, "temperatures of 1.5 and 5 gave the greedy tokens"
        cold = self.firsts(Sampling(temperature=0.01))
        expected = [a.ids[0] for a in greedy]
        agree = sum(a == b for a, b in zip(cold, expected, strict=True))
        return verdict(agree >= 2, "a temperature of 0.01 did not give the greedy tokens")

    def narrows(self, greedy: list[Answer], sampling: Sampling, what: str) -> Finding:
        """A filter that leaves one token gives the greedy one."""

        def check() -> Finding:
            expected = [a.ids[0] for a in greedy]
            firsts = self.firsts(sampling)
            agree = sum(a == b for a, b in zip(firsts, expected, strict=True))
            return verdict(agree >= 2, f"a {what} that leaves one token left more: it is ignored")

        return self.attempt(check)

    def firsts(self, sampling: Sampling) -> list[int]:
        return [self.ask(prompt, 1, sampling=sampling).ids[0] for prompt in self.prompts[:3]]

    def penalty(self, greedy: list[Answer]) -> Finding:
        """A strong penalty changes an answer that repeats something."""
        one = self.prompts[0]
        punished = self.ask(one, LONG, sampling=Sampling(repetition_penalty=9.0)).ids
        same = punished == greedy[0].ids
        # Tokens that neither the prompt nor the answer repeats are not touched by a penalty.
        if same and len(set(greedy[0].ids)) == LONG and not set(greedy[0].ids) & set(one):
            return None, "the answer repeats nothing, a penalty would not show"
        return verdict(not same, "a repetition penalty of 9 changed nothing")


def verdict(passed: bool, otherwise: str) -> Finding:
    """Kept, or else `otherwise`."""
    return passed, "" if passed else otherwise


def evaluated(answer: Answer, prompt: tuple[int, ...]) -> Finding:
    """By the engine's own count, exactly the prompt went in."""
    count = answer.claims.get("prefill_tokens")
    if count is None:
        return None, "the engine keeps no count of the tokens it evaluates"
    return verdict(
        count == len(prompt),
        f"it evaluated {count:.0f} tokens for a prompt of {len(prompt)}: "
        + ("something was added to the ids" if count > len(prompt) else "some were left out"),
    )


def one_at_a_time(answers: list[Answer]) -> Finding:
    """The answers took their time between first and last token. They are of one length."""
    # Median of three, so that one pause of the machine decides nothing.
    shares = [(a.last - a.first) / a.total if a.total > 0 else 0.0 for a in answers]
    return verdict(
        statistics.median(shares) > 0.1, "all tokens came in one burst, after the work was done"
    )


def tidy(text: str) -> str:
    """A sequence's first space and a last, unfinished character depend on the decoder."""
    return text.rstrip("\ufffd").strip()
