"""Broken scenario files: exit code 2, one clear message with file and line, nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

GOOD = """\
name: good
models: [tiny]
backends: [fake]
measures:
  - generate: {prompt_tokens: 8, output_tokens: 4}
plan: {trials: 1}
"""

BOMB = "a: &a [x, x]\n" + "".join(
    f"{new}: &{new} [*{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)

BROKEN = {
    "unknown field": (
        GOOD + "colour: red\n",
        7,
        ["colour", "unknown field", "expected one of", "plan"],
    ),
    "misspelt field": (
        GOOD.replace("trials", "trails"),
        6,
        ["plan.trails", "did you mean 'trials'?"],
    ),
    "wrong type": (
        GOOD.replace("trials: 1", "trials: many"),
        6,
        ["plan.trials", "integer", "'many'"],
    ),
    "duplicate key": (GOOD + "name: again\n", 7, ["duplicate key 'name'", "first set in line 1"]),
    "tab indentation": (
        GOOD.replace("  - generate", "\t- generate"),
        5,
        ["tab", "expected spaces"],
    ),
    "unknown backend": (
        GOOD.replace("[fake]", "[lamacpp]"),
        3,
        ["unknown backend 'lamacpp'", "did you mean 'llamacpp'?", "bakeoff backends"],
    ),
    "unknown model": (
        GOOD.replace("[tiny]", "[tinny]"),
        2,
        ["unknown model", "did you mean 'tiny'?"],
    ),
    "negative trials": (
        GOOD.replace("trials: 1", "trials: -1"),
        6,
        ["plan.trials", "greater than", "-1"],
    ),
    "empty": ("", 1, ["is empty, expected a mapping"]),
    "binary": (b"\x00\x01\x02\xff\xfe\x80garbage\x00", 1, ["is not UTF-8 text"]),
    "control characters": ("name: a\x07b\n", 1, ["is not text"]),
    "YAML bomb": (BOMB, 2, ["alias"]),
    "Python object": (
        "name: !!python/object/apply:os.system ['touch pwned']\n" + GOOD[11:],
        1,
        ["tag", "not allowed"],
    ),
    "two measures in one": (
        GOOD.replace("- generate", "- load: {}\n    generate"),
        5,
        ["measures.0", "exactly one measure per entry"],
    ),
    "unknown artifact": (
        GOOD.replace("[fake]", "[fake: {artifacts: [fake, gguf]}]"),
        3,
        ["tiny has no artifact 'gguf'"],
    ),
    "two arms of one name": (
        GOOD.replace("[fake]", "\n  - fake: {name: plain}\n  - fake: {name: plain, mmap: true}"),
        5,
        ["backends.1.fake.name", "two arms of fake are named 'plain'", "rename one"],
    ),
    "unknown metric": (
        GOOD + "budgets: {ttft: {max: 1}}\n",
        7,
        ["unknown metric", "did you mean 'ttft_ms'?"],
    ),
    "prompt beyond the context": (
        GOOD.replace("prompt_tokens: 8", "prompt_tokens: 5000"),
        5,
        ["5000 + 4 = 5004 tokens", "the context of tiny holds 4096"],
    ),
    "filters without temperature": (
        GOOD.replace("output_tokens: 4", "output_tokens: 4, sampling: {top_k: 5}"),
        5,
        ["temperature"],
    ),
    "context beyond the model's": (
        GOOD.replace("trials: 1", "trials: 1, context: 8192"),
        6,
        ["plan.context", "8192", "the context of tiny holds 4096"],
    ),
    "reuse without a first request": (
        GOOD.replace("output_tokens: 4", "output_tokens: 4, reuse_prefix: true").replace(
            "trials: 1", "trials: 1, warmup: 0"
        ),
        1,
        ["reuse_prefix needs plan.warmup of at least 1"],
    ),
    "deeply nested": ("name: " + "[" * 3000 + "]" * 3000 + "\n", 1, ["nested deeper"]),
}


#: Refused by the command as a user starts it; all others by the same function in this process.
BY_COMMAND = ("unknown field", "YAML bomb")


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_scenario_is_refused_with_file_and_line(workplace, fault: str) -> None:
    text, line, words = BROKEN[fault]
    path = workplace.write(text)
    before = sorted(workplace.folder.rglob("*"))
    result = (workplace.bakeoff if fault in BY_COMMAND else workplace.here)("run", path)
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    message = result.stderr.replace("\n", " ")
    assert f"{path}:{line}: " in message
    for word in words:
        assert word in message
    assert sorted(workplace.folder.rglob("*")) == before


def test_a_missing_scenario_names_the_nearest_file(workplace) -> None:
    workplace.write(GOOD, "scenario.yaml")
    result = workplace.here("run", workplace.folder / "scenari.yaml")
    assert result.returncode == 2
    assert "scenari.yaml: no such file" in result.stderr
    assert "did you mean" in result.stderr
    assert not (workplace.folder / "runs").exists()


def test_all_faults_are_told_at_once(workplace) -> None:
    path = workplace.write(GOOD.replace("trials: 1", "trials: -1, seed: x") + "colour: red\n")
    result = workplace.here("plan", path)
    assert result.returncode == 2
    said = result.stderr.removeprefix("error: ").splitlines()
    assert sum(line.startswith(f"{path}:") for line in said) == 3


def test_the_good_scenario_is_good(workplace) -> None:
    """So that the broken ones are refused for their fault alone."""
    result = workplace.bakeoff("plan", workplace.write(GOOD))
    assert result.returncode == 0, result.stderr
    assert "generate 8→4 greedy" in result.stdout
    assert not (workplace.folder / "runs").exists()


def test_more_threads_than_cpus_are_warned_about_before_anything_runs(workplace) -> None:
    path = workplace.write(GOOD.replace("trials: 1", "trials: 1, threads: 999"))
    result = workplace.here("plan", path)
    assert result.returncode == 0
    assert "warning: 999 threads on" in result.stdout


def test_an_unreadable_run_folder_is_named(workplace) -> None:
    result = workplace.here("report", Path("nowhere"))
    assert result.returncode == 2
    assert "nowhere is not a run folder" in result.stderr
