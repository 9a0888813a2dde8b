"""What every worker shares: frames in, keypoints out, times on standard output.

A worker runs in the environment of what it measures, so this file needs numpy alone. It says one
line of JSON when it is warm, then waits: every line ``{"seconds": s}`` on its standard input asks
for one turn, answered by one line with the ns of each frame and the CPU time of all.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

#: frames of a turn, however slow a peer is; and before the first turn
LEAST, WARM = 3, 3


# whatever libraries print, some while they are imported, goes to standard error: import this first
_OUT = os.dup(1)
os.dup2(2, 1)


def serve(
    estimate: Callable[[np.ndarray], np.ndarray], packages: Sequence[str], **about: object
) -> None:
    """Answer turns until the input ends.

    ``estimate`` takes a frame (H, W) uint8 and returns (K, 2 or more): x and y in px of it.
    """
    frames = np.load(sys.argv[1])
    points = np.asarray([estimate(frame) for frame in frames[:WARM]])
    if points.ndim != 3 or points.shape[2] < 2 or not np.isfinite(points).all():
        raise RuntimeError(f"no keypoints: {points.shape}")
    versions = {name: importlib.metadata.version(name) for name in packages}
    _say({"keypoints": points.shape[1], "versions": versions, **about})
    next_frame = 0
    for line in sys.stdin:
        seconds, ns = json.loads(line)["seconds"], []
        began, cpu = time.perf_counter(), time.process_time_ns()
        while time.perf_counter() - began < seconds or len(ns) < LEAST:
            frame = frames[next_frame % len(frames)]
            next_frame += 1
            start = time.perf_counter_ns()
            estimate(frame)
            ns.append(time.perf_counter_ns() - start)
        cpu = time.process_time_ns() - cpu
        _say({"ns": ns, "cpu_ns": cpu})


def _say(what: dict[str, object]) -> None:
    os.write(_OUT, json.dumps(what).encode() + b"\n")
