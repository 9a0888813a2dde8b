"""The clock every time of rtface is read from, and how late a sleeper wakes."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rtface.doctor.finding import Finding, judged

#: a step larger than this is no longer small beside the path's own microseconds, ns
COARSE_NS = 1000
#: NTP slews by at most 500 ppm; what moves faster is set by hand or jumps, ppm
SLEW_PPM = 600.0
#: a shorter span than this says nothing about a drift, s
LEAST_SPAN_S = 0.5
#: these are read without a system call and count nanoseconds
GOOD_SOURCES = (
    "tsc",
    "kvm-clock",
    "arch_sys_counter",
    "hyperv_clocksource_tsc_page",
    "xen",
    "timebase",
)
LATE_MS = 1.0
SLEEPS = 300


def judge_perf_counter(source: str, step_ns: float, read_ns: float) -> Finding:
    """Judge the monotonic clock by the smallest step seen and what one reading costs."""
    return judged(
        "perf_counter",
        f"{source}, smallest step {step_ns:.0f} ns, one reading {read_ns:.0f} ns",
        step_ns > COARSE_NS or read_ns > COARSE_NS,
        "see the line 'clocksource'; in a virtual machine use the host's paravirtual clock",
        {"step_ns": step_ns, "read_ns": read_ns},
    )


def judge_clocksource(current: str | None, available: Sequence[str]) -> Finding:
    """Judge what the kernel counts time with."""
    if current is None:
        return Finding("clocksource", "not visible here (a container or not Linux)")
    better = [name for name in available if name in GOOD_SOURCES]
    if better:
        remedy = (
            f"echo {better[0]} | sudo tee "
            "/sys/devices/system/clocksource/clocksource0/current_clocksource"
        )
    else:
        remedy = (
            "the kernel gave up the processor's own counter; 'sudo dmesg | grep -i tsc' says why, "
            "often an old BIOS"
        )
    return judged("clocksource", current, current not in GOOD_SOURCES, remedy)


def judge_wall_clock(moved_ns: float, span_s: float) -> Finding:
    """Judge by how much the wall clock moved against the monotonic one in ``span_s``."""
    if span_s < LEAST_SPAN_S:
        return Finding("wall clock", "not looked at for long enough")
    ppm = moved_ns * 1e-3 / span_s
    return judged(
        "wall clock",
        f"moved {moved_ns * 1e-3:+.0f} us against perf_counter in {span_s:.1f} s",
        abs(ppm) > SLEW_PPM and abs(moved_ns) > 1e6,
        "something sets the wall clock; let one service do it, slowly (chrony, systemd-timesyncd), "
        "before files of several machines are compared",
        {"moved_ns": moved_ns, "span_s": span_s},
    )


def judge_sleep(overshoot_ms: Sequence[float]) -> Finding:
    """Judge by how much sleeps of 1 ms were too long: what a frame waits for its tracker."""
    p50, p99 = (float(p) for p in np.percentile(overshoot_ms, [50, 99]))
    return judged(
        "wake-up",
        f"a sleep of 1 ms is late by p50 {p50:.2f}, p99 {p99:.2f} ms",
        p99 > LATE_MS,
        "close other programs, set the governor to performance, or run at real-time priority (see "
        "'real-time' below)",
        {"p50_ms": p50, "p99_ms": p99},
    )


def look_at_clock(wall_before: tuple[int, int]) -> list[Finding]:
    """Measure the clock; ``wall_before`` is an earlier result of ``wall_pair``."""
    info = time.get_clock_info("perf_counter")
    readings = np.array([time.perf_counter_ns() for _ in range(100_000)])
    steps = np.diff(readings)
    step_ns = float(steps[steps > 0].min()) if steps.any() else float(info.resolution * 1e9)
    # the median: a reading that was interrupted says nothing about the clock
    read_ns = float(np.median(steps))
    folder = Path("/sys/devices/system/clocksource/clocksource0")
    source = available = None
    if sys.platform == "linux":
        source = read_line(folder / "current_clocksource")
        available = read_line(folder / "available_clocksource")
    late = []
    for _ in range(SLEEPS):
        start = time.perf_counter_ns()
        time.sleep(0.001)
        late.append((time.perf_counter_ns() - start) * 1e-6 - 1)
    host, moved = wall_pair()
    return [
        judge_perf_counter(info.implementation, step_ns, read_ns),
        judge_clocksource(source, (available or "").split()),
        judge_wall_clock(moved - wall_before[1], (host - wall_before[0]) * 1e-9),
        judge_sleep(late),
    ]


def wall_pair() -> tuple[int, int]:
    """Return the monotonic clock and how far the wall clock is ahead of it, ns."""
    pairs = []
    for _ in range(20):
        before = time.perf_counter_ns()
        wall = time.time_ns()
        after = time.perf_counter_ns()
        pairs.append((after - before, before, wall - (before + after) // 2))
    _, host, ahead = min(pairs)  # the one that was not interrupted
    return host, ahead


def read_line(path: Path) -> str | None:
    """Return the text of a small file of the system without its end, None if there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None
