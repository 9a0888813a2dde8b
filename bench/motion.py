"""What motion components cost per frame, how far the fast ones are off, and what masks cost.

    python bench/motion.py --facemap /path/to/facemap/bin/python

``--facemap`` also lets Facemap (an environment of ``tests/peers/facemap_env.py``) make its masks of
the same video. One thread, as in the tracker; the machine's memory is read in the same run.
"""

from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy, as the tracker has it

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import _report
import av
import numpy as np

from rtface.camera.synthetic import SyntheticCamera
from rtface.motion.fit import fit_masks
from rtface.motion.masks import Masks
from rtface.motion.project import Projector

FIT = str(Path(__file__).with_name("_motion_fit.py"))
HEIGHT, WIDTH, RATE_HZ = 480, 640, 200.0
#: what is projected: bin, components, whether from 8-bit masks
CASES = ((4, 500, False), (4, 500, True), (8, 50, False))


def clip(n: int, first: int = 0) -> np.ndarray:
    """Return frames of the synthetic mouse with the noise of a camera, every second one."""
    camera = SyntheticCamera(WIDTH, HEIGHT, RATE_HZ, seed=3)
    frames = np.empty((n, HEIGHT, WIDTH), np.uint8)
    for i, image in enumerate(frames):
        camera._draw(2 * (first + i), image)
    return frames


def make_projector(masks: Masks, components: int | None = None, fast: bool = False) -> Projector:
    """Return a projector; of a fast one that seemed no faster in a busy moment, the next try."""
    for _ in range(5):
        projector = Projector(masks, components, fast=fast)
        if not projector.note:
            break
    return projector


def time_steps(
    step: Callable[[], object], before: Callable[[int], object], n: int, rate_hz: float
) -> np.ndarray:
    """Return the times of a step in ns: in a loop (0), or so often a second that it finds all cold.

    What comes before each step is not timed.
    """
    times = np.empty(n, np.int64)
    due = time.perf_counter_ns()
    for i in range(n):
        if rate_hz:
            due += round(1e9 / rate_hz)
            time.sleep(max(0, due - time.perf_counter_ns()) * 1e-9)
        before(i)
        start = time.perf_counter_ns()
        step()
        times[i] = time.perf_counter_ns() - start
    return times


def speeds(masks: dict[int, Masks], frames: np.ndarray, n: int, turns: int) -> list[dict[str, Any]]:
    """Time reading memory and every case in turns; return medians of the turns."""
    memory = np.ones(HEIGHT // 4 * (WIDTH // 4) * 500, np.float32)
    image = np.empty((HEIGHT, WIDTH), np.uint8)
    steps: dict[str, Callable[[], object]] = {
        "read 38 MB (dot with itself)": lambda: np.dot(memory, memory),
        "read 10.5 MB likewise": lambda: np.dot(memory[:2_621_440], memory[:2_621_440]),
    }
    for bin_px, components, fast in CASES:
        projector = make_projector(masks[bin_px], components, fast)
        if projector.note:
            print(projector.note)
        way = "fast" if fast and not projector.note else "exact"
        found = len(projector(frames[0], True).motion[0])
        steps[f"bin {bin_px}, {found} components, {way}"] = partial(projector, image, True)

    def copy(i: int) -> None:  # as out of the ring, which the tracker does right before
        np.copyto(image, frames[i % len(frames)])

    times: dict[str, list[dict[str, float]]] = {name: [] for name in steps}
    for _ in range(turns):
        for name, step in steps.items():
            time_steps(step, copy, 20, 0)
            hot = _report.summary_us(time_steps(step, copy, n, 0))
            paced = _report.summary_us(time_steps(step, copy, n, RATE_HZ))
            times[name].append(
                {f"hot_{k}": v for k, v in hot.items()}
                | {f"paced_{k}": v for k, v in paced.items()}
            )
    return [{"step": name, **_over(found)} for name, found in times.items()]


def _over(turns: list[dict[str, float]]) -> dict[str, float]:
    """Return the medians of the turns, and their best p50: others use the machine, too."""
    columns = {key: [turn[key] for turn in turns] for key in turns[0]}
    best = {f"{how}_best_p50_us": min(columns[f"{how}_p50_us"]) for how in ("hot", "paced")}
    return {key: float(np.median(values)) for key, values in columns.items()} | best


def errors(masks: Masks, clips: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Return how far components of 8-bit masks are off, in % of each one's standard deviation."""
    rows = []
    for name, frames in clips.items():
        found = []
        for fast in (False, True):
            projector = make_projector(masks, fast=fast)
            results = [projector(image, True).motion[0].astype(float) for image in frames]
            found.append(np.array(results[1:]))
        exact, close = found
        off = 100 * np.sqrt(np.square(close - exact).mean(0)) / exact.std(0)
        picks = {"first": off[0], "median": np.median(off), "last": off[-1], "most": off.max()}
        rows.append(
            {"frames": name, "n": len(exact), "components": len(off)}
            | {f"{key}_%": round(float(value), 3) for key, value in picks.items()}
        )
    return rows


def fits(args: argparse.Namespace, n: int) -> list[dict[str, Any]]:
    """Make masks of one video with each program, in a process of its own, on all cores."""
    programs = {"rtface": [sys.executable, FIT, "rtface"]}
    if args.facemap:
        programs["Facemap"] = [args.facemap, FIT, "facemap"]
    rows = []
    with tempfile.TemporaryDirectory(prefix="rtface-bench-") as folder:
        path = Path(folder) / "mouse.avi"
        write_video(path, n)
        for name, command in programs.items():
            environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
            done = subprocess.run(
                [*command, str(path)], env=environment, stdout=subprocess.PIPE, check=True
            )
            rows.append({"program": name, "frames": n, **json.loads(done.stdout.splitlines()[-1])})
    return rows


def write_video(path: Path, n: int) -> None:
    """Write the synthetic mouse as MJPEG, of which both programs read the same pixels."""
    with av.open(path, "w") as container:
        stream = container.add_stream("mjpeg", rate=round(RATE_HZ))
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuvj420p"
        for first in range(0, n, 500):
            for image in clip(min(500, n - first), first):
                frame = av.VideoFrame.from_ndarray(image, "gray").reformat(format="yuvj420p")
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def main() -> None:
    parser = _report.parser(__doc__.splitlines()[0])
    parser.add_argument("--facemap", metavar="PYTHON", help="Facemap's own, to compare masks with")
    parser.add_argument("--frames", type=int, default=10_000, help="to make masks of; 0: do not")
    args = parser.parse_args()
    made_of, later = clip(120 if args.quick else 2000), clip(60 if args.quick else 500, 2000)
    masks = {b: fit_masks([lambda: made_of], b, 100 if args.quick else n) for b, n, _ in CASES}
    cost = speeds(masks, later[:32], 50 if args.quick else 400, 1 if args.quick else 7)
    off = errors(masks[4], {"that masks are made of": made_of, "later ones": later})
    made = fits(args, 600 if args.quick else args.frames) if args.frames else []
    _report.table(f"one frame of {WIDTH}x{HEIGHT}, microseconds, medians of the turns", cost)
    shown = [{k: f"{v:.2f}" if isinstance(v, float) else v for k, v in row.items()} for row in off]
    _report.table("components of 8-bit masks: off by, of each one's standard deviation", shown)
    if made:
        _report.table("making 500 motion masks, bin 4", made)
    _report.write("motion", args, {"cost": cost, "error": off, "fit": made})


if __name__ == "__main__":
    main()
