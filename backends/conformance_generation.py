"""Checks of `generate`: the ids that go in, the tokens that come out, and when it ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from backends.api import BackendError, Claims, Request, Tokenizes
from backends.conformance_subject import Subject
from backends.promises import LONG, SHORT, Finding, evaluated, one_at_a_time, verdict

STREAMED = 24
MULTIBYTE = "漢字😀" * 6
OTHERS = 6
"""Ids that are tried in one place: a single one may leave an answer as it was by chance."""


def prompt_ids_used(subject: Subject) -> Finding:
    """The ids given are the ids evaluated: nothing is added, dropped or encoded again. By the
    engine's own count, and by this: another last id gives another answer, and another first one
    does in a prompt of three or, where the model looks one id back only, alone."""
    one = subject.prompts[0]
    counted, detail = evaluated(subject.opening, one)
    if counted is False:
        return False, detail
    last = _matters(subject, one, len(one) - 1)
    if last is not True:
        return last, _unchanged("last", last)
    few = (one * 3)[:3]  # of few, each weighs so much that another one shows
    first = _matters(subject, few, 0)
    if first is None or (first is False and _matters(subject, few, 1)):
        return first, _unchanged("first", first)
    return verdict(
        first is True or _matters(subject, few[:1], 0) is True,
        "a first id changed nothing, not even alone",
    )


def _matters(subject: Subject, prompt: Sequence[int], place: int) -> bool | None:
    """Does another id in that place give another answer? None where the engine takes no other one
    there, as one may that turns ids into text."""
    ids = dict.fromkeys(i for other in subject.prompts[1:3] for i in other if i != prompt[place])
    answers = []
    for other in (prompt[place], *list(ids)[:OTHERS]):
        changed = (*prompt[:place], other, *prompt[place + 1 :])
        with suppress(BackendError):
            answers.append(subject.promises.ask(changed, LONG).ids)
        if len(set(answers)) > 1:
            return True
    return False if len(answers) > 1 else None


def _unchanged(which: str, found: bool | None) -> str:
    if found is None:
        return f"the engine takes no other {which} id"
    return f"another {which} id gave the very same answer"


def prefix_not_reused(subject: Subject) -> Finding:
    """A repeated prompt is evaluated again, unless `reuse_prefix` asks otherwise."""
    one = subject.prompts[0]
    subject.promises.ask(one)
    count = subject.promises.ask(one).claims.get("prefill_tokens")
    if count is None:
        return None, "the engine keeps no count of the tokens it evaluates"
    return verdict(count >= len(one), f"{count:.0f} of {len(one)} prompt tokens evaluated again")


def prefix_reused_on_request(subject: Subject) -> Finding:
    """`reuse_prefix` is refused, or it evaluates fewer tokens and the answer stays the same."""
    one = subject.prompts[0]
    request = Request(one, LONG, reuse_prefix=True)
    backend = subject.loaded
    for _ in range(2):
        ids = tuple(token.id for token in backend.generate(request))
    if ids != subject.opening.ids:
        return False, "with reuse_prefix the greedy answer is another"
    count = backend.claims().get("prefill_tokens") if isinstance(backend, Claims) else None
    if count is None:
        return None, "taken, but the engine keeps no count that would show it"
    return verdict(count < len(one), f"it evaluated all {len(one)} prompt tokens again")


def tokens_one_at_a_time(subject: Subject) -> Finding:
    """A token is yielded before the next is computed: bakeoff stamps each. In a burst, all would
    come at the end of the request."""
    one = subject.prompts[0]
    return one_at_a_time([subject.promises.ask(one, STREAMED // 2) for _ in range(3)])


def length_forced(subject: Subject) -> Finding:
    """With `force_length` exactly `max_tokens` tokens come, stop ids or not."""
    return subject.promises.forced_length(subject.prompts[0], subject.opening)


def stop_ids_honoured(subject: Subject) -> Finding:
    """Without `force_length` the first stop id is the last token, and nothing exceeds
    `max_tokens`."""
    kept, detail = subject.promises.stops(subject.prompts[0], subject.opening)
    if kept is False:
        return kept, detail
    count = len(subject.promises.ask(subject.prompts[0], SHORT, force=False).ids)
    return verdict(0 < count <= SHORT, f"{count} tokens came where at most {SHORT} were asked for")


def greedy_repeats(subject: Subject) -> Finding:
    """Temperature 0 is argmax: the same request gives the same tokens."""
    again = [subject.promises.ask(subject.prompts[0], LONG).ids for _ in range(2)]
    return verdict(
        all(ids == subject.opening.ids for ids in again),
        "the same greedy request gave other tokens",
    )


def closing_cancels(subject: Subject) -> Finding:
    """Closing the iterator ends the request within a token or two, and the next one is right."""
    one = subject.prompts[0]
    want = subject.opening.ids[:SHORT]
    backend = subject.loaded
    tokens: Any = backend.generate(Request(one, STREAMED))
    if not isinstance(tokens, Iterator) or not hasattr(tokens, "close"):
        return False, f"generate gave a {type(tokens).__name__}: expected an iterator with close()"
    next(tokens)
    tokens.close()
    if next(tokens, None) is not None:
        return False, "a closed iterator went on"
    claimed = backend.claims().get("decode_tokens", 0.0) if isinstance(backend, Claims) else 0.0
    if claimed > 2:
        return False, f"closed after one token, it had decoded {claimed:.0f}"
    backend.generate(Request(one, STREAMED))  # never begun, never closed
    after = subject.promises.ask(one).ids
    return verdict(after == want, "the request after a cancelled one gave other tokens")


def requests_do_not_leak(subject: Subject) -> Finding:
    """A, then B, then A again: nothing of B is left in A's answer."""
    promises, (one, two, three) = subject.promises, subject.prompts[:3]
    first = promises.ask(one, LONG).ids
    for other in (two, three[:-1], (*two, *three)):
        promises.ask(other)
        if promises.ask(one, LONG).ids != first:
            return False, "after a request with another prompt the same one gave other tokens"
    return True, ""


def text_matches_ids(subject: Subject) -> Finding:
    """The text of the tokens is the text of their ids."""
    return subject.promises.text([subject.opening, *subject.others])


def characters_arrive_whole(subject: Subject) -> Finding:
    """A character whose bytes are split over tokens is held back until it is whole."""
    backend = subject.loaded
    if not isinstance(backend, Tokenizes):
        return None, "the engine gives no access to its tokenizer"
    prompt = tuple(backend.tokenize(MULTIBYTE))[: subject.options.context - STREAMED]
    answer = subject.promises.ask(prompt, STREAMED)
    expected = backend.detokenize(list(answer.ids))
    broken = answer.text.rstrip("\ufffd").count("\ufffd")
    if broken > expected.rstrip("\ufffd").count("\ufffd"):
        return False, f"{broken} broken characters in {answer.text[:40]!r}"
    return subject.promises.text([answer])


def own_ids_accepted(subject: Subject) -> Finding:
    """What comes out can go in: ids are those of the model's vocabulary."""
    return subject.promises.vocabulary(subject.prompts[0], subject.opening)


def overflow_refused(subject: Subject) -> Finding:
    """A prompt beyond the context is an error that names the limit: cut in silence, the engine
    would do other work than was asked."""
    limit = subject.options.context
    long = (subject.prompts[0] * limit)[: limit + 1]
    for prompt, tokens in ((long, 1), (long[: limit - 2], SHORT)):
        try:
            made = subject.promises.ask(prompt, tokens).ids
        except BackendError as error:
            if str(limit) not in error.reason:
                return False, f"the error names no limit of {limit}: {error.reason}"
        else:
            asked = f"{len(prompt)} prompt tokens and {tokens} new ones"
            return False, f"{asked} in a context of {limit} gave {len(made)} tokens and no error"
    return True, ""


def context_usable(subject: Subject) -> Finding:
    """The context asked for holds as many tokens as asked for."""
    prompt = (subject.prompts[0] * subject.options.context)[: subject.options.context - 2]
    count = len(subject.promises.ask(prompt, 2).ids)
    return verdict(count == 2, f"a prompt that leaves room for 2 tokens gave {count}")


def empty_prompt_handled(subject: Subject) -> Finding:
    """No ids at all: an error of the contract, or tokens, but no crash."""
    try:
        made = subject.promises.ask((), SHORT).ids
    except BackendError:
        return True, ""
    return verdict(len(made) == SHORT, f"an empty prompt gave {len(made)} of {SHORT} tokens")


def foreign_ids_refused(subject: Subject) -> Finding:
    """Ids outside of the vocabulary are refused: they would read memory that isn't theirs."""
    for bad in (-1, 2**31 - 1):
        try:
            subject.promises.ask((subject.prompts[0][0], bad), 1)
        except BackendError:
            continue
        return False, f"the id {bad} was taken"
    subject.release()  # a server may have died over them
    return True, ""


CHECKS = (
    prompt_ids_used,
    prefix_not_reused,
    prefix_reused_on_request,
    tokens_one_at_a_time,
    length_forced,
    stop_ids_honoured,
    greedy_repeats,
    closing_cancels,
    requests_do_not_leak,
    text_matches_ids,
    characters_arrive_whole,
    own_ids_accepted,
    overflow_refused,
    context_usable,
    empty_prompt_handled,
    foreign_ids_refused,
)
