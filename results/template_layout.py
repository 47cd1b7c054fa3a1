"""Where a rendered prompt holds the messages, and what stands between them.

Everything here is text that a template made of text that a user wrote: any of it may be empty,
huge, or look like something else. All work is bounded by the length of the texts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from results.records import Conversation, Rendering

#: Looks like a marker even where the vocabulary does not say so.
_MARKER = r"<\|[^|<>\s]{1,40}\|>|</?[a-z_]{1,30}>|<</?[A-Z]{1,20}>>|\[/?[A-Z_]{1,30}\]"
#: How many places of one message are looked at before the first one is taken.
_PLACES = 200

SYSTEM_ROLES = frozenset({"system", "developer"})


@dataclass(frozen=True)
class Vocabulary:
    """The special tokens of a model: `special` maps text to id."""

    bos: str | None = None
    eos: str | None = None
    special: Mapping[str, int] | None = None

    @classmethod
    def of(cls, data: object) -> Vocabulary:
        """From `conditions["vocabulary"]`; what does not have the right shape is left out."""
        if not isinstance(data, Mapping):
            return cls()
        bos, eos, special = (data.get(name) for name in ("bos", "eos", "special"))
        found = special if isinstance(special, Mapping) else {}
        return cls(
            bos if isinstance(bos, str) and bos else None,
            eos if isinstance(eos, str) and eos else None,
            {
                text: number
                for text, number in found.items()
                if isinstance(text, str) and text.strip() and type(number) is int
            },
        )

    @property
    def ids(self) -> Mapping[str, int]:
        return self.special or {}

    def pattern(self, *, marks: bool) -> re.Pattern[str] | None:
        """Finds special tokens, the longest first; with `marks` whatever looks like one too."""
        names = sorted(
            {*self.ids, *(t for t in (self.bos, self.eos) if t)}, key=lambda t: (-len(t), t)
        )
        parts = [re.escape(name) for name in names] + ([_MARKER] if marks else [])
        return re.compile("|".join(parts)) if parts else None

    def bos_count(self, rendering: Rendering) -> int:
        """How often the prompt begins with BOS: by its ids where there are any, else by text.

        White space may come before one: templates that are not trimmed begin with it.
        """
        if self.bos is None:
            return 0
        number, run = self.ids.get(self.bos), self._run(rendering.text)
        if rendering.ids is None or number is None:
            return run.count(self.bos)
        leading = _leading(rendering.ids, number)
        late = run.count(self.bos) - self._run(run, spaces=False).count(self.bos)
        return leading + late if rendering.ids.count(number) >= leading + late else leading

    def bare(self, rendering: Rendering) -> Rendering:
        """The rendering without a leading BOS, in its text and in its ids."""
        ids = rendering.ids
        if (
            ids is not None
            and self.bos is not None
            and (number := self.ids.get(self.bos)) is not None
        ):
            late = self.bos_count(rendering) - _leading(ids, number)
            ids = ids[_leading(ids, number) :]
            for _ in range(late):
                at = ids.index(number)
                ids = (*ids[:at], *ids[at + 1 :])
        return replace(rendering, text=self.without_bos(rendering.text), ids=ids, pieces=())

    def without_bos(self, text: str) -> str:
        """The text without the BOS at its beginning; white space before one stays."""
        if self.bos is None:
            return text
        run = self._run(text)
        return run.replace(self.bos, "") + text[len(run) :]

    def _run(self, text: str, *, spaces: bool = True) -> str:
        """The BOS at the beginning of a text, and with `spaces` white space before each."""
        bos, end, at = self.bos or "", 0, 0
        while bos and at < len(text):
            if text.startswith(bos, at):
                at = end = at + len(bos)
            elif spaces and text[at].isspace():
                at += 1
            else:
                break
        return text[:end]


def _leading(ids: Sequence[int], number: int) -> int:
    return next((n for n, one in enumerate(ids) if one != number), len(ids))


@dataclass(frozen=True)
class Layout:
    """A text with the place of each message: None where its content is empty or not there."""

    text: str
    contents: tuple[str, ...]
    roles: tuple[str, ...]
    spans: tuple[tuple[int, int] | None, ...]

    @property
    def order(self) -> tuple[int, ...]:
        """The messages that were found, as they follow each other in the text."""
        found = [(span, n) for n, span in enumerate(self.spans) if span is not None]
        return tuple(n for _, n in sorted(found))

    def before(self, message: int) -> str:
        """What stands between a message that was found and the one before it in the text."""
        span, order = self.spans[message], self.order
        assert span is not None
        at = order.index(message)
        previous = self.spans[order[at - 1]] if at else (0, 0)
        assert previous is not None
        return self.text[previous[1] : span[0]]

    def after(self, message: int) -> str:
        order = self.order
        at = order.index(message)
        return self.before(order[at + 1]) if at + 1 < len(order) else self.tail

    @property
    def head(self) -> str:
        return self.before(self.order[0]) if self.order else self.text

    @property
    def tail(self) -> str:
        """What stands after the last message in the text; all of it where none was found."""
        last = self.spans[self.order[-1]] if self.order else (0, 0)
        assert last is not None
        return self.text[last[1] :]

    @property
    def wrappers(self) -> tuple[str, ...]:
        return (*(self.before(n) for n in self.order), self.tail)

    def lost(self, message: int) -> bool:
        """A message that has words, none of them where a message could be found."""
        content = self.contents[message].strip()
        return bool(content) and self.spans[message] is None and content not in self.text


def content_text(message: Mapping[str, Any]) -> str:
    """The content of a message; of a list of parts, their texts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list | tuple):
        parts = (part.get("text") for part in content if isinstance(part, Mapping))
        return "".join(part for part in parts if isinstance(part, str))
    return ""


def locate(conversation: Conversation, text: str, vocabulary: Vocabulary) -> Layout:
    """Find each content, as written or stripped, long ones first.

    A message lies between its neighbours where they are found; a system message may be anywhere.
    """
    contents = tuple(content_text(message) for message in conversation.messages)
    roles = tuple(str(message.get("role", "")) for message in conversation.messages)
    spans: list[tuple[int, int] | None] = [None] * len(contents)
    markers = _markers(text, vocabulary)
    for n in sorted(range(len(contents)), key=lambda n: (-len(contents[n].strip()), n)):
        if not contents[n].strip():
            continue
        low, high = 0, len(text)
        if roles[n] not in SYSTEM_ROLES:
            for other, span in enumerate(spans):
                if span is None or roles[other] in SYSTEM_ROLES:
                    continue
                if other < n:
                    low = max(low, span[1])
                else:
                    high = min(high, span[0])
        taken = [span for span in spans if span is not None]
        for wanted in dict.fromkeys((contents[n], contents[n].strip())):
            if (found := _place(text, wanted, low, high, taken, markers)) is not None:
                spans[n] = found
                break
    return Layout(text, contents, roles, tuple(spans))


def _markers(text: str, vocabulary: Vocabulary) -> list[tuple[int, int]]:
    pattern = vocabulary.pattern(marks=True)
    return [] if pattern is None else [match.span() for match in pattern.finditer(text)]


def _place(
    text: str,
    wanted: str,
    low: int,
    high: int,
    taken: Sequence[tuple[int, int]],
    markers: Sequence[tuple[int, int]],
) -> tuple[int, int] | None:
    """The first place that is free; rather one that cuts neither a marker nor a word in two."""
    spare = None
    at = text.find(wanted, low, high)
    for _ in range(_PLACES):
        if at < 0:
            break
        span = (at, at + len(wanted))
        if not any(_overlap(span, other) for other in taken):
            spare = spare or span
            if not _cuts(text, span, markers):
                return span
        at = text.find(wanted, at + 1, high)
    return spare


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _cuts(text: str, span: tuple[int, int], markers: Sequence[tuple[int, int]]) -> bool:
    start, end = span
    if start and text[start - 1].isalnum() and text[start].isalnum():
        return True
    if end < len(text) and text[end - 1].isalnum() and text[end].isalnum():
        return True
    return any(a < start < b or a < end < b for a, b in markers)


def squeeze(text: str) -> str:
    """The text without its white space."""
    return "".join(text.split())


def marks(texts: Sequence[str], vocabulary: Vocabulary) -> Iterator[str]:
    """The markers in these texts, in order."""
    pattern = vocabulary.pattern(marks=True)
    for text in texts:
        yield from (match[0] for match in pattern.finditer(text)) if pattern else ()


def special_texts(texts: Sequence[str], vocabulary: Vocabulary) -> Counter[str]:
    """How often each special token of the vocabulary is written in these texts."""
    pattern = vocabulary.pattern(marks=False)
    found: Counter[str] = Counter()
    for text in texts:
        found.update(match[0] for match in pattern.finditer(text)) if pattern else None
    return found


def special_ids(rendering: Rendering, vocabulary: Vocabulary) -> Counter[str]:
    """How often each special token is among the ids, a BOS that only the ids hold left out."""
    texts = {number: text for text, number in vocabulary.ids.items()}
    found = Counter(texts[one] for one in rendering.ids or () if one in texts)
    if (bos := vocabulary.bos) is not None and bos in found:
        text = rendering.text
        written = (len(text) - len(vocabulary.without_bos(text))) // len(bos)
        found[bos] -= max(0, vocabulary.bos_count(rendering) - written)
    return found


def injected(
    conversation: Conversation, rendering: Rendering, vocabulary: object
) -> tuple[str, ...]:
    """Special tokens written in the content of messages that became special ids.

    Of each token more ids are there than the text holds outside of the messages.
    """
    known = vocabulary if isinstance(vocabulary, Vocabulary) else Vocabulary.of(vocabulary)
    if rendering.status != "rendered" or rendering.ids is None:
        return ()
    contents = [content_text(message) for message in conversation.messages]
    written = special_texts(contents, known)
    if not written:
        return ()
    layout = locate(conversation, rendering.text, known)
    unplaced = special_texts(
        [c for c, span in zip(contents, layout.spans, strict=True) if span is None], known
    )
    outside, made = special_texts(layout.wrappers, known), special_ids(rendering, known)
    return tuple(
        sorted(t for t in written if t in known.ids and made[t] > outside[t] and not unplaced[t])
    )
