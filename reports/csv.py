"""CSV, tidy and safe to open in a spreadsheet.

`report.csv` has one row per case and metric, those without a value too (`value` is then empty),
so that a failed case is a row and not a gap. `comparisons.csv` has one row per case against its
base and metric. `samples.csv` has one row per request.
Numbers are full precision in the metric's own unit. Columns stay in this order; new ones are
added at the end.
"""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

from reports import numbers
from reports.untrusted import one_line
from reports.view import Report
from results import frame, metrics
from results.certificate import ITEMS
from results.store import Run

#: `low`, `high`: interval at `level`; empty with one trial. `n`: trials that gave a value.
#: planned = ok + failed + timeout + crashed + unsupported + missing. `weights_group`: rows of
#: one workload with the same letter hold the same weights. `budget`: met, missed, unknown or
#: empty where there is none. `reason`: of the case's first failure. `failed_checks`: what an audit
#: of the arm caught, and `fault in fidelity` where its answers are at fault.
CASE_COLUMNS = (
    "run", "model", "backend", "engine_version", "artifact", "format", "precision",
    "weights_group", "weights", "measure", "parameters", "settings", "metric", "unit", "better", "value",
    "low", "high", "level", "n", "method", "planned", "ok", "failed", "timeout", "crashed",
    "unsupported", "missing", "budget", "reason", "remedy", "failed_checks",
)  # fmt: skip

#: `ratio` is case / base, `low` and `high` its interval; empty where the certificate refuses a
#: ratio, or there is no value. The last columns are the certificate, item by item: `same`,
#: `differs: how`, `unknown: why`, or empty where an item does not apply to the measure, or to the run.
COMPARISON_COLUMNS = (
    "run", "model", "measure", "parameters", "backend", "artifact", "settings", "base_backend",
    "base_artifact", "base_settings", "metric", "unit", "better", "ratio", "low", "high", "level",
    "n", "base_n", "verdict", "why", "grade", *ITEMS,
)  # fmt: skip

#: As in `results.frame`; token ids stay in the run folder.
SAMPLE_COLUMNS = (
    "run", "trial", "status", "model", "backend", "engine_version", "artifact", "precision",
    "measure", "parameters", "settings", "repetition", "attempt", "sample", "warmup", "prompt_digest",
    "sent_tokens", "received_tokens", "ttft_ms", "ttft_reused_prefix_ms", "prefill_tok_s",
    "tpot_ms", "decode_tok_s", "e2e_ms", "peak_rss_bytes", "peak_pss_bytes",
)  # fmt: skip

#: Characters of a cell; longer text is cut, and says so. Cells that a program reads are whole: JSON up to
#: what readers take of a text, `ids` up to 65,536 ids of 64 bits, as many as readers take of an answer.
_LIMIT = 2000
_WHOLE = {
    **dict.fromkeys(("parameters", "settings", "base_settings", "sampling", "by_kind"), 65_536),
    "ids": 65_536 * 21,
}

#: What a spreadsheet takes for the start of a formula, full-width forms included.
_FORMULA = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")


def guard(text: str) -> str:
    """Text that no spreadsheet takes for a formula: an apostrophe goes before one.

    Looks past spaces and invisible characters, which spreadsheets drop before they look.
    """
    for character in text:
        if character in _FORMULA:
            return f"'{text}"
        if not (character.isspace() or unicodedata.category(character) in ("Cf", "Cc")):
            return text
    return text


def cases(run: Run, report: Report) -> str:
    """`report.csv`."""
    return to_text(CASE_COLUMNS, _case_rows(run, report))


def comparisons(run: Run, report: Report) -> str:
    """`comparisons.csv`."""
    return to_text(COMPARISON_COLUMNS, _comparison_rows(run, report))


def samples(run: Run) -> str:
    """`samples.csv`."""
    data = frame.of(run)
    mappings = {
        "parameters": {record.trial: _json(record.case.parameters) for record in run.records},
        "settings": {record.trial: _json(record.case.settings) for record in run.records},
    }
    columns = [
        data["trial"].map(mappings[name]) if name in mappings else data[name]
        for name in SAMPLE_COLUMNS
    ]
    plain = [column.astype(object).where(column.notna(), None).tolist() for column in columns]
    return to_text(SAMPLE_COLUMNS, zip(*plain, strict=True))


def _case_rows(run: Run, report: Report) -> Iterator[Sequence[object]]:
    for table in report.tables:
        for section in table.sections:
            for row in section.rows:
                summary = row.summary
                case, facts, counts = summary.case, summary.facts, summary.counts
                versions = dict.fromkeys(e.version or "" for e in summary.engines)
                verdicts = {v.budget.metric: v.verdict for v in summary.budgets}
                failure = summary.failure
                for metric in metrics.applicable(case):
                    found = summary.estimates.get(metric.name)
                    yield (
                        run.info.id,
                        case.model,
                        case.backend,
                        " / ".join(versions),
                        case.artifact,
                        facts.format if facts else None,
                        facts.precision if facts else None,
                        section.letter,
                        facts.weights if facts else None,
                        case.measure,
                        _json(case.parameters),
                        _json(case.settings),
                        metric.name,
                        metric.unit,
                        metric.better,
                        found.value if found else None,
                        found.low if found else None,
                        found.high if found else None,
                        found.level if found else None,
                        found.n if found else 0,
                        found.method if found else None,
                        counts.planned,
                        *(number for _, number in counts.by_status()),
                        verdicts.get(metric.name),
                        failure.reason if failure else None,
                        failure.remedy if failure else None,
                        ", ".join(name for name, _ in row.lies) or None,
                    )


def _comparison_rows(run: Run, report: Report) -> Iterator[Sequence[object]]:
    for one in (c for table in report.comparisons for row in table.rows for c in row.found):
        case, base, ratio = one.summary.case, one.base.case, one.ratio
        items = {item.name: item.text for item in one.certificate.items}
        yield (
            run.info.id,
            case.model,
            case.measure,
            _json(case.parameters),
            case.backend,
            case.artifact,
            _json(case.settings),
            base.backend,
            base.artifact,
            _json(base.settings),
            one.metric.name,
            one.metric.unit,
            one.metric.better,
            ratio.value if ratio else None,
            ratio.low if ratio else None,
            ratio.high if ratio else None,
            ratio.level if ratio else None,
            one.n,
            one.base_n,
            one.verdict,
            one.why,
            one.certificate.grade,
            *(items.get(name) for name in ITEMS),
        )


def to_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows under their columns, every text guarded."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(columns)
    limits = [_WHOLE.get(name, _LIMIT) for name in columns]
    for row in rows:
        writer.writerow(_field(value, limit) for value, limit in zip(row, limits, strict=True))
    return file.getvalue()


def _field(value: object, limit: int) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return numbers.plain(value)
    return guard(one_line(value, limit))


def _json(parameters: object) -> str:
    return json.dumps(parameters, sort_keys=True, default=str)
