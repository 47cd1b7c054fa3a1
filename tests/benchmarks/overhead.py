"""What bakeoff costs an engine: `python tests/benchmarks/overhead.py [SCENARIO]`. Never fails by timing.

A whole session runs as `bakeoff run` does it. Beside every trial, before or after it as a seeded
coin says, a bare loop on the engine's own API (`bare/`) runs in a fresh process of its own, with
the same interpreter, environment, artifact, threads and token ids. Each such pair gives one ratio.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness import environment, plan, registry, scenario, session
from harness.plan import Overrides, Plan
from harness.preparation import Assets, prompt_name
from results import metrics, store
from results.records import Record, Sample, Trial
from results.statistics import estimate

HERE = Path(__file__).resolve().parent
TARGETS = {"llamacpp": 0.97}
OTHERS = 0.98
LIMIT_S = 300.0

#: By name: the value of one request, and +1 where more is better, -1 where less is.
NUMBERS: dict[str, tuple[Callable[[Sample], float | None], int]] = {
    "decode tok/s": (metrics.decode_tok_s, 1),
    "TTFT ms": (metrics.ttft_ms, -1),
}


@dataclass(frozen=True)
class Pair:
    """One trial of bakeoff and one bare loop beside it: medians over requests, by number."""

    bakeoff: dict[str, float]
    bare: dict[str, float]
    same_ids: bool

    def log_ratio(self, number: str) -> float:
        """Below 0 where bakeoff is the slower one."""
        return NUMBERS[number][1] * math.log(self.bakeoff[number] / self.bare[number])


@dataclass
class Pairing:
    """A session's progress that runs the bare loop before or after each trial."""

    planned: Plan
    assets: Assets
    folder: Path
    order: random.Random
    pairs: dict[str, list[Pair]] = field(default_factory=dict)
    foreign: list[float] = field(default_factory=list)
    _first: list[Sample] | None = None

    def started(self, trial: Trial, done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done} of {total} pairs", end="", file=sys.stderr, flush=True)
        self._trial = trial
        self._first = self._bare(trial) if self.order.random() < 0.5 else None

    def finished(self, record: Record) -> None:
        if record.status != "ok":
            print(f"\n{record.trial}: {record.status}: {record.reason}", file=sys.stderr)
            return
        bare = self._first or self._bare(self._trial)
        others = record.conditions.get("disturbance", {}).get("foreign_cpu_s")
        if others is not None and record.wall_s:
            self.foreign.append(others / record.wall_s)
        ours = [s.token_ids for s in record.samples]
        key = f"{record.case.backend} {record.case.artifact}"
        self.pairs.setdefault(key, []).append(
            Pair(_medians(record.samples), _medians(bare), ours == [s.token_ids for s in bare])
        )

    def _bare(self, trial: Trial) -> list[Sample]:
        case = trial.case
        run = store.read(self.folder)
        known = {prompt.digest: prompt for prompt in run.prompts}
        names = run.info.plan["prompts"][case.model][prompt_name(case)]
        settings = self.planned.scenario.plan
        job = {
            "path": str(self.assets[case.model, case.artifact].artifact.path),
            "context": case.parameters["context"],
            "threads": case.parameters["threads"],
            "output_tokens": case.parameters["output_tokens"],
            "prompts": [known[name].ids for name in names[: settings.warmup + settings.requests]],
            **case.settings["options"],
        }
        script = HERE / "bare" / f"{case.backend}_loop.py"
        done = subprocess.run(
            [sys.executable, str(script)],
            input=json.dumps(job) + "\n",
            env=environment.for_worker(self.planned.threads),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{script} failed:\n{done.stderr[-2000:]}")
        return [
            _sample(i, i < settings.warmup, data) for i, data in enumerate(json.loads(done.stdout))
        ]


def compare(path: Path, folder: Path, limit_s: float | None) -> tuple[Plan, Pairing]:
    """Run the scenario with a bare loop beside each trial; `folder` becomes its run folder."""
    planned = plan.make(scenario.load(path, lambda: list(registry.adapters())), Overrides())
    planned, assets = session.create(planned, folder, ("bench",), lambda what, share: None)
    if limit_s is not None:
        settings = planned.scenario.plan.model_copy(update={"run_time_limit_s": limit_s})
        limited = planned.scenario.model_copy(update={"plan": settings})
        planned = replace(planned, scenario=limited)
    pairing = Pairing(planned, assets, folder, random.Random(planned.scenario.plan.seed))
    session.execute(folder, planned, assets, pairing)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return planned, pairing


def show(planned: Plan, pairing: Pairing) -> None:
    settings = planned.scenario.plan
    print(
        "bakeoff against the barest loop on the engine's own API. Ratio 1: bakeoff costs nothing;"
    )
    print("below 1: it is that much slower (for TTFT the ratio is bare / bakeoff).")
    print(f"Fresh processes, {settings.requests} requests each, {planned.threads} threads.")
    if pairing.foreign:
        print(
            f"While bakeoff's trials ran, other programs used {max(pairing.foreign):.0%} of one CPU "
            f"at most, {statistics.median(pairing.foreign):.0%} in the median trial."
        )
    print()
    head = ("", "number", "pairs", "bakeoff", "bare", "ratio", "95 % interval", "median", "target")
    form = "{:<20} {:<12} {:>5} {:>8} {:>8} {:>6} {:>13} {:>6} {:>6}"
    print(form.format(*head))
    for key, found in sorted(pairing.pairs.items()):
        target = TARGETS.get(key.partition(" ")[0], OTHERS)
        for number in NUMBERS:
            ratios = [math.exp(pair.log_ratio(number)) for pair in found]
            mean = estimate(ratios)
            interval = "–" if mean.low is None else f"{mean.low:.3f}–{mean.high:.3f}"
            print(
                form.format(
                    key if number == next(iter(NUMBERS)) else "",
                    number,
                    len(found),
                    f"{statistics.median(p.bakeoff[number] for p in found):.2f}",
                    f"{statistics.median(p.bare[number] for p in found):.2f}",
                    f"{mean.value:.3f}",
                    interval,
                    f"{statistics.median(ratios):.3f}",
                    f"≥ {target}",
                )
            )
        other = sum(not pair.same_ids for pair in found)
        if other:
            print(f"  {other} of {len(found)} pairs gave other token ids: not the same work")


def _medians(samples: Iterable[Sample]) -> dict[str, float]:
    timed = [s for s in samples if not s.warmup]
    return {
        name: statistics.median(v for s in timed if (v := of(s)) is not None)
        for name, (of, _) in NUMBERS.items()
    }


def _sample(index: int, warmup: bool, data: dict[str, Any]) -> Sample:
    stamps = tuple(data["token_ns"])
    return Sample(
        index, warmup, "", 0, data["submitted_ns"], stamps, tuple(data["token_ids"]), stamps[-1]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("scenario", type=Path, nargs="?", default=HERE / "overhead.yaml")
    parser.add_argument("--out", type=Path, help="keep the run folder here")
    parser.add_argument("--limit-s", type=float, help="start no further pair after this long")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bakeoff-bench-") as temporary:
        planned, pairing = compare(
            asked.scenario, asked.out or Path(temporary) / "run", asked.limit_s
        )
    show(planned, pairing)


if __name__ == "__main__":
    main()
