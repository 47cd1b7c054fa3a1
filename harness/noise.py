"""How much two identical things differ on this host: an A/A comparison of fixed work.

Fresh processes do the same CPU-bound work again and again, in arms A and A drawn in random order;
as in a real run, each process times its own work, so that process start is not in it. The work is
a chain of hashes, done natively without Python's lock, so that threads really run side by side.
It stays in the processor's caches: an engine, which waits for memory most of the time, may see
more noise than this, hardly less.
"""

from __future__ import annotations

import math
import random
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

from harness import environment
from harness.errors import BakeoffError

SECONDS = 20.0
WORK_S = 0.3
LEAST_PAIRS = 3
MOST_PAIRS = 200
LEVEL = 0.95
_LIMIT_S = 60.0
_PILOT = 200_000

#: Arguments: iterations, threads. Prints the seconds until the last thread is done.
PROGRAM = """
import hashlib, sys, threading, time
rounds, threads = int(sys.argv[1]), int(sys.argv[2])
def work():
    hashlib.pbkdf2_hmac("sha256", b"bake", b"off", rounds)
others = [threading.Thread(target=work) for _ in range(threads - 1)]
start = time.perf_counter()
for other in others: other.start()
work()
for other in others: other.join()
print(time.perf_counter() - start)
"""

Measure = Callable[[int, int], float]
"""From iterations and threads to the seconds that a fresh process took."""


@dataclass(frozen=True)
class Floor:
    """An A/A of `threads` threads: per pair, the log of the second arm's time over the first's.

    `work_s` is the typical time of one process.
    """

    threads: int
    log_ratios: tuple[float, ...]
    work_s: float

    @property
    def typical(self) -> float:
        """Median absolute difference of two identical single trials, as a share of 1."""
        return math.expm1(statistics.median(abs(r) for r in self.log_ratios))

    @property
    def spread(self) -> float:
        """Standard deviation of a pair's log-ratio around its true mean, 0. The larger of the
        plain and the robust one: a rare disturbance is noise, too."""
        plain = math.sqrt(statistics.fmean(r * r for r in self.log_ratios))
        return max(plain, statistics.median(abs(r) for r in self.log_ratios) / 0.6745)

    def visible(self, trials: int) -> float:
        """The smallest difference that `trials` trials of each arm would tell from none: the half
        width of the 95 % interval of their ratio, as a share of 1. One trial has no interval of
        its own; there this A/A's spread stands in."""
        if trials < 2:
            return math.expm1(1.96 * self.spread)
        from scipy.special import stdtrit

        quantile = float(stdtrit(2 * trials - 2, (1 + LEVEL) / 2))
        return math.expm1(quantile * self.spread / math.sqrt(trials))


def measure(iterations: int, threads: int) -> float:
    """Seconds of the work in one fresh process. Raises BakeoffError if it does not run."""
    command = [sys.executable, "-I", "-c", PROGRAM, str(iterations), str(threads)]
    try:
        done = subprocess.run(
            command,
            env=environment.for_worker(threads),
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=True,
        )
        return float(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise BakeoffError(f"the noise floor can't be measured: {error}") from error


def floors(
    threads: Sequence[int],
    *,
    seconds: float = SECONDS,
    seed: int | None = None,
    run: Measure = measure,
    now: Callable[[], float] = monotonic,
) -> list[Floor]:
    """One A/A per number of threads, all interleaved, for about `seconds`. Raises BakeoffError."""
    end = now() + seconds
    order = random.Random(seed)
    iterations = max(1, round(_PILOT * WORK_S / max(run(_PILOT, 1), 1e-6)))
    times: dict[tuple[int, int], list[float]] = {(n, arm): [] for n in threads for arm in (0, 1)}
    pairs = 0
    while pairs < LEAST_PAIRS or (now() < end and pairs < MOST_PAIRS):
        for variant in order.sample(list(threads), len(threads)):
            for arm in order.sample((0, 1), 2):
                times[variant, arm].append(run(iterations, variant))
        pairs += 1
    return [_floor(n, times[n, 0], times[n, 1]) for n in threads]


def _floor(threads: int, first: list[float], second: list[float]) -> Floor:
    ratios = tuple(math.log(b / a) for a, b in zip(first, second, strict=True))
    return Floor(threads, ratios, statistics.median(first + second))
