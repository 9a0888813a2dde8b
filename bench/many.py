"""How much faster two workers track many videos than one: whole runs of ``rtface track``, in turns.

Clips of the synthetic mouse, the shipped network. Each turn runs one worker and then two on the
same clips; what is said is the median of the turns, and of each the time to start is taken off
(a run on clips of one frame), because it does not grow with the recordings. Other programs that
take the cores make both slower; turns that follow each other see about the same.

    OPENBLAS_NUM_THREADS=1 python bench/many.py [--turns 3] [--frames 1500] [--videos 4]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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


def run(videos: list[Path], workers: int) -> float:
    """Return how long a run takes, s."""
    with tempfile.TemporaryDirectory() as out:
        words = [*map(str, videos), "--sessions", out, "--workers", str(workers)]
        began = time.perf_counter()
        done = subprocess.run([*COMMAND, *words], capture_output=True, text=True)
        took = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--frames", type=int, default=1500)
    parser.add_argument("--videos", type=int, default=4)
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, load before {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        clips = make_clips(folder, arguments.videos, arguments.frames)
        (folder / "short").mkdir()
        short = make_clips(folder / "short", arguments.videos, 1)
        ratios, raw, rates = [], [], []
        for turn in range(arguments.turns):
            starts = [run(short, workers) for workers in (1, 2)]
            took = [run(clips, workers) for workers in (1, 2)]
            one, two = (t - s for t, s in zip(took, starts, strict=True))
            ratios.append(one / two)
            raw.append(took[0] / took[1])
            frames = arguments.videos * arguments.frames
            rates.append((frames / took[0], frames / took[1]))
            print(
                f"turn {turn}: one {took[0]:.1f} s, two {took[1]:.1f} s "
                f"(to start {starts[0]:.1f}, {starts[1]:.1f}): {raw[-1]:.2f} times, "
                f"{ratios[-1]:.2f} without the start; load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
    one, two = (statistics.median(rate[i] for rate in rates) for i in (0, 1))
    print(f"one worker {one:.0f} frames/s, two {two:.0f} frames/s")
    print(
        f"two workers {statistics.median(raw):.2f} times one (median of {len(raw)} turns), "
        f"{statistics.median(ratios):.2f} without the time to start"
    )


if __name__ == "__main__":
    main()
