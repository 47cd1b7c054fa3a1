"""`templates.csv`: one row per model, arm and conversation, safe to open in a spreadsheet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence

from reports.csv import to_text
from results import templates
from results.records import Rendering, digest_ids
from results.store import Run

#: `status` and `reference_status` as in a Rendering, empty where there is none. `verdict` and
#: `severity` are the worst finding's, `findings` all of them but `identical`, as
#: `verdict: detail; …`. `harm_nats`: how much the engine's prompt lowers the answer's
#: log-probability; empty where it was not scored.
#: `injected`: special tokens in messages that became special ids. `ids_equal`, `text_equal`: empty
#: where one side has none; an identical prompt may have another text, where only one side writes
#: the BOS into it. Digests: `digest_ids` of the ids, sha256 of the text in UTF-8.
COLUMNS = (
    "run", "model", "backend", "artifact", "settings", "conversation", "reference_status", "status",
    "verdict", "severity", "findings", "harm_nats", "injected", "reference_injected", "ids_equal",
    "text_equal", "reference_tokens", "tokens", "reference_ids", "ids", "reference_text_sha256",
    "text_sha256", "reason",
)  # fmt: skip


def render(run: Run) -> str:
    return to_text(COLUMNS, _rows(run))


def _rows(run: Run) -> Iterator[Sequence[object]]:
    for model in templates.matrix(run):
        for arm in model.arms:
            for cell, injected in zip(arm.cells, model.injected, strict=True):
                sides = (cell.reference, cell.rendering)
                first = cell.findings[0]
                identical = first.verdict == "identical"
                yield (
                    run.info.id,
                    model.name,
                    arm.case.backend,
                    arm.case.artifact,
                    json.dumps(arm.case.settings, sort_keys=True, default=str),
                    cell.conversation.name,
                    *(side.status if side else None for side in sides),
                    first.verdict,
                    first.severity,
                    "; ".join(f"{f.verdict}: {f.detail}" for f in cell.findings if not identical),
                    cell.harm_nats,
                    " ".join(cell.injected),
                    " ".join(injected),
                    cell.ids_equal,
                    cell.text_equal,
                    *(_count(side) for side in sides),
                    *(_digest(side) for side in sides),
                    *(_text_digest(side) for side in sides),
                    cell.rendering.reason if cell.rendering else None,
                )


def _count(side: Rendering | None) -> int | None:
    return None if side is None or side.ids is None else len(side.ids)


def _digest(side: Rendering | None) -> str | None:
    return None if side is None or side.ids is None else digest_ids(side.ids)


def _text_digest(side: Rendering | None) -> str | None:
    if side is None or side.status != "rendered":
        return None
    return hashlib.sha256(side.text.encode("utf-8", "surrogatepass")).hexdigest()
