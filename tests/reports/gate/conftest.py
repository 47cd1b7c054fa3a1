"""Outcomes of gates, made up by hand: one of each colour, a crash, and one that attacks its reader."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from results.gate.judged import Judged
from results.gate.outcome import Arm, Exact, Finding, Outcome, Row, Typical
from results.metrics import METRICS

SHORT = "generate 64→32 tokens, greedy, llamacpp gguf-q4_1"
LONG = "generate 512→32 tokens, greedy, llamacpp gguf-q4_1"
LOAD = "load, warm page cache, llamacpp gguf-q4_1"


def row(task, metric, base, ratio, verdict, half=0.02, *, slow=False, blocks=10) -> Row:
    found = METRICS[metric]
    low, high = (None, None) if half is None else (ratio * (1 - half), ratio * (1 + half))
    p_regressed, p_pass = {"regressed": (0.002, 1.0), "pass": (0.8, 0.001)}.get(verdict, (0.2, 0.1))
    judged = Judged(
        f"{task} {metric}", verdict, blocks, ratio, low, high, p_regressed, p_pass, slow
    )
    return Row(task, found, Typical(base, 6), Typical(base * ratio, 6), judged)


def exact(*, templates: bool | None = True, greedy: bool | None = True) -> tuple[Exact, ...]:
    return (
        Exact("templates", SHORT, templates, "" if templates else "2 of 12 prompts differ"),
        Exact("token_counts", SHORT, True, "320 of 320 requests"),
        Exact("greedy", SHORT, greedy, "base repeats itself in 9 of 10 processes" if greedy is None else "40 texts"),
        Exact("size", LOAD, True, "98362432 bytes"),
    )  # fmt: skip


def passing() -> tuple[Row, ...]:
    return (
        row(LOAD, "load_s", 0.412, 1.003, "pass", 0.031),
        row(LOAD, "peak_pss_bytes", 163e6, 1.0004, "pass", 0.002),
        row(SHORT, "ttft_ms", 187.2, 0.991, "pass", 0.024),
        row(SHORT, "decode_tok_s", 92.4, 1.006, "pass", 0.018),
        row(LONG, "ttft_ms", 1612, 0.997, "pass", 0.022),
        row(LONG, "decode_tok_s", 88.1, 1.001, "pass", 0.016),
    )


GREEN = Outcome(
    colour="green",
    passed=True,
    sentence="GREEN: nothing got worse by as much as matters, in 6 metrics of 3 tasks.",
    findings=(),
    rows=passing(),
    exact=exact(),
    arms=(
        Arm("base", "as the scenario says", {"llamacpp": "0.3.35"}),
        Arm("candidate", "python: .venv-candidate", {"llamacpp": "0.3.36"}),
    ),
    blocks=6,
    set_aside=0,
    minutes=7.4,
    fingerprint="3f9ac2017e4b55d0",
)


def red() -> Outcome:
    said = "decode speed of llamacpp gguf-q4_1 fell by 10.2 % [8.1, 12.0] (90 %)"
    rows = (
        *passing()[:3],
        row(SHORT, "decode_tok_s", 92.4, 0.898, "regressed", 0.022),
        row(LONG, "ttft_ms", 1612, 1.022, "inconclusive", 0.045),
        row(LONG, "decode_tok_s", 88.1, 0.941, "regressed", 0.03, slow=True),
    )
    return replace(
        GREEN,
        colour="red",
        passed=False,
        sentence=f"RED: {said}, in generate 64→32 tokens.",
        findings=(
            Finding("template", "red", SHORT, "2 of 12 prompts differ: <|im_end|> is missing.",
                    "bakeoff templates check MODEL"),
            Finding("regressed", "red", SHORT, f"The {said}.",
                    "bisect between llamacpp 0.3.35 and 0.3.36"),
            Finding("regressed", "red", LONG, "The decode speed fell in some processes."),
            Finding("inconclusive", "yellow", LONG,
                    "The time to first token rose by 2.2 % [-2.4, 6.8]: can't tell.",
                    "allow more blocks or a quieter machine"),
        ),
        rows=rows,
        exact=exact(templates=False, greedy=None),
        blocks=10,
        set_aside=1,
        minutes=12.26,
    )  # fmt: skip


def crash() -> Outcome:
    why = "the candidate has no values: it crashed in 6 of 6 processes"
    rows = (
        *passing()[:2],
        Row(SHORT, METRICS["ttft_ms"], Typical(187.2, 6), None, None, why),
        Row(SHORT, METRICS["decode_tok_s"], Typical(92.4, 6), None, None, why),
    )
    return replace(
        GREEN,
        colour="red",
        passed=False,
        sentence="RED: the candidate crashed with SIGSEGV in generate 64→32 tokens.",
        findings=(
            Finding("crashed", "red", SHORT, "SIGSEGV in 6 of 6 processes.", "see trials/*.log"),
            Finding("crashed", "red", SHORT, "SIGABRT while closing, once."),
        ),
        rows=rows,
        exact=(Exact("greedy", SHORT, None, "the candidate made no tokens"),),
    )


YELLOW = replace(
    GREEN,
    colour="yellow",
    sentence="YELLOW: 1 of 6 metrics could not be decided in 20 blocks: time to first token.",
    findings=(
        Finding("inconclusive", "yellow", LONG, "The ratio is 1.02 [0.97, 1.08]: can't tell.",
                "allow more blocks or a quieter machine"),
    ),
    rows=(
        *passing()[:4],
        row(LONG, "ttft_ms", 1612, 1.022, "inconclusive", 0.05, blocks=20),
        replace(row(LONG, "decode_tok_s", 88.1, 1.03, "inconclusive", None, blocks=3), why="3 blocks are too few"),
    ),
    blocks=20,
    set_aside=5,
)  # fmt: skip

INCOMPARABLE = replace(
    GREEN,
    colour="incomparable",
    passed=False,
    sentence="INCOMPARABLE: the base was measured on another machine: run the baseline here.",
    findings=(
        Finding("incomparable", "incomparable", "gate", "Fingerprints 3f9a and 77ab differ.",
                "run both arms in one session"),
    ),
    rows=(),
    exact=(),
    blocks=0,
)  # fmt: skip

ATTACKS = (
    "</script></style></title></svg><script>alert(1)</script>",
    "<img src=x onerror=alert(1)> </details>",
    "[click](javascript:alert(1)) http://evil.example @all `code` **b** #1",
    "a | b\n# heading\n::error::fake %0A::add-mask::x",
    "\r::stop-commands::x\r\n##[add-mask]secret",
    "\x1b[31mred\x1b]8;;http://evil.example\x07link\x1b]8;;\x07 \x00 \x07 ]]>",
    "\u202egnp.exe\u2066 zero\u200bwidth \ufeff \ufffe",
    "lone \udc80 surrogate \ud800",
    "[bold red]rich markup[/] {{ 7 * 7 }}",
    "x" * 100_000,
    "|" * 5000,
    "",
)


def hostile(text: str, count: int = 1) -> Outcome:
    """An outcome with `text` wherever a run or an engine may put some."""
    attacked = red()
    return replace(
        attacked,
        sentence=text,
        findings=tuple(
            replace(one, task=f"in {text}", sentence=text, remedy=text) for one in attacked.findings
        ) * count,
        rows=tuple(
            replace(one, task=text, why=text) for one in (*attacked.rows, *crash().rows)
        ) * count,
        exact=tuple(
            replace(one, name=text, task=text, detail=text) for one in attacked.exact
        ) * count,
        arms=(Arm("base", text, {text: text}), Arm("candidate", text, {"a": text, text: "b"})),
        minutes=math.inf,
        fingerprint=text,
    )  # fmt: skip


def outcomes() -> dict[str, Outcome]:
    blocking = replace(YELLOW, passed=False)
    return {
        "green": GREEN, "red": red(), "crash": crash(), "yellow": YELLOW, "blocking": blocking,
        "incomparable": INCOMPARABLE,
    }  # fmt: skip


NAMES = tuple(outcomes())


@pytest.fixture(params=NAMES)
def outcome(request) -> Outcome:
    return outcomes()[request.param]


@pytest.fixture(params=ATTACKS, ids=range(len(ATTACKS)))
def attacked(request) -> Outcome:
    return hostile(request.param)


@pytest.fixture
def make_hostile():
    return hostile


@pytest.fixture
def samples() -> dict[str, Outcome]:
    return outcomes()


if __name__ == "__main__":
    from rich.console import Console

    from reports import gate
    from reports.gate import terminal

    for name, one in {**outcomes(), "hostile": hostile(ATTACKS[5])}.items():
        gate.write(one, gate.FILES, Path(sys.argv[1]) / name)
        terminal.show(one, Console(width=80))
