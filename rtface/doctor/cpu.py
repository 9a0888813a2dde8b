"""The processor: what it is, whether it runs at its full speed, who else uses it."""

from __future__ import annotations

import math
import os
import platform
import re
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from rtface.cores import fast_cores
from rtface.doctor.clock import read_line
from rtface.doctor.finding import Finding, judged

_SYS = Path("/sys/devices/system/cpu")
#: name shown -> flag of /proc/cpuinfo; widest first
VECTORS = {
    "AMX": "amx_int8",
    "AVX512-VNNI": "avx512_vnni",
    "AVX-VNNI": "avx_vnni",
    "AVX512": "avx512f",
    "AVX2": "avx2",
    "SVE": "sve",
    "I8MM": "i8mm",
    "dot product": "asimddp",
    "NEON": "asimd",
}
#: acquisition and tracker each keep one busy for part of the time
LEAST_CORES = 2
#: of the time a virtual machine wanted to run, %
STOLEN_PERCENT = 1.0


def judge_cores(model: str, usable: float, present: int, fast: int = 0) -> Finding:
    """Judge how many cores this process may use (affinity and container quota counted).

    ``fast``: of how many camera and tracker use, where others are slow; 0: all are alike.
    """
    value = f"{model}, {present} core(s)"
    if fast:
        value += f", {fast} of them fast: camera and tracker use those"
    if usable < present:
        value += f", of which {usable:g} may be used"
    return judged(
        "processor",
        value,
        usable < LEAST_CORES,
        "camera, tracker and supervisor need two cores; give the machine or container more "
        "(docker run --cpus=4), or widen the affinity (taskset)",
        {"usable_cores": usable, "cores": present},
    )


def judge_vectors(machine: str, flags: Collection[str] | None) -> Finding:
    """Judge which wide instructions networks can use."""
    if flags is None:
        return Finding("vector units", f"not visible here ({machine})")
    names = [name for name, flag in VECTORS.items() if flag in flags]
    x86 = machine.lower() in ("x86_64", "amd64")
    return judged(
        "vector units",
        ", ".join(names) or "none that matter",
        x86 and "avx2" not in flags,
        "networks run several times slower without AVX2, which every PC since about 2015 has; in "
        "a virtual machine let it through (CPU type 'host')",
    )


def judge_governor(governors: Collection[str]) -> Finding:
    """Judge how the kernel chooses the clock frequency."""
    if not governors:
        return Finding("governor", "not visible here (virtual machine?)")
    return judged(
        "governor",
        ", ".join(sorted(governors)),
        set(governors) != {"performance"},
        "cores slow down between frames; echo performance | sudo tee "
        "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
    )


def judge_throttling(events: int | None) -> Finding:
    """Judge how often the processor slowed itself down because it was hot, since the start."""
    if events is None:
        return Finding("throttling", "not visible here (virtual machine?)")
    return judged(
        "throttling",
        f"{events} times since the machine started",
        events > 0,
        "the processor gets too hot: clean its fan, let air in, and look again after a run",
        {"events": events},
    )


def judge_virtual(host: str | None, stolen_percent: float | None) -> Finding:
    """State whether this is a virtual machine, and judge what its host takes away."""
    if host is None:
        return Finding("virtual machine", "no")
    if stolen_percent is None:
        return Finding("virtual machine", f"{host}: times depend on its host")
    return judged(
        "virtual machine",
        f"{host}: times depend on its host, which took {stolen_percent:.1f} % just now",
        stolen_percent > STOLEN_PERCENT,
        "the host gives its cores to others as well; pin them to this machine, or use a real one "
        "for experiments",
        {"stolen_percent": stolen_percent},
    )


def judge_load(load: float | None, usable: float) -> Finding:
    """Judge how many other programs wanted to run during the last minute."""
    if load is None:
        return Finding("load", "not visible here")
    return judged(
        "load",
        f"{load:.1f} programs on {usable:g} core(s) during the last minute",
        load > 0.5 * usable,
        "others are working here: 'top' shows them; measure and run experiments without them",
        {"load": load, "usable_cores": usable},
    )


def look_at_cpu(jiffies_before: tuple[int, int] | None, load: float | None) -> list[Finding]:
    """Read what the system says; the arguments were read before the doctor itself worked."""
    info = _cpuinfo()
    machine = platform.machine()
    flags = _flags(info)
    model = info.get("model name") or platform.processor() or machine
    usable = usable_cores()
    virtual = None
    if flags and "hypervisor" in flags:
        virtual = read_line(Path("/sys/class/dmi/id/sys_vendor")) or "yes"
    return [
        judge_cores(model, usable, os.cpu_count() or 1, len(fast_cores())),
        judge_vectors(machine, flags),
        judge_governor(governors()),
        judge_throttling(throttled()),
        judge_virtual(virtual, _stolen_percent(jiffies_before, jiffies())),
        judge_load(load, usable),
    ]


def usable_cores() -> float:
    """Return how many cores this process may use: its affinity and its container's quota."""
    n = float(os.cpu_count() or 1)
    if sys.platform == "linux":
        n = float(len(os.sched_getaffinity(0)))
        n = min(n, quota_cores(read_line(Path("/sys/fs/cgroup/cpu.max"))))
    return n


def quota_cores(cpu_max: str | None) -> float:
    """Return how many cores a container may use, from the text of its control group."""
    quota, _, period = (cpu_max or "max 100000").partition(" ")
    return math.inf if quota == "max" else int(quota) / int(period)


def load_now() -> float | None:
    """Return the load of the last minute, None where there is no such thing."""
    if sys.platform == "win32":
        return None
    return os.getloadavg()[0]


def jiffies() -> tuple[int, int] | None:
    """Return the time of all cores that was stolen by a host, and all time, since the start."""
    text = read_line(Path("/proc/stat"))
    if text is None or not text.startswith("cpu "):
        return None
    values = [int(word) for word in text.splitlines()[0].split()[1:9]]  # guests are in user's
    return (values[7], sum(values)) if len(values) == 8 else None


def _stolen_percent(before: tuple[int, int] | None, after: tuple[int, int] | None) -> float | None:
    if before is None or after is None or after[1] <= before[1]:
        return None
    return 100 * (after[0] - before[0]) / (after[1] - before[1])


def _cpuinfo() -> Mapping[str, str]:
    """Return the first processor's part of /proc/cpuinfo (empty elsewhere)."""
    text = read_line(Path("/proc/cpuinfo")) or ""
    return dict(re.findall(r"^(.+?)[ \t]*:[ \t]*(.*)$", text.split("\n\n")[0], re.MULTILINE))


def _flags(info: Mapping[str, str]) -> Collection[str] | None:
    text = info.get("flags") or info.get("Features")
    return None if text is None else set(text.split())


def _read_all(paths: Iterable[Path]) -> set[str]:
    return {text for path in paths if (text := read_line(path))}


def governors(cpus: Path = _SYS) -> set[str]:
    """Return the governors of all cores; empty where frequencies are not ours to see."""
    return _read_all(cpus.glob("cpu[0-9]*/cpufreq/scaling_governor"))


def throttled(cpus: Path = _SYS) -> int | None:
    """Return the largest count: every core of a package tells the same one."""
    counts = _read_all(cpus.glob("cpu[0-9]*/thermal_throttle/package_throttle_count"))
    return max((int(count) for count in counts), default=None)
