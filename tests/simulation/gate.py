"""The gate's error rates, measured: `python tests/simulation/gate.py --gates 1000`.

Simulates gates on a noisy machine (`machine.py`), has the shipped code decide each, look by look, and
other tools' rules (`rivals.py`) judge the same numbers. Prints Markdown. Every figure has its
Monte-Carlo standard error. The same seed gives the same figures, on however many processes.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat

import numpy as np
from rivals import RIVALS
from trials import RULES, SCENARIOS, coverage, gates

CHUNK = 25
INTERVAL_GATES = 0.2
"""The share of `--gates` for which intervals are counted: each gives 24 of them a look."""


def main() -> None:
    asked = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    asked.add_argument("--gates", type=int, default=500, help="per scenario")
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--processes", type=int, default=2)
    options = asked.parse_args()
    began = time.monotonic()
    chunks = max(1, round(options.gates / CHUNK))
    with ProcessPoolExecutor(options.processes) as pool:
        pending = [
            pool.map(gates, repeat(scenario), repeat(CHUNK), _seeds(options.seed, number, chunks))
            for number, scenario in enumerate(SCENARIOS)
        ]
        few = max(1, round(chunks * INTERVAL_GATES))
        covered = pool.map(coverage, repeat(CHUNK), _seeds(options.seed, len(SCENARIOS), few))
        counts = {
            scenario.name: sum(parts, Counter())
            for scenario, parts in zip(SCENARIOS, pending, strict=True)
        }
        intervals = list(covered)
    print(f"{chunks * CHUNK} gates of 30 metrics per scenario, seed {options.seed}\n")
    print(ours(counts))
    print(theirs(counts))
    print(covering(intervals))
    print(f"{time.monotonic() - began:.0f} s")


def ours(counts: dict[str, Counter[str]]) -> str:
    if_worse = ["found", "passed wrongly", "wrong metric"]
    always = ["red", "yellow", "green", *(f"stopped at {look}" for look in RULES.looks.blocks)]
    rows = [["candidate", *if_worse, *always]]
    for name, seen in counts.items():
        identical = name.startswith("identical")
        true = ["–" if identical else share(seen[what], seen["gates"]) for what in if_worse]
        rows.append([name, *true, *(share(seen[what], seen["gates"]) for what in always)])
    return table(rows)


def theirs(counts: dict[str, Counter[str]]) -> str:
    same, ten, five = (counts[name] for name in ("identical", "+10 %", "+5 %"))
    rows = [["rule", "base from", "identical: red", "identical: a metric", "+10 % found", "+5 % found",
             "+10 %: wrong metric"]]  # fmt: skip
    rows.append(
        ["**bakeoff**", "same session", share(same["red"], same["gates"]),
         "", share(ten["found"], ten["gates"]), share(five["found"], five["gates"]),
         share(ten["wrong metric"], ten["gates"])]
    )  # fmt: skip
    for rival in RIVALS:
        rows.append(
            [rival.name, "other session" if rival.stored else "same session",
             share(same[f"{rival.name}: red"], same["gates"]),
             f"{100 * same[f'{rival.name}: flagged'] / same['gates'] / 30:.1f} %",
             share(ten[f"{rival.name}: found"], ten["gates"]),
             share(five[f"{rival.name}: found"], five["gates"]),
             share(ten[f"{rival.name}: wrong metric"], ten["gates"])]
        )  # fmt: skip
    return table(rows)


def covering(parts: list[dict[int, list[tuple[float, float]]]]) -> str:
    rows = [["blocks", "90 % intervals that hold the true ratio", "median width"]]
    for look in RULES.looks.blocks:
        hits, widths = np.array([pair for part in parts for pair in part[look]]).T
        error = hits.std(ddof=1) / math.sqrt(len(hits))
        rows.append(
            [str(look), f"{100 * hits.mean():.1f} % ± {100 * error:.1f}",
             f"{100 * math.expm1(np.median(widths)):.1f} %"]
        )  # fmt: skip
    return table(rows)


def share(hits: int, count: int) -> str:
    """A rate with its standard error; half a hit more or less, so that none of none is not certain."""
    near = (hits + 0.5) / (count + 1)
    return f"{100 * hits / count:.1f} % ± {100 * math.sqrt(near * (1 - near) / count):.1f}"


def table(rows: list[list[str]]) -> str:
    head, *rest = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|---" * len(rows[0]) + "|", *rest, ""])


def _seeds(seed: int, stream: int, count: int) -> list[int]:
    states = np.random.SeedSequence([seed, stream]).generate_state(count, np.uint64)
    return [int(state) for state in states]


if __name__ == "__main__":
    main()
