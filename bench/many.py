"""How much faster two workers track many videos than one: whole runs of ``rtface track``, in turns.

Clips of the synthetic mouse, the shipped network. Each turn runs one worker and then two on the
same clips; the time to start (a run on clips of one frame) is taken off, because it does not grow
with the recordings. Where other programs take the cores, two workers may get no more of them than
one. So the time of processors is measured, too: workers share nothing but memory and disk, so that
twice what one takes over what two take together is what two cores of their own would give.

    OPENBLAS_NUM_THREADS=1 python bench/many.py [--turns 3] [--frames 1500] [--videos 4]
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from rtface.camera.synthetic import SyntheticCamera

COMMAND = [sys.executable, "-c", "from rtface.cli import main; main()", "track"]


def make_clips(folder: Path, n: int, frames: int) -> list[Path]:
    """Write clips of different mice, H.264 of 640x480."""
    now = [0]

    def sleep(seconds: float) -> None:
        now[0] += round(seconds * 1e9)

    paths = []
    image = np.empty((480, 640), np.uint8)
    for i in range(n):
        camera = SyntheticCamera(640, 480, 100.0, 7 + i, clock=lambda: now[0], sleep=sleep)
        camera.start()
        paths.append(folder / f"mouse{i}.mp4")
        with av.open(str(paths[-1]), "w") as container:
            stream = container.add_stream("libx264", rate=100, options={"preset": "ultrafast"})
            stream.width, stream.height, stream.pix_fmt = 640, 480, "gray"
            for _ in range(frames):
                camera.fill(image, 1.0)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "gray")))
            container.mux(stream.encode(None))
    return paths


class Run(NamedTuple):
    """How long a run took, and how much time of processors, s."""

    wall_s: float
    cpu_s: float

    def less(self, other: Run) -> Run:
        return Run(self.wall_s - other.wall_s, self.cpu_s - other.cpu_s)


def run(videos: list[Path], workers: int) -> Run:
    """Track videos into sessions that are thrown away."""
    with tempfile.TemporaryDirectory() as out:
        words = [*map(str, videos), "--sessions", out, "--workers", str(workers)]
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run([*COMMAND, *words], capture_output=True, text=True)
        took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return Run(took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--frames", type=int, default=1500)
    parser.add_argument("--videos", type=int, default=4)
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, load before {os.getloadavg()[0]:.1f}")
    wall, bound, cost = [], [], []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        clips = make_clips(folder, arguments.videos, arguments.frames)
        (folder / "short").mkdir()
        short = make_clips(folder / "short", arguments.videos, 1)
        for turn in range(arguments.turns):
            one, two = (run(clips, workers).less(run(short, workers)) for workers in (1, 2))
            wall.append(one.wall_s / two.wall_s)
            bound.append(2 * one.cpu_s / two.cpu_s)
            frames = arguments.videos * arguments.frames
            cost.append(1e3 * one.cpu_s / frames)
            print(
                f"turn {turn}: one worker {one.wall_s:.1f} s ({one.cpu_s:.1f} s of a core), two "
                f"{two.wall_s:.1f} s ({two.cpu_s:.1f}); load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
    print(f"{statistics.median(cost):.2f} ms of a core per frame")
    print(
        f"two workers were {statistics.median(wall):.2f} times as fast as one, and are "
        f"{statistics.median(bound):.2f} times on two cores of their own (medians)"
    )


if __name__ == "__main__":
    main()
