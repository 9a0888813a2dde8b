"""Whether there is an NVIDIA driver; networks run on the CPU unless a rig names TensorRT."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from rtface.doctor.clock import read_line
from rtface.doctor.finding import Finding

_NOT_USED = "networks run on the CPU unless engine.runtime names TensorRT (docs/gpu.md)"


def state_gpu(cards: str | None, driver: str | None) -> Finding:
    """State which card and driver there is."""
    if cards is None and driver is None:
        return Finding("NVIDIA", f"no driver found, and none is needed: {_NOT_USED}")
    there = cards or f"driver {driver}"
    return Finding("NVIDIA", f"{there}; {_NOT_USED}")


def look_at_gpu() -> list[Finding]:
    """Ask the driver, in two ways."""
    text = read_line(Path("/proc/driver/nvidia/version"))
    words = text.splitlines()[0].split() if text else []
    driver = next((word for word in words if word[0].isdigit() and "." in word), None)
    cards = None
    if tool := shutil.which("nvidia-smi"):
        try:
            done = subprocess.run(
                [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"],
                capture_output=True,
                text=True,
                timeout=5,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):  # a driver that hangs
            return [state_gpu(None, driver or "that does not answer")]
        if done.returncode == 0:
            cards = " and ".join(done.stdout.strip().splitlines()) or None
    return [state_gpu(cards, driver)]
