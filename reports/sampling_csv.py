"""`sampling.csv`: one row per arm, prompt and setting, safe to open in a spreadsheet."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from reports.csv import to_text
from results import sampling
from results.sampling_settings import OFF
from results.store import Run

#: `status` is `as told`, `not as told`, `refused` or `error` (then see `reason`). `explanation` is
#: of a setting that is not as told: `order`, `without` or `variant`, empty where none fits; `of` is
#: the parameter it is about and `order` the filters, first to last. `p_adjusted` is Holm's over the
#: run. `variation` is the total variation over bins of tokens, `variation_expected` its mean for
#: honest draws; `outside` counts draws of forbidden tokens.
COLUMNS = (
    "run", "model", "backend", "artifact", "settings", "prompt", *OFF, "status", "explanation", "of",
    "how", "order", "draws", "p_value", "p_adjusted", "variation", "variation_expected", "outside",
    "way", "compared", "agreed", "reason",
)  # fmt: skip


def render(run: Run) -> str:
    return to_text(COLUMNS, _rows(run))


def _rows(run: Run) -> Iterator[Sequence[object]]:
    for arm in sampling.table(run):
        case = arm.case
        settings = json.dumps(case.settings, sort_keys=True, default=str)
        for line in arm.lines:
            why = line.explanation
            status = "as told" if line.as_told else "not as told"
            if not line.hypotheses:
                status = "refused" if line.refused else "error"
            tested = bool(line.hypotheses)
            yield (
                run.info.id,
                case.model,
                case.backend,
                case.artifact,
                settings,
                line.prompt,
                *(line.sampling[name] for name in OFF),
                status if line.tested or not tested else "error",
                why.kind if why else None,
                why.of if why else None,
                why.how if why else None,
                " ".join(why.order) if why else None,
                line.draws if tested else None,
                line.p_value if line.tested else None,
                line.adjusted if line.tested else None,
                line.variation if tested else None,
                line.expected if tested else None,
                line.outside if tested else None,
                line.way or None,
                line.compared,
                line.agreed,
                line.refused or line.error,
            )
