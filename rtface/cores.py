"""Fast cores: where a processor has slow ones as well, to save power, those are left to others."""

from __future__ import annotations

import os
import sys
from pathlib import Path

#: where the kernel tells of cores
DEVICES = Path("/sys/devices")
#: of the fastest core's capacity: what counts as fast (ARM's middle cores have 0.3 to 0.6)
FAST = 0.75


def fast_cores(devices: Path = DEVICES) -> set[int]:
    """Return the numbers of the fast cores; empty where all are alike or nobody tells.

    Intel's hybrid processors have a list of either kind, ARM's and others a capacity for each core
    (Linux: ``Documentation/ABI/testing/sysfs-devices-system-cpu``, ``.../cpu-capacity``).
    """
    slow = [_listed(devices / kind / "cpus") for kind in ("cpu_atom", "cpu_lowpower")]
    if any(slow):
        return _listed(devices / "cpu_core" / "cpus")
    capacities = {
        int(path.parent.name[3:]): int(text)
        for path in devices.glob("system/cpu/cpu[0-9]*/cpu_capacity")
        if (text := _read(path)).isdigit()
    }
    least = FAST * max(capacities.values(), default=0)
    fast = {core for core, capacity in capacities.items() if capacity >= least}
    return fast if len(fast) < len(capacities) else set()


def choose(allowed: set[int], fast: set[int], least: int) -> set[int]:
    """Return the fast cores among those that may be used; empty where they are fewer than that."""
    chosen = allowed & fast
    return chosen if len(chosen) >= least and chosen < allowed else set()


def take_fast_cores(least: int, devices: Path = DEVICES) -> set[int]:
    """Keep this thread, and those that it starts from now on, to fast cores; return which.

    Empty: nothing was changed, because all cores are alike, fewer than ``least`` are fast, the
    user chose others (``taskset``), or the system cannot (only Linux can).
    """
    if sys.platform != "linux":
        return set()
    chosen = choose(os.sched_getaffinity(0), fast_cores(devices), least)
    if chosen:
        os.sched_setaffinity(0, chosen)
    return chosen


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _listed(path: Path) -> set[int]:
    """Return the numbers of a list like ``0-3,8``."""
    numbers: set[int] = set()
    for part in filter(None, _read(path).split(",")):
        first, _, last = part.partition("-")
        numbers |= set(range(int(first), int(last or first) + 1))
    return numbers
