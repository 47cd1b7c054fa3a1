"""Answers to tasks in Markdown. `escape` is the Markdown writer's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from reports.quality_view import GroupView, Quality
from reports.quality_words import LEGEND

Escape = Callable[[str], str]


def lines(found: Quality | None, escape: Escape) -> Iterator[str]:
    if found is None:
        return
    yield from ("## Answers to tasks", "")
    yield from (f"- **{escape(where)}**: {escape(text)}" for where, text in found.sentences)
    yield from ("", LEGEND, "")
    for group in found.groups:
        yield from _group(group, escape)


def _group(group: GroupView, escape: Escape) -> Iterator[str]:
    yield from (f"### {escape(group.title)}: {escape(group.about)}", "")
    trials = ("other process",) if group.has_trials else ()
    yield from _table(
        (
            "engine, artifact", "sampling", "right", *group.kinds, "form", "repeated", "longest",
            "distinct-1", "distinct-2", "distinct-3", "self-BLEU", "tokens", "ended",
            "same again", "other seed differs", *trials, "errors",
        ),
        (
            (
                row.name, group.settings[row.number - 1], row.accuracy, *row.by_kind, row.valid,
                row.repeated, row.longest, *row.distinct, row.self_bleu, row.tokens, row.ended,
                row.again, row.other_seed, *((row.trials,) if trials else ()), row.errors,
            )
            for row in group.rows
        ),
        escape,
    )  # fmt: skip
    for name, trouble in group.troubles:
        yield from (f"{escape(name)}: {escape(trouble)}", "")
    if group.claims:
        yield from _table(
            ("engine, artifact", "against greedy", "saying", "verdict", "difference"),
            ((r.name, r.setting, r.about, r.verdict, r.difference) for r in group.claims),
            escape,
        )
    if group.pairs:
        yield from _table(
            ("sampling", "first", "second", "first − second", "only first", "only second",
             "McNemar p", "after Holm"),
            (
                (r.setting, r.first, r.second, r.difference, *r.only, r.p, r.adjusted)
                for r in group.pairs
            ),
            escape,
        )  # fmt: skip
    if group.more_pairs:
        yield from (f"{group.more_pairs} more pairs are left out.", "")
    if group.note:
        yield from (group.note, "")


def _table(head: Sequence[str], rows: Iterator[Sequence[str]], escape: Escape) -> Iterator[str]:
    yield f"| {' | '.join(map(escape, head))} |"
    yield f"| {' | '.join('---' for _ in head)} |"
    for row in rows:
        yield f"| {' | '.join(map(escape, row))} |"
    yield ""
