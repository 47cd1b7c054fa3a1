"""Every lie is caught by name, in the record or in the audit, and shown in every report."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from results import store
from results.records import Record

BAKEOFF = Path(sys.executable).parent / "bakeoff"
DOCUMENT = Path(__file__).parents[2] / "docs" / "liars.md"

HEAD = """\
# The liars' gallery

Fake engines, each telling one lie that published benchmarks or engines have told. This table is made
by running all of them (`pytest tests/liars --update-golden`); `make test` fails if one gets through.

A lie is caught in the *record* when the trial is failed for it, and in the *audit* when a check of
that name fails. Either way no ratio is printed for the engine, and the reports name the lie.

| lie | caught in | by | shown as |
|---|---|---|---|
"""

LIARS = sorted(p.name for p in entry_points(group="bakeoff.backends") if p.name.startswith("liar-"))

# What must catch each lie; a check's name, or `record` for a failed trial.
MUST = {
    "liar-two-tokens-a-chunk": "text_matches_ids",
    "liar-empty-first-chunk": "forced_length",
    "liar-reuses-the-prefix": "prefix_not_reused",
    "liar-reuses-the-prefix-quietly": "prefix_not_reused",
    "liar-ignores-the-forced-length": "forced_length",
    "liar-stops-at-eos": "record",
    "liar-ignores-stops": "stop_ids_honoured",
    "liar-ignores-temperature": "temperature_honoured",
    "liar-samples-at-its-own-temperature": "temperature_honoured",
    "liar-ignores-top-k": "top_k_honoured",
    "liar-ignores-top-p": "top_p_honoured",
    "liar-ignores-min-p": "min_p_honoured",
    "liar-ignores-the-penalty": "repetition_penalty_honoured",
    "liar-ignores-the-seed": "seed_repeats",
    "liar-one-seed-for-all": "seed_matters",
    "liar-samples-when-told-greedy": "greedy_repeats",
    "liar-more-threads-than-told": "threads_as_told",
    "liar-doubles-bos": "prompt_evaluated",
    "liar-retokenises": "prompt_evaluated",
    "liar-loads-in-generate": "load_complete",
    "liar-hides-in-a-child": "work_in_process",
    "liar-someone-elses-version": "version_matches",
    "liar-ids-outside-the-vocabulary": "ids_in_vocabulary",
    "liar-text-of-other-ids": "text_matches_ids",
    "liar-one-burst": "one_token_at_a_time",
    "liar-never-reads-the-prompt": "prompt_matters",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> store.Run:
    folder = tmp_path_factory.mktemp("liars")
    (folder / "models").mkdir()
    (folder / "models" / "weights.bin").write_bytes(b"the weights")
    (folder / "models" / "tiny.yaml").write_text(
        "id: tiny\nname: Tiny\nlicense: apache-2.0\ncontext_length: 4096\ntokenizer: fake\n"
        "artifacts:\n  fake: {format: fake, precision: f32, source: {path: weights.bin}}\n"
    )
    (folder / "scenario.yaml").write_text(
        "name: liars\nmodels: [tiny]\n"
        f"backends: [fake, silent, {', '.join(LIARS)}]\n"
        "measures:\n  - generate: {prompt_tokens: 32, output_tokens: 12}\n"
        "plan: {trials: 1, warmup: 0, requests: 3, threads: 1}\n"
    )
    result = subprocess.run(
        [BAKEOFF, "run", "scenario.yaml", "--out", "out"],
        cwd=folder,
        env={**os.environ, "COLUMNS": "80", "BAKEOFF_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 3, result.stdout + result.stderr
    (folder / "out" / "stdout").write_text(result.stdout)
    return store.read(folder / "out")


def _of(run: store.Run, backend: str) -> list[Record]:
    return [record for record in run.records if record.case.backend == backend]


def _caught(run: store.Run, backend: str) -> dict[str, str]:
    """What was caught, by check name or `record`, with what was said."""
    caught = {}
    for record in _of(run, backend):
        caught |= {check.name: check.detail for check in record.checks if check.passed is False}
        if record.status == "failed":
            caught["record"] = str(record.reason)
    return caught


def test_there_are_at_least_fifteen_liars_and_each_has_an_expectation() -> None:
    assert set(LIARS) == set(MUST)
    assert len(LIARS) >= 15


@pytest.mark.parametrize("liar", MUST)
def test_the_lie_is_caught_by_name(run: store.Run, liar: str) -> None:
    assert MUST[liar] in _caught(run, liar)


@pytest.mark.parametrize("honest", ["fake", "silent"])
def test_an_honest_engine_is_not_accused(run: store.Run, honest: str) -> None:
    records = _of(run, honest)
    assert {record.status for record in records} == {"ok"}
    checks = [check for record in records for check in record.checks]
    assert len(checks) >= 18
    assert [check for check in checks if check.passed is False] == []


@pytest.mark.parametrize("name", ["report.html", "report.md", "stdout"])
def test_every_lie_is_named_in_every_report(run: store.Run, name: str) -> None:
    text = (run.path / name).read_text()
    for liar in LIARS:
        assert liar in text, liar


def test_memory_in_a_child_is_counted(run: store.Run) -> None:
    for record in _of(run, "liar-hides-in-a-child"):
        assert record.memory is not None
        assert max(point.rss for point in record.memory.points) > 80 * 2**20


def test_the_document_shows_what_was_seen(run: store.Run, request: pytest.FixtureRequest) -> None:
    rows = []
    for liar in MUST:
        caught = _caught(run, liar)
        name = MUST[liar]
        lie = liar.removeprefix("liar-").replace("-", " ")
        where = "record" if name == "record" else "audit"
        by = "a failed trial" if name == "record" else f"`{name}`"
        said = _without_numbers(caught[name])
        rows.append(f"| {lie} | {where} | {by} | {said} |")
    text = HEAD + "\n".join(rows) + "\n"
    if request.config.getoption("--update-golden"):
        DOCUMENT.write_text(text)
    assert DOCUMENT.read_text() == text, "if right: pytest tests/liars --update-golden"


def _without_numbers(detail: str) -> str:
    """Times and sizes differ from run to run; the sentence does not."""
    import re

    detail = re.sub(r"'[^']*'", "'…'", detail.replace("|", "/"))
    return re.sub(r"\d+(\.\d+)?", "N", detail)
