"""Markdown for a pull request or a job summary (GitHub's flavour of it)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from reports import fidelity_text, quality_markdown, sampling_markdown
from reports.answers import Headline
from reports.comparisons import REFUSED, RatioCell
from reports.sentences import Statement
from reports.tables import Row, Table
from reports.template_view import ModelView, Templates
from reports.template_words import LEGEND, MARKS
from reports.view import Report

#: Everything that can start Markdown or HTML inside a line; numeric entities show it as text,
#: in tables too, where a backslash would not save a pipe inside code.
_SPECIAL = re.compile(r"[\\`*_{}\[\]<>()#+!|~&@$:]")

_MARKS = {"met": " ✓", "missed": " ✗ budget missed", "unknown": ""}


def escape(text: str) -> str:
    """Text that Markdown shows as it is: no markup, no HTML, no mention, no autolink."""
    shown = _SPECIAL.sub(lambda match: f"&#{ord(match[0])};", text.replace("\n", " "))
    return shown.replace("www.", "www&#46;")


def render(report: Report) -> str:
    """`report.md`."""
    return "\n".join(_lines(report)).rstrip() + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield f"# {escape(report.title)}"
    yield ""
    if report.description:
        yield from (escape(report.description), "")
    yield (
        f"{escape(', '.join(report.models))} · {report.trials} · {escape(report.created_at)} · "
        f"bakeoff {escape(report.bakeoff)}"
    )
    yield ""
    yield from _bullets(
        "In short",
        (_answer(h, s) for h in report.headlines for s in h.statements),
    )
    yield from _bullets("Caveats", map(escape, report.caveats))
    yield from _templates(report.templates)
    yield from fidelity_text.markdown(report.fidelity, escape)
    yield from quality_markdown.lines(report.quality, escape)
    yield from sampling_markdown.lines(report.samplers, escape)
    for table in report.tables:
        yield from _table(table)
    yield from _comparisons(report)
    yield from _bullets("Audit", _audit(report))
    yield from _bullets("Budgets", _budgets(report))
    yield from _bullets("Failures", _failures(report))
    yield from _memory(report)
    yield from _bullets(
        "Engines' claims that are off",
        (
            f"**{escape(one.case)}** ({escape(one.task)}): {escape(one.text)}"
            for one in report.claims
        ),
    )
    yield from _pairs("Machine", (("fingerprint", report.fingerprint), *report.host))
    yield from _pairs("Engines and software", (*report.engines, *report.software))
    yield from _artifacts(report)
    yield from ("## How to reproduce", "", _code(report.command), "")
    yield from (f"Seed {report.seed}; scenario sha256 {escape(report.scenario_sha256)}:", "")
    yield from (_code(report.scenario), "")
    yield from _bullets(
        "What the numbers mean",
        (
            f"**{escape(m.name)}** ({m.unit}): {escape(m.definition)} {escape(m.formula)}."
            for m in report.definitions
        ),
    )


def _answer(headline: Headline, said: Statement) -> str:
    about = [part for part in (headline.about, headline.where(said)) if part]
    where = f" ({'; '.join(about)})" if about else ""
    rest = said.full.removeprefix(said.lead)
    return f"{headline.question}{escape(where)}: **{escape(said.lead)}**{escape(rest)}"


def _table(table: Table) -> Iterator[str]:
    yield f"## {escape(table.title)}"
    yield ""
    head = ("engine, artifact", "weights", "ok", *(escape(m.title) for m in table.columns))
    yield _row(head)
    yield _row(("---", "---", "---:", *("---:" for _ in table.columns)))
    for section in table.sections:
        for row in section.rows:
            yield _row(
                (
                    escape(row.name) + "".join(f" ✗ {escape(name)}" for name, _ in row.lies),
                    section.letter,
                    row.ok,
                    *(_cell(row, m.name) for m in table.columns),
                )
            )
    yield ""


def _templates(found: Templates | None) -> Iterator[str]:
    if found is None:
        return
    said = (f"**{escape(where)}**: {escape(text)}" for where, text in found.sentences)
    yield from _bullets("Chat templates", said)
    yield from ("; ".join(f"{MARKS[s]} {text}" for s, text in LEGEND.items()) + ".", "")
    for model in found.models:
        yield from _template_model(model)
    if found.injections:
        yield from ("### Special tokens in what a user writes", "")
        yield _row(("model", "conversation", "tokens", "become special", "stay text"))
        yield _row(("---",) * 5)
        for one in found.injections:
            names = (", ".join(one.special) or "none", ", ".join(one.text) or "none")
            yield _row([escape(t) for t in (one.model, one.conversation, one.tokens, *names)])
        yield ""


def _template_model(model: ModelView) -> Iterator[str]:
    yield from (f"### {escape(model.name)}", "")
    if model.trouble:
        yield from (f"No reference: {escape(model.trouble)}", "")
    harm = ("mean harm",) if model.has_harm else ()
    names = (escape(column.name) for column in model.columns)
    yield _row(("engine, artifact", "as the template", *harm, *names))
    yield _row(("---", "---:", *("---:" for _ in harm), *("---" for _ in model.columns)))
    for row in model.rows:
        cells = (f"{c.mark} {escape(c.verdict)}".rstrip() for c in row.cells)
        yield _row((escape(row.name), row.agreed, *(row.harm for _ in harm), *cells))
    yield ""
    columns = {column.number: column.name for column in model.columns}
    for row in model.rows:
        for verdict, severity, numbers, detail in row.findings:
            where = ", ".join(columns[n] for n in numbers)
            yield (
                f"- {MARKS[severity]} **{escape(row.name)}**, {escape(where)}: "
                f"{escape(verdict)}. {escape(detail)}"
            )
    yield ""


def _cell(row: Row, metric: str) -> str:
    cell = row.cells.get(metric)
    return "" if cell is None else escape(cell.text) + _MARKS.get(cell.verdict or "", "")


def _comparisons(report: Report) -> Iterator[str]:
    yield from _bullets("Weights", map(escape, report.weights))
    if report.comparisons:
        yield from ("## Comparisons", "")
        yield "Each number is the case's mean over the base's, with a 95 % interval."
        yield ""
    for table in report.comparisons:
        yield from (f"### {escape(table.title)}, against {escape(table.base)}", "")
        yield _row(("engine, artifact", *(escape(m.title) for m in table.columns), "grade", "why"))
        yield _row(("---", *("---:" for _ in table.columns), "---", "---"))
        for row in table.rows:
            cells = (_ratio(cell) for cell in row.cells)
            why = escape("; ".join(row.reasons) or "everything was the same")
            yield _row((escape(row.name), *cells, row.grade, why))
        yield ""


def _ratio(cell: RatioCell) -> str:
    return cell.value if cell.value == REFUSED else f"{escape(cell.text)} {cell.verdict}"


def _audit(report: Report) -> Iterator[str]:
    for row in report.audit.rows:
        if not row.failed:
            yield f"{escape(row.name)}: {escape(row.summary)}"
        for name, detail in row.failed:
            yield f"**{escape(row.name)} ✗ {escape(name)}**: {escape(detail)}"


def _memory(report: Report) -> Iterator[str]:
    if not report.memory:
        return
    yield from ("## Memory", "")
    head = ("engine, artifact", "RSS", "PSS", "anonymous", "file-backed", "of PSS", "swap")
    yield _row((*head, "PSS: load", "prefill", "decode", "sampler's CPU"))
    yield _row(("---", *("---:" for _ in range(10))))
    for row in report.memory:
        fields = (row.rss, row.pss, row.anonymous, row.file_backed, row.explained, row.swap)
        yield _row((escape(row.name), *fields, *row.phases, row.sampler))
    yield ""


def _budgets(report: Report) -> Iterator[str]:
    for line in report.budgets:
        text = f"**{escape(line.metric)}** {escape(line.limit)}: met by {line.met}"
        if line.missed:
            text += f"; missed by {escape('; '.join(line.missed))}"
        if line.unknown:
            text += f"; unknown, as there is no value: {escape('; '.join(line.unknown))}"
        yield text


def _failures(report: Report) -> Iterator[str]:
    for line in report.failures:
        text = (
            f"**{escape(line.case)}** ({escape('; '.join(line.tasks))}), {line.count} "
            f"({escape(line.how)}): {escape(line.reason)}"
        )
        yield f"{text} → {escape(line.remedy)}" if line.remedy else text


def _artifacts(report: Report) -> Iterator[str]:
    if not report.artifacts:
        return
    yield from ("## Artifacts", "")
    yield _row(("artifact", "weights", "format", "precision", "size", "sha256", "provenance"))
    yield _row(("---",) * 7)
    for one in report.artifacts:
        made = "; ".join(f"{name}: {value}" for name, value in one.provenance)
        fields = (one.name, one.letter, one.format, one.precision, one.size, one.sha256, made)
        yield _row([escape(field) for field in fields])
    yield ""


def _pairs(title: str, pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    yield from _bullets(title, (f"{escape(name)}: {escape(value)}" for name, value in pairs))


def _bullets(title: str, items: Iterable[str]) -> Iterator[str]:
    found = list(items)
    if found:
        yield from (f"## {title}", "", *(f"- {item}" for item in found), "")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _code(text: str) -> str:
    """A fenced block whose fence is longer than any run of backticks inside."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text.rstrip()}\n{fence}"
