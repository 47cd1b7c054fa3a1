"""The gate for real: `python tests/benchmarks/gate.py [--gates 10]`, tens of minutes, on a quiet machine.

llama.cpp on SmolLM2 against itself, and against itself slowed by a known share. Prints how often each
gate was red, over what, and after how many blocks. Never fails: it measures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

BAKEOFF = Path(sys.executable).parent / "bakeoff"

SCENARIO = """\
name: {name}
models: [smollm2-135m-instruct]
backends:
  - slowed-llamacpp: {{artifacts: [gguf-q4_1]}}
measures:
{load}  - generate: {{prompt_tokens: 8, output_tokens: 12, sampling: greedy}}
plan: {{warmup: 1, requests: 4, seed: {seed}, threads: 1, cpus: [0], audit: false}}
"""
#: The default, but that no block is run again: others may work on the CPUs that are not measured.
POLICY = "redo: 0\n"
LOAD = "  - load: {page_cache: [warm]}\n"


@dataclass(frozen=True)
class Experiment:
    name: str
    candidate: str
    load: bool
    share: float
    """How many gates of it to run, of those asked for."""


EXPERIMENTS = (
    Experiment("A/A", "options.delay=0", False, 1.0),
    Experiment("10 % slower tokens", "options.delay=0.1", False, 1.0),
    Experiment("1 % slower tokens", "options.delay=0.01", False, 1.0),
    Experiment("30 % slower load", "options.load_delay=0.3", True, 0.3),
)


@dataclass(frozen=True)
class Seen:
    colour: str
    red: tuple[str, ...]
    blocks: int
    minutes: float
    sentence: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gates", type=int, default=10)
    parser.add_argument("--only", default="")
    parser.add_argument("--limit-s", type=float, default=float("inf"))
    told = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bakeoff-gate-") as folder:
        for experiment in EXPERIMENTS:
            if told.only and told.only not in experiment.name:
                continue
            found = []
            for number in range(max(1, round(told.gates * experiment.share))):
                if time.monotonic() - began > told.limit_s:
                    break
                found.append(_gate(experiment, number, Path(folder)))
                print(f"  {experiment.name} {number}: {found[-1]}", flush=True)
            if found:
                _tell(experiment, found)


def _gate(experiment: Experiment, number: int, folder: Path) -> Seen:
    name = f"{experiment.name.replace(' ', '-').replace('/', '').replace('%', 'pct')}-{number}"
    scenario, policy, run = (folder / f"{name}{end}" for end in (".yaml", ".policy.yaml", ""))
    load = LOAD if experiment.load else ""
    scenario.write_text(SCENARIO.format(name="gate", load=load, seed=number))
    policy.write_text(POLICY)
    began = time.monotonic()
    subprocess.run(
        [BAKEOFF, "gate", scenario, "--candidate", experiment.candidate, "--policy", policy,
         "--out", run],
        capture_output=True, check=False,
    )  # fmt: skip
    data = json.loads((run / "gate.json").read_text())
    red = tuple(sorted(row["metric"] for row in data["rows"] if row["verdict"] == "regressed"))
    minutes = (time.monotonic() - began) / 60
    return Seen(data["colour"], red, data["blocks"], minutes, data["sentence"])


def _tell(experiment: Experiment, found: list[Seen]) -> None:
    colours = Counter(one.colour for one in found)
    metrics = Counter(metric for one in found for metric in one.red)
    said = ", ".join(f"{count} {colour}" for colour, count in colours.most_common())
    blocks = statistics.mean(one.blocks for one in found)
    minutes = statistics.mean(one.minutes for one in found)
    print(
        f"{experiment.name}: {len(found)} gates: {said}; red metrics {dict(metrics)}; "
        f"{blocks:.0f} blocks and {minutes:.1f} min on average",
        flush=True,
    )


if __name__ == "__main__":
    main()
