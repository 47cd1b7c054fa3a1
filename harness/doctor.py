"""What on this host will blur which number, and what to do about it.

Each check is a pure function of a `HostTree` (and what else it is given): it reads, grades, and
names the numbers that suffer. The thresholds are rules of thumb, meant to find what moves a timing
by about a percent; what the host's noise really is, `noise` measures.

The ideas are those of pyperf's `system show`; what it can't see in a virtual machine or a
container, and what matters for memory, is added.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from harness.doctor_activity import Between, foreign, load_average, pressure, steal
from harness.doctor_finding import (
    DECODE,
    LOAD,
    MEMORY,
    SPEED,
    TIMES,
    Finding,
    counted,
    unread,
)
from harness.environment import PASSED_ON, fixed
from harness.host_tree import HostTree

HOT_C = 85
LEAST_MEMORY_BYTES = 2 * 2**30
LEAST_MEMORY_SHARE = 0.2
FAST_CLOCKS = {"tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"}
READ_BY_ENGINES = (
    "OMP_", "MKL_", "KMP_", "GOMP_", "OPENBLAS_", "BLIS_", "VECLIB_", "NUMEXPR_", "RAYON_",
    "ORT_", "ORTGENAI_", "ONNX", "GGML_", "LLAMA_", "ATEN_", "TORCH", "PYTORCH_", "DNNL_",
    "ONEDNN_", "TOKENIZERS_", "CUDA_", "MALLOC_", "LD_PRELOAD", "LD_LIBRARY_PATH",
)  # fmt: skip


Check = Callable[[HostTree], Finding]


def examine(
    tree: HostTree, environment: Mapping[str, str], between: Between | None
) -> list[Finding]:
    """Look at everything, from what is steady to what is passing. Never raises."""
    checks: tuple[Check, ...] = (
        governor, turbo, smt, core_kinds, cpu_limits, virtual, clock, huge_pages, power, thermal,
        memory, swap, load_average,
    )  # fmt: skip
    findings = [check(tree) for check in checks]
    findings += [foreign(tree, between), steal(tree, between)]
    findings += [pressure(tree), variables(environment)]
    return findings


def governor(tree: HostTree) -> Finding:
    found = set(tree.texts("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor"))
    if not found:
        return unread("governor", "no cpufreq here (usual in a virtual machine: its host decides)")
    names = ", ".join(sorted(found))
    if found == {"performance"}:
        return Finding("governor", "ok", names)
    return Finding(
        "governor", "blurs", f"{names}: the clock goes up only after work has begun", TIMES,
        "hold the clock up", "sudo cpupower frequency-set -g performance",
    )  # fmt: skip


def turbo(tree: HostTree) -> Finding:
    intel, others = (
        "sys/devices/system/cpu/intel_pstate/no_turbo",
        "sys/devices/system/cpu/cpufreq/boost",
    )
    for path, on in ((intel, 0), (others, 1)):
        value = tree.number(path)
        if value is not None and value != on:
            return Finding("turbo", "ok", "off")
        if value is not None:
            return Finding(
                "turbo", "blurs", "on: the clock depends on heat and on how many cores work",
                SPEED, "switch it off for small differences", f"echo {1 - on} | sudo tee /{path}",
            )  # fmt: skip
    return unread("turbo", "neither intel_pstate nor cpufreq says")


def smt(tree: HostTree) -> Finding:
    cores = tree.cores()
    if not cores:
        return unread("SMT", "no topology of the CPUs")
    cpus, shared = len(tree.usable_cpus()), [core for core in cores if len(core) > 1]
    if not shared:
        return Finding("SMT", "ok", f"{counted(cpus, 'usable CPU')}, each a core of its own")
    firsts = ",".join(str(min(core)) for core in cores)
    return Finding(
        "SMT", "blurs", f"{cpus} usable CPUs are {counted(len(cores), 'core')}: more threads share "
        "a core, and so do other programs", SPEED,
        f"plan.threads at most {len(cores)} (the default); one CPU per core:",
        f"taskset -c {firsts} bakeoff run …",
    )  # fmt: skip


def core_kinds(tree: HostTree) -> Finding:
    usable = tree.usable_cpus()
    by_speed: dict[int, list[int]] = {}
    for cpu in sorted(usable):
        folder = f"sys/devices/system/cpu/cpu{cpu}"
        capacity = tree.number(f"{folder}/cpu_capacity")
        speed = tree.number(f"{folder}/cpufreq/cpuinfo_max_freq") if capacity is None else capacity
        if speed is not None:
            by_speed.setdefault(speed, []).append(cpu)
    if not by_speed:
        return unread("core kinds", "neither capacity nor top clock of the CPUs is given")
    # Favoured cores of one kind differ by a few percent in top clock.
    if min(by_speed) > 0.9 * max(by_speed):
        return Finding("core kinds", "ok", "all usable CPUs are of one kind")
    fast = [cpu for speed, cpus in by_speed.items() if speed > 0.9 * max(by_speed) for cpu in cpus]
    return Finding(
        "core kinds", "blurs", f"{len(fast)} fast and {len(usable) - len(fast)} slow CPUs: a slow "
        "one holds all threads up", SPEED, "keep to the fast ones:",
        f"taskset -c {_listed(sorted(fast))} bakeoff run …",
    )  # fmt: skip


def cpu_limits(tree: HostTree) -> Finding:
    usable, online, limits = tree.usable_cpus(), tree.online_cpus(), tree.limits()
    if not online:
        return unread("CPU limits", "no list of the CPUs")
    within = f"{len(usable)} of {len(online)} CPUs are usable"
    if limits.cpus is None or limits.cpus >= len(usable):
        return Finding("CPU limits", "ok", f"{within}; no quota below that")
    held = f", held back {limits.throttled} times so far" if limits.throttled else ""
    return Finding(
        "CPU limits", "blurs", f"{within}, but this container gets the time of {limits.cpus:g}"
        f"{held}: work stops until the next period", TIMES,
        f"plan.threads at most {max(1, int(limits.cpus))}, or a container without a CPU quota",
    )  # fmt: skip


def virtual(tree: HostTree) -> Finding:
    facts = tree.table("proc/cpuinfo")
    flags = (facts.get("flags") or facts.get("Features") or "").split()
    kind = tree.text("sys/hypervisor/type")
    if kind or "hypervisor" in flags:
        return Finding(
            "virtual", "blurs", f"a virtual machine{f' ({kind})' if kind else ''}: its host shares "
            "out CPU, clock and memory bandwidth unseen", TIMES,
            "compare within one run only; small differences need bare metal",
        )  # fmt: skip
    if not facts:
        return unread("virtual", "no /proc/cpuinfo")
    if "flags" not in facts:
        return unread("virtual", "this processor has no flag for it")
    return Finding("virtual", "ok", "no hypervisor")


def clock(tree: HostTree) -> Finding:
    source = tree.text("sys/devices/system/clocksource/clocksource0/current_clocksource")
    if source is None:
        return unread("clock", "no clock source given")
    if source in FAST_CLOCKS:
        return Finding("clock", "ok", f"{source}: a time stamp costs well below a microsecond")
    return Finding(
        "clock", "blurs", f"{source}: each time stamp is a slow call into the kernel", (DECODE,),
        "boot with tsc=reliable, if the processor's counter is steady",
    )  # fmt: skip


def huge_pages(tree: HostTree) -> Finding:
    path = "sys/kernel/mm/transparent_hugepage/enabled"
    modes = tree.text(path)
    if modes is None:
        return unread("huge pages", "no transparent huge pages in this kernel")
    mode = modes.partition("[")[2].partition("]")[0]
    if mode != "always":
        return Finding("huge pages", "ok", f"transparent huge pages: {mode}")
    return Finding(
        "huge pages", "blurs", "transparent huge pages: always. Memory grows in steps of 2 MiB, "
        "and the kernel merges pages while trials run", (LOAD, MEMORY),
        "give them only to programs that ask", f"echo madvise | sudo tee /{path}",
    )  # fmt: skip


def power(tree: HostTree) -> Finding:
    supplies = tree.glob("sys/class/power_supply/*")
    if not supplies:
        return Finding("power", "ok", "no battery or charger seen")
    on_battery = "Discharging" in tree.texts("sys/class/power_supply/BAT*/status")
    mains = tree.numbers("sys/class/power_supply/A*/online")
    if on_battery or (mains and not any(mains)):
        return Finding("power", "blurs", "on battery: the clock is held down", TIMES, "plug in")
    return Finding("power", "ok", "on mains")


def thermal(tree: HostTree) -> Finding:
    heat = [t / 1000 for t in tree.numbers("sys/class/thermal/thermal_zone*/temp") if t > 0]
    counts = tree.numbers("sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count")
    if not heat and not counts:
        return unread("heat", "no thermal zones, no throttle counters")
    throttled = max(counts, default=0)
    seen = [f"at most {max(heat):.0f} °C"] if heat else []
    seen += [f"throttled {throttled} times since boot"] if counts else ["no throttle counters"]
    if throttled or (heat and max(heat) >= HOT_C):
        return Finding(
            "heat", "blurs", ", ".join(seen), SPEED,
            "cool it, or wait; in a long run, later trials are slower",
        )  # fmt: skip
    return Finding("heat", "ok", ", ".join(seen))


def memory(tree: HostTree) -> Finding:
    facts, limits = tree.memory(), tree.limits()
    total, free = facts.get("MemTotal"), facts.get("MemAvailable")
    if total is None or free is None:
        return unread("memory", "no /proc/meminfo")
    where = ""
    if limits.memory_bytes is not None and limits.memory_bytes < total:
        total, where = limits.memory_bytes, " that this container may use"
        free = min(free, max(0, total - (limits.memory_used_bytes or 0)))
    read = f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB{where} are free"
    if free >= max(LEAST_MEMORY_BYTES, LEAST_MEMORY_SHARE * total):
        return Finding("memory", "ok", read)
    return Finding(
        "memory", "blurs", f"{read}: the page cache may lose the model", (LOAD, MEMORY),
        "close programs, or take a smaller model",
    )  # fmt: skip


def swap(tree: HostTree) -> Finding:
    facts = tree.memory()
    total, free = facts.get("SwapTotal"), facts.get("SwapFree")
    if total is None or free is None:
        return unread("swap", "no /proc/meminfo")
    if total == free:
        return Finding("swap", "ok", "none in use" if total else "there is none")
    return Finding(
        "swap", "blurs", f"{(total - free) / 2**20:.0f} MiB in use: pages may have to come back "
        "while a trial runs", (*TIMES, MEMORY), "empty it", "sudo swapoff -a && sudo swapon -a",
    )  # fmt: skip


def variables(environment: Mapping[str, str]) -> Finding:
    """Names only: a value may be private."""
    ours = fixed(1)
    found = sorted(name for name in environment if name.startswith(READ_BY_ENGINES))
    passed = [name for name in found if name in PASSED_ON and name not in ours]
    hidden = [name for name in found if name not in passed]
    said = [f"{', '.join(hidden)}: set here, but engines get bakeoff's own"] if hidden else []
    if passed:
        said.append(f"{', '.join(passed)}: handed on to engines, keep it the same for all runs")
    return Finding("variables", "ok", "; ".join(said) or "none that engines read are set")


def _listed(cpus: list[int]) -> str:
    return ",".join(map(str, cpus))
