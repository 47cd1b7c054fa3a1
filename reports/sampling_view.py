"""The view model of samplers: a verdict per engine and parameter, and the settings behind it.

What an engine said of itself is bounded and made visible here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from reports.names import variant
from reports.untrusted import one_line
from results import sampling
from results.sampling_observations import Line
from results.sampling_settings import PARAMETERS, WORDS, words
from results.sampling_tests import ALPHA
from results.sampling_verdicts import Parameter, Verdict
from results.store import Run
from results.template_verdicts import Severity

SEVERITIES: Mapping[Verdict, Severity] = {
    "honoured": "same", "refused": "harmless", "differs": "bad", "ignored": "bad", "untold": "untold",
}  # fmt: skip
MARKS: Mapping[Verdict, str] = {
    "honoured": "✓", "refused": "–", "differs": "≠", "ignored": "✗", "untold": "?",
}  # fmt: skip
LEGEND: Mapping[Verdict, str] = {
    "honoured": "as told",
    "refused": "not offered, and said so",
    "differs": "applied, but otherwise",
    "ignored": "does nothing",
    "untold": "could not be told",
}
NOTE = (
    "Each line is one chi-square test of the engine's draws against its own logits, filtered as it "
    f"was told. Over this whole table honest engines raise a false alarm in {ALPHA:.1%} of runs at "
    "most (Holm). Variation: the total variation between draws and expectation, and what honest "
    "draws would have."
)


@dataclass(frozen=True)
class Cell:
    mark: str
    severity: Severity
    verdict: Verdict
    detail: str


@dataclass(frozen=True)
class SettingLine:
    """One setting on one prompt. `p` is Holm's adjusted p-value."""

    prompt: str
    setting: str
    mark: str
    severity: Severity
    said: str
    draws: str
    p: str
    variation: str
    expected: str
    outside: str
    way: str


@dataclass(frozen=True)
class Row:
    model: str
    backend: str
    artifact: str
    cells: tuple[Cell, ...]
    order: str
    trouble: str
    warning: str
    lines: tuple[SettingLine, ...]
    anchor: str

    @property
    def name(self) -> str:
        return f"{self.backend} {self.artifact}"


@dataclass(frozen=True)
class Samplers:
    """`parameters` head the cells of all rows. `sentences` are (engine, what is wrong with it)."""

    parameters: tuple[str, ...]
    rows: tuple[Row, ...]
    sentences: tuple[tuple[str, str], ...]
    legend: tuple[tuple[str, Severity, str, str], ...]
    note: str


def build(run: Run) -> Samplers | None:
    """None where the run tried no sampler."""
    arms = sampling.table(run)
    if not arms:
        return None
    several = len({arm.case.model for arm in arms}) > 1
    return Samplers(
        parameters=tuple(WORDS[name] for name in PARAMETERS),
        rows=tuple(_row(number, arm) for number, arm in enumerate(arms, 1)),
        sentences=tuple(_sentences(arms, several)),
        legend=tuple((MARKS[v], SEVERITIES[v], v, LEGEND[v]) for v in LEGEND),
        note=NOTE,
    )


def _row(number: int, arm: sampling.Arm) -> Row:
    found = {one.name: one for one in arm.parameters}
    unread = f"{arm.unread} observations could not be read" if arm.unread else ""
    cheap = "cheap draws were not those of whole requests" if arm.dishonest else ""
    return Row(
        model=one_line(arm.case.model, 80),
        backend=one_line(arm.case.backend, 60),
        artifact=variant(arm.case),
        cells=tuple(_cell(found.get(name), arm.trouble) for name in PARAMETERS),
        order=arm.order,
        trouble=one_line(arm.trouble or "", 400),
        warning="; ".join(filter(None, (cheap, unread))),
        lines=tuple(_line(line) for line in arm.lines),
        anchor=f"sampler-{number}",
    )


def _cell(found: Parameter | None, trouble: str | None) -> Cell:
    if found is None:
        return Cell("?", "untold", "untold", one_line(trouble or "", 200))
    detail = one_line(found.detail, 200)
    return Cell(MARKS[found.verdict], SEVERITIES[found.verdict], found.verdict, detail)


def _line(line: Line) -> SettingLine:
    prompt, setting = one_line(line.prompt, 40), words(line.sampling)
    if not line.tested:
        refused = line.refused is not None
        why = line.refused or line.error or "cheap draws are not those of whole requests"
        shown: Verdict = "refused" if refused else "untold"
        said = one_line(why, 200)
        return SettingLine(
            prompt, setting, MARKS[shown], SEVERITIES[shown], said, "", "", "", "", "", line.way
        )
    shown = "honoured" if line.as_told else "differs"
    return SettingLine(
        prompt=prompt,
        setting=setting,
        mark=MARKS[shown],
        severity=SEVERITIES[shown],
        said="as told" if line.as_told else _explained(line),
        draws=str(line.draws),
        p=probability(line.adjusted),
        variation=f"{line.variation:.3f}",
        expected=f"{line.expected:.3f}",
        outside=str(line.outside),
        way="one evaluation" if line.way == "draw" else "whole requests",
    )


def probability(value: float) -> str:
    """A p-value: two digits, and no more zeros than one can read."""
    if value < 1e-9:
        return "< 1e-9"
    return f"{value:.2g}" if value < 0.995 else "1"


def _explained(line: Line) -> str:
    found = line.explanation
    if found is None:
        return "no known way to apply it"
    if found.kind == "without":
        return f"as without {WORDS[found.of]}"
    if found.kind == "order":
        return f"in the order {', '.join(WORDS[name] for name in found.order)}"
    return f"{WORDS[found.of]}: {found.how}"


def _sentences(arms: Sequence[sampling.Arm], several: bool) -> Iterator[tuple[str, str]]:
    """What is wrong, by engine; one line for all that is right."""
    honest = []
    for arm in arms:
        where = one_line(arm.name, 140)
        if several:
            where = f"{one_line(arm.case.model, 80)}, {where}"
        if arm.trouble is not None:
            yield where, f"its sampler could not be judged: {one_line(arm.trouble, 300)}"
            continue
        bad = [one for one in arm.parameters if one.verdict in ("ignored", "differs")]
        for one in bad:
            detail = one_line(one.detail, 200)
            verb = "is ignored" if one.verdict == "ignored" else "is not as told"
            yield where, f"{WORDS[one.name]} {verb}: {detail}"
        if not bad:
            honest.append((where, arm))
    for where, arm in honest:
        refused = [WORDS[one.name] for one in arm.parameters if one.verdict == "refused"]
        untold = [WORDS[one.name] for one in arm.parameters if one.verdict == "untold"]
        said = "the sampler does what it is told"
        said += f"; refuses {', '.join(refused)}" if refused else ""
        said += f"; could not be told of {', '.join(untold)}" if untold else ""
        yield where, said
