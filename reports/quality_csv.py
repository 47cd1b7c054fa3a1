"""`quality.csv`, one row per model, arm and setting; `answers.csv`, one row per request."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from reports.csv import to_text
from results import quality
from results.quality_statistics import Mean
from results.quality_text import longest_repeat, repeated_share
from results.store import Run

#: Shares are 0 to 1; `_low` and `_high` are 95 % intervals by item. `again`: same request twice,
#: `other_seed`: first against second seed, `trials`: the same request in another process; each as
#: equal answers of pairs. `self_bleu` is 0 to 100; empty with one seed. `settings`, `sampling` and
#: `by_kind` are JSON.
COLUMNS = (
    "run", "model", "backend", "artifact", "settings", "setting", "sampling", "items", "answers",
    "errors", "accuracy", "accuracy_low", "accuracy_high", "by_kind", "valid", "valid_low",
    "valid_high", "tokens", "tokens_low", "tokens_high", "ended", "ended_low", "ended_high",
    "seq_rep_4", "seq_rep_4_low", "seq_rep_4_high", "longest_repeat", "longest_repeat_low",
    "longest_repeat_high", "distinct_1", "distinct_2", "distinct_3", "self_bleu", "again_equal",
    "again_of", "other_seed_equal", "other_seed_of", "trials_equal", "trials_of", "error", "trouble",
)  # fmt: skip

#: `run_number` is 1 where the request was made a second time. `ids` are all of them, separated by
#: spaces; `text` and `error` are cut where they are longer than 2,000 characters.
ANSWER_COLUMNS = (
    "run", "model", "backend", "artifact", "settings", "setting", "sampling", "item", "kind", "seed",
    "run_number", "right", "valid", "tokens", "ended", "seq_rep_4", "longest_repeat", "error", "text",
    "ids",
)  # fmt: skip


def render(run: Run) -> str:
    return to_text(COLUMNS, _rows(run))


def answers(run: Run) -> str:
    return to_text(ANSWER_COLUMNS, _answers(run))


def _start(run: Run, group: quality.Group, arm: quality.Arm) -> tuple[object, ...]:
    settings = json.dumps(arm.case.settings, sort_keys=True, default=str)
    return (run.info.id, group.model, arm.case.backend, arm.case.artifact, settings)


def _rows(run: Run) -> Iterator[Sequence[object]]:
    for group in quality.groups(run):
        for arm in group.arms:
            start = _start(run, group, arm)
            if not arm.summaries:
                yield (*start, *(None for _ in COLUMNS[len(start) : -1]), arm.trouble)
            for found in arm.summaries:
                kinds = {kind: mean.value for kind, mean in found.by_kind.items()}
                yield (
                    *start,
                    found.setting,
                    json.dumps(group.settings[found.setting], sort_keys=True, default=str),
                    found.accuracy.n if found.accuracy else 0,
                    found.answers,
                    found.errors,
                    *_three(found.accuracy),
                    json.dumps(kinds, sort_keys=True),
                    *_three(found.valid),
                    *_three(found.tokens),
                    *_three(found.ended),
                    *_three(found.repeated),
                    *_three(found.longest),
                    *(found.distinct.get(n) for n in (1, 2, 3)),
                    found.self_bleu,
                    *(
                        count
                        for pairs in (found.again, found.other_seed, found.trials)
                        for count in (pairs.equal, pairs.of)
                    ),
                    found.error,
                    arm.trouble,
                )


def _three(found: Mean | None) -> tuple[float | None, ...]:
    return (None, None, None) if found is None else (found.value, found.low, found.high)


def _answers(run: Run) -> Iterator[Sequence[object]]:
    for group in quality.groups(run):
        kinds = {item.name: item.kind for item in group.items}
        for arm in group.arms:
            start = _start(run, group, arm)
            for answer in arm.answers.values():
                told = answer.error is None
                yield (
                    *start,
                    answer.setting,
                    json.dumps(group.settings[answer.setting], sort_keys=True, default=str),
                    answer.item,
                    kinds[answer.item],
                    answer.seed,
                    answer.run,
                    answer.right,
                    answer.outcome.valid if answer.outcome else None,
                    len(answer.ids) if told else None,
                    answer.ended if told else None,
                    repeated_share(answer.ids) if told else None,
                    longest_repeat(answer.ids) if told else None,
                    answer.error,
                    answer.text,
                    " ".join(map(str, answer.ids)),
                )
