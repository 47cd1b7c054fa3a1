"""The answer: which engine is fastest, leanest and quickest here, over all tasks of a run.

Cases are ranked within equal weights, and once more whatever they hold: which weights to run is part
of the choice, and then the other weights are said to speak against the best. Where several tasks
(prompt lengths) give the same answer they share a sentence; `of_task` has each task's own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from reports.names import case_name
from reports.objections import Objections
from reports.sentences import Found, Statement, several, short_names, statement
from reports.tables import Letters
from reports.untrusted import one_line
from results import memory, metrics
from results.ranking import Certificates, rank
from results.summary import CaseSummary, Workload

#: What is asked: the question, the metrics that may answer it, the words.
_QUESTIONS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("Fastest", ("decode_tok_s",), "the highest decode speed"),
    ("First to answer", ("ttft_ms",), "the lowest time to first token"),
    (
        "First to answer, prefix reused",
        ("ttft_reused_prefix_ms",),
        "the lowest time to first token on a reused prefix",
    ),
    ("Quickest to load", ("load_s",), "the shortest load time"),
    ("Leanest", memory.PEAKS, "the lowest peak memory"),
)


@dataclass(frozen=True)
class Headline:
    """A question and what the run answers."""

    question: str
    statements: tuple[Statement, ...]

    @property
    def about(self) -> str:
        """The task, where all statements are about the same one."""
        tasks = {said.task for said in self.statements}
        return tasks.pop() if len(tasks) == 1 else ""

    def where(self, said: Statement) -> str:
        """Which tasks and weights a statement is about, without what `about` says for all."""
        return "; ".join(part for part in ("" if self.about else said.task, said.scope) if part)


def ask(task: Workload, title: str, letters: Letters) -> dict[str, list[Found]]:
    """What one task says about each question that it asks."""
    certificates = Certificates()
    found = {
        question: list(_rankings(task, metric, title, words, letters, certificates))
        for question, names, words in _QUESTIONS
        if (metric := _metric(task.cases, names)) is not None
    }
    return {question: several for question, several in found.items() if several}


def headlines(
    tasks: Sequence[Workload], asked: Sequence[Mapping[str, list[Found]]], objections: Objections
) -> Iterator[Headline]:
    """The answers over all tasks, each of which was asked; questions that none asks are left out."""
    for question, *_ in _QUESTIONS:
        by_scope: dict[tuple[str, str], list[Found]] = {}
        for task, found in zip(tasks, asked, strict=True):
            if question == "Leanest" and _has_better(task, tasks):
                continue
            for one in found.get(question, ()):
                by_scope.setdefault((one.scope, one.weights), []).append(one)
        said = (
            statement
            for scope in sorted(by_scope)
            for statement in _merged(by_scope[scope], objections)
        )
        if statements := tuple(_once(said)):
            yield Headline(question, statements)


def _once(statements: Iterable[Statement]) -> list[Statement]:
    """What is said alike of several sets of weights is said once."""
    alike: dict[tuple[str, str, str], list[Statement]] = {}
    for said in statements:
        alike.setdefault((said.task, said.lead, said.text), []).append(said)
    found = []
    for same in alike.values():
        scopes = list(dict.fromkeys(one.scope for one in same))
        everywhere = len(alike) == 1 and len(scopes) > 1
        found.append(replace(same[0], scope="" if everywhere else "; ".join(scopes)))
    return found


def of_task(asked: Mapping[str, list[Found]], objections: Objections) -> Iterator[Headline]:
    """What one task says by itself."""
    for question, found in asked.items():
        alone = (replace(one, task="") for one in found)
        yield Headline(question, tuple(_once(statement(one, objections) for one in alone)))


def _has_better(task: Workload, tasks: Sequence[Workload]) -> bool:
    """Loading shows less of what an engine needs than generating does."""
    return task.measure == "load" and any(
        other.measure == "generate" and other.model == task.model for other in tasks
    )


def _rankings(
    task: Workload,
    metric: metrics.Metric,
    title: str,
    words: str,
    letters: Letters,
    certificates: Certificates,
) -> Iterator[Found]:
    """Of all cases, and of each group that holds the same weights. A letter tells groups of one
    precision apart."""
    often = Counter(group.precision for group in task.groups)
    scopes = []
    for group in task.groups:
        if len(group.cases) > 1 and group.weights is not None:
            letter = letters[task.model, group.weights, group.precision]
            scope = f"same {one_line(group.precision, 40)} weights"
            scope += f" ({letter})" if often[group.precision] > 1 else ""
            scopes.append((scope, letter, group.cases))
    if len(task.groups) > 1:
        scopes.insert(0, ("all cases", "", task.cases))
    for scope, letter, cases in scopes or [("", "", task.cases)]:
        ranking = rank(cases, metric, certificates)
        yield Found(title, scope, letter, ranking, short_names(cases), words)


def _metric(cases: Sequence[CaseSummary], names: tuple[str, ...]) -> metrics.Metric | None:
    """The one that answers; None where no case can have any."""
    known = {metric.name for case in cases for metric in metrics.applicable(case.case)}
    if names == memory.PEAKS:
        names = (memory.peak_metric(case.estimates for case in cases),)
    return next((metrics.METRICS[name] for name in names if name in known), None)


def _merged(found: Sequence[Found], objections: Objections) -> Iterator[Statement]:
    """One statement per winner and metric; what can't be told comes last, in one."""
    alike: dict[tuple[str, ...], list[Found]] = {}
    for one in found:
        best = one.ranking.ranked if one.only else one.ranking.best
        named = sorted(case_name(case.case) for case in best)
        key = (one.ranking.outcome, one.ranking.metric.name, *named) if named else ()
        alike.setdefault(key, []).append(one)
    for key in sorted(alike, key=lambda key: (key == (), -len(alike[key]), key)):
        group = alike[key]
        if len(group) == 1:
            yield statement(group[0], objections)
        else:
            yield several(group, len(found), objections)
