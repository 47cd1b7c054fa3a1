"""The doctor, on fake /proc and /sys trees; its noise floor, on made-up times; and once for real."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from harness import doctor, noise
from harness.doctor_activity import Between
from harness.doctor_cli import doctor_command
from harness.doctor_finding import NUMBERS, Finding
from harness.errors import BakeoffError
from harness.host_tree import HostTree, cpu_list

CPU = "sys/devices/system/cpu"
QUIET = {
    f"{CPU}/online": "0-1",
    f"{CPU}/cpu0/cpufreq/scaling_governor": "performance",
    f"{CPU}/cpu1/cpufreq/scaling_governor": "performance",
    f"{CPU}/cpufreq/boost": "0",
    f"{CPU}/cpu0/topology/thread_siblings_list": "0",
    f"{CPU}/cpu1/topology/thread_siblings_list": "1",
    f"{CPU}/cpu0/cpufreq/cpuinfo_max_freq": "5000000",
    f"{CPU}/cpu1/cpufreq/cpuinfo_max_freq": "4900000",
    f"{CPU}/cpu0/thermal_throttle/core_throttle_count": "0",
    "sys/class/thermal/thermal_zone0/temp": "41000",
    "sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc",
    "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never",
    "proc/self/status": "Name:\tpython\nCpus_allowed_list:\t0-1",
    "proc/self/cgroup": "0::/",
    "proc/cpuinfo": "processor : 0\nflags : fpu avx2\n\nprocessor : 1\nflags : fpu avx2",
    "proc/meminfo": "MemTotal: 16777216 kB\nMemAvailable: 12582912 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB",
    "proc/loadavg": "0.04 0.10 0.20 1/200 4242",
    "proc/stat": "cpu  100 0 50 800 0 0 0 0 0 0\ncpu0 1 1 1 1 1 1 1 1",
    "proc/pressure/cpu": "some avg10=0.10 avg60=0.00 avg300=0.00 total=1",
    "proc/pressure/memory": "some avg10=0.00 avg60=0.00 avg300=0.00 total=1",
    "proc/pressure/io": "some avg10=0.00 avg60=0.00 avg300=0.00 total=1",
}
Build = Callable[[Mapping[str, str]], HostTree]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    def make(files: Mapping[str, str]) -> HostTree:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return HostTree(tmp_path)

    return make


def found(tree: HostTree, topic: str, environment: Mapping[str, str] | None = None) -> Finding:
    activity = tree.activity()
    between = Between(activity, activity) if activity else None
    all_of_them = doctor.examine(tree, environment or {}, between)
    return next(f for f in all_of_them if f.topic == topic)


def test_a_quiet_host_has_nothing_to_mend(build: Build) -> None:
    tree = build(QUIET)
    before = tree.activity()
    after = build({"proc/stat": "cpu  100 0 50 1000 0 0 0 0 0 0"}).activity()
    assert before and after
    findings = doctor.examine(tree, {}, Between(before, after))
    assert [(f.topic, f.read) for f in findings if f.grade != "ok"] == []
    assert len({f.topic for f in findings}) == len(findings) == 17


def test_an_empty_tree_is_unreadable_not_an_error(build: Build) -> None:
    findings = doctor.examine(build({}), {}, None)
    assert {f.topic for f in findings if f.grade != "can't read"} == {"power", "variables"}
    assert all(f.read and not f.blurs for f in findings)


@pytest.mark.parametrize("garbage", ["", "x", "-1", "cpu a b", ":::", "9" * 400, "\x00\xff"])
def test_garbage_in_every_file_is_no_error(build: Build, garbage: str) -> None:
    tree = build(dict.fromkeys([*QUIET, "proc/77/stat", "sys/fs/cgroup/cpu.max"], garbage))
    assert len(doctor.examine(tree, {}, None)) == 17
    tree.activity()


@pytest.mark.parametrize(
    ("topic", "change", "read", "blurs", "command"),
    [
        ("governor", {f"{CPU}/cpu1/cpufreq/scaling_governor": "powersave"}, "powersave",
         "load TTFT decode", "sudo cpupower frequency-set -g performance"),
        ("turbo", {f"{CPU}/cpufreq/boost": "1"}, "on", "TTFT decode",
         f"echo 0 | sudo tee /{CPU}/cpufreq/boost"),
        ("turbo", {f"{CPU}/intel_pstate/no_turbo": "0"}, "on", "TTFT decode",
         f"echo 1 | sudo tee /{CPU}/intel_pstate/no_turbo"),
        ("SMT", {f"{CPU}/cpu0/topology/thread_siblings_list": "0-1",
                 f"{CPU}/cpu1/topology/thread_siblings_list": "0-1"},
         "2 usable CPUs are 1 core", "TTFT decode", "taskset -c 0 bakeoff run …"),
        ("core kinds", {f"{CPU}/cpu1/cpufreq/cpuinfo_max_freq": "3800000"},
         "1 fast and 1 slow", "TTFT decode", "taskset -c 0 bakeoff run …"),
        ("core kinds", {f"{CPU}/cpu0/cpu_capacity": "446", f"{CPU}/cpu1/cpu_capacity": "1024"},
         "1 fast and 1 slow", "TTFT decode", "taskset -c 1 bakeoff run …"),
        ("CPU limits", {"sys/fs/cgroup/cpu.max": "150000 100000",
                        "sys/fs/cgroup/cpu.stat": "nr_periods 9\nnr_throttled 7"},
         "the time of 1.5, held back 7 times", "load TTFT decode", None),
        ("virtual", {"proc/cpuinfo": "flags : fpu hypervisor"}, "virtual machine",
         "load TTFT decode", None),
        ("clock", {"sys/devices/system/clocksource/clocksource0/current_clocksource": "hpet"},
         "hpet", "decode", None),
        ("huge pages", {"sys/kernel/mm/transparent_hugepage/enabled": "[always] madvise never"},
         "always", "load memory",
         "echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled"),
        ("power", {"sys/class/power_supply/BAT0/status": "Discharging",
                   "sys/class/power_supply/ADP1/online": "0"}, "on battery", "load TTFT decode", None),
        ("heat", {f"{CPU}/cpu0/thermal_throttle/core_throttle_count": "12"},
         "41 °C, throttled 12 times", "TTFT decode", None),
        ("heat", {"sys/class/thermal/thermal_zone0/temp": "92000"}, "92 °C", "TTFT decode", None),
        ("memory", {"proc/meminfo": "MemTotal: 16777216 kB\nMemAvailable: 1048576 kB"},
         "1.0 of 16.0 GiB are free", "load memory", None),
        ("memory", {"sys/fs/cgroup/memory.max": "2147483648",
                    "sys/fs/cgroup/memory.current": "1073741824"},
         "1.0 of 2.0 GiB that this container", "load memory", None),
        ("swap", {"proc/meminfo": "SwapTotal: 2048000 kB\nSwapFree: 1024000 kB"},
         "1000 MiB in use", "load TTFT decode memory", "sudo swapoff -a && sudo swapon -a"),
        ("load average", {"proc/loadavg": "1.50 0 0 1/2 3"}, "1.50 over the last minute",
         "load TTFT decode", None),
        ("steal", {"proc/stat": "cpu  100 0 50 800 0 0 0 50 0 0"}, "5.00% of CPU time since boot",
         "load TTFT decode", None),
        ("pressure", {"proc/pressure/io": "some avg10=12.00 avg60=0 avg300=0 total=1"},
         "12% for io", "load", None),
        ("pressure", {"proc/pressure/memory": "some avg10=2.00 avg60=0 avg300=0 total=1"},
         "2% for memory", "load TTFT decode memory", None),
    ],
)  # fmt: skip
def test_what_is_wrong_is_read_graded_and_comes_with_advice(
    build: Build, topic: str, change: dict[str, str], read: str, blurs: str, command: str | None
) -> None:
    build(QUIET)
    finding = found(build(change), topic)
    assert finding.grade == "blurs" and read in finding.read, finding
    assert " ".join(finding.blurs) == blurs and set(finding.blurs) <= set(NUMBERS)
    assert finding.advice and finding.command == command
    assert len(f"  $ {finding.command}") <= 80


def test_limits_of_the_groups_above_hold_too(build: Build) -> None:
    group = "sys/fs/cgroup"
    tree = build({
        "proc/self/cgroup": "0::/a/b",
        f"{group}/a/cpu.max": "50000 100000", f"{group}/a/memory.max": "max",
        f"{group}/a/b/cpu.max": "max 100000", f"{group}/a/b/memory.max": "4096",
        f"{group}/a/b/memory.current": "1024",
    })  # fmt: skip
    limits = tree.limits()
    assert (limits.cpus, limits.memory_bytes, limits.memory_used_bytes) == (0.5, 4096, 1024)


def test_control_groups_of_version_1(build: Build) -> None:
    group = "sys/fs/cgroup"
    tree = build({
        "proc/self/cgroup": "5:memory:/docker/1\n2:cpu,cpuacct:/docker/1\n0::/",
        f"{group}/cpu/cpu.cfs_quota_us": "-1", f"{group}/cpu/cpu.cfs_period_us": "100000",
        f"{group}/cpu/docker/1/cpu.cfs_quota_us": "300000",
        f"{group}/cpu/docker/1/cpu.cfs_period_us": "100000",
        f"{group}/cpu/docker/1/cpu.stat": "nr_throttled 3",
        f"{group}/memory/memory.limit_in_bytes": "9223372036854771712",
    })  # fmt: skip
    limits = tree.limits()
    assert (limits.cpus, limits.throttled, limits.memory_bytes) == (3.0, 3, None)


def test_other_programs_are_named_and_ours_are_not(build: Build) -> None:
    def stat(name: str, ticks: int) -> str:
        return f"7 ({name}) S 1 1 1 0 -1 0 0 0 0 0 {ticks} {ticks} 0 0 20 0 1 0 1"

    tree = build({**QUIET, "proc/5/stat": stat("py", 10), "proc/6/stat": stat("a) b (\x1b[1m", 0)})
    before = tree.activity()
    build({
        "proc/stat": "cpu  200 0 50 900 0 0 0 0 0 0",  # 200 ticks of two CPUs, 100 of them busy
        "proc/5/stat": stat("py", 30), "proc/6/stat": stat("a) b (\x1b[1m", 15),
    })  # fmt: skip
    after = tree.activity()
    assert before and after
    finding = doctor.foreign(tree, Between(before, after, own=frozenset({5})))
    assert finding.grade == "blurs"
    assert finding.read == "use 60% of one CPU: a) b (?[1m 30%, not visible from here 30%"


def test_variables_are_named_without_their_values(build: Build) -> None:
    environment = {"OMP_NUM_THREADS": "secret", "LD_LIBRARY_PATH": "/secret", "EDITOR": "vi"}
    finding = found(build({}), "variables", environment)
    assert "OMP_NUM_THREADS: set here, but engines get bakeoff's own" in finding.read
    assert "LD_LIBRARY_PATH: handed on" in finding.read
    assert "secret" not in finding.read and "EDITOR" not in finding.read


@pytest.mark.parametrize(
    ("text", "cpus"), [("0-2,5", {0, 1, 2, 5}), ("3", {3}), ("", set()), (None, set())]
)
def test_lists_of_cpus(text: str | None, cpus: set[int]) -> None:
    assert cpu_list(text) == cpus


def test_the_arms_are_interleaved_in_random_order_and_alike() -> None:
    calls: list[tuple[int, int]] = []
    clock = iter(range(1000))

    def run(iterations: int, threads: int) -> float:
        calls.append((iterations, threads))
        return 0.15

    result = noise.floors([1, 4], seconds=20, seed=1, run=run, now=lambda: next(clock))
    work = calls[1:]
    assert {iterations for iterations, _ in work} == {calls[0][0] * 2}
    order = [threads for _, threads in work]
    assert {tuple(order[i : i + 4]) for i in range(0, len(order), 4)} == {
        (1, 1, 4, 4),
        (4, 4, 1, 1),
    }
    assert [floor.threads for floor in result] == [1, 4]
    assert {len(floor.log_ratios) for floor in result} == {len(work) // 4}
    assert [floor.typical for floor in result] == [0.0, 0.0] and result[0].visible(3) == 0.0


def test_the_floor_promises_what_a_95_percent_interval_keeps() -> None:
    draw = random.Random(3)
    sigma, trials = 0.02, 5
    ratios = [draw.gauss(0, sigma) - draw.gauss(0, sigma) for _ in range(4000)]
    floor = noise.Floor(1, tuple(ratios), 0.3)
    assert floor.spread == pytest.approx(sigma * math.sqrt(2), rel=0.05)
    single, several = floor.visible(1), floor.visible(trials)
    assert sum(abs(math.expm1(abs(r))) > single for r in ratios) / 4000 < 0.07
    assert floor.visible(3) > floor.visible(5) > floor.visible(30)
    false = 0
    for _ in range(2000):
        means = [sum(draw.gauss(0, sigma) for _ in range(trials)) / trials for _ in range(2)]
        false += math.expm1(abs(means[0] - means[1])) > several
    assert false / 2000 < 0.05


def test_one_disturbed_pair_widens_the_floor() -> None:
    quiet = noise.Floor(1, (0.001,) * 9, 0.3)
    disturbed = noise.Floor(1, (0.001,) * 8 + (0.5,), 0.3)
    assert disturbed.visible(3) > 10 * quiet.visible(3)


def test_the_work_runs_in_fresh_processes() -> None:
    assert 0 < noise.measure(1000, 2) < 30


def test_work_that_does_not_run_is_an_error_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "PROGRAM", "raise SystemExit(3)")
    with pytest.raises(BakeoffError, match="noise floor can't be measured"):
        noise.measure(1, 1)


def test_the_command_on_this_very_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.doctor_cli.WATCH_S", 0.05)
    monkeypatch.setattr(noise, "SECONDS", 0.0)
    monkeypatch.setattr(noise, "WORK_S", 0.001)
    app = typer.Typer()
    app.command()(doctor_command)
    shown = CliRunner().invoke(app, [], env={**os.environ, "COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    assert max(map(len, shown.output.splitlines())) <= 80
    assert "two identical arms differed by" in " ".join(shown.output.split())
    for number in NUMBERS:
        assert f"\n{number} " in shown.output
    quick = CliRunner().invoke(app, ["--no-noise"])
    assert quick.exit_code == 0 and "identical arms" not in quick.output
