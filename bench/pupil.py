"""What the pupil and a treadmill cost per frame, beside Facemap's formulas as they stand."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import _report
import numpy as np

from rtface.pupil.estimator import PupilEstimator
from rtface.running import RunningEstimator
from rtface.types import BBox, UInt8Image

#: the eye in a frame of 640x480, px; the size of which Facemap's time is known
BOX = BBox(260, 190, 120, 100)
SATURATION, SIGMA = 50.0, 2.0


def eyes(n: int, glint: bool) -> list[UInt8Image]:
    """Return frames with a moving dark pupil in an eye in fur."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:480, :640]
    made = []
    for i in range(n):
        cx, cy, radius = 320 + 5 * np.sin(i / 3), 240 + 3 * np.cos(i / 5), 18 + 5 * np.sin(i / 11)
        image = np.where(np.hypot((x - 320) / 55, (y - 240) / 44) < 1, 66.0, 125.0)
        image[np.hypot(x - cx, y - cy) < radius] = 34
        if glint:
            image[np.hypot(x - 330, y - 236) < 3] = 240
        made.append(np.clip(image + random.normal(0, 3, image.shape), 0, 255).astype(np.uint8))
    return made


def formulas(image: UInt8Image, ellipse: np.ndarray) -> float:
    """Return the area by the definition in docs/pupil.md, written down step by step."""
    part = image[BOX.y : BOX.y + BOX.height, BOX.x : BOX.x + BOX.width].astype(np.float32)
    dark = np.where(ellipse, np.maximum(0, SATURATION - part), 0)
    places = np.stack(np.nonzero(dark))
    weight = dark[tuple(places)]
    mean, spread = np.zeros(2), np.eye(2)
    for step in range(6):
        if step:
            off = places - mean[:, None]
            weight[(off * np.linalg.solve(spread, off)).sum(0) > 2 * SIGMA**2] = 0
        weight = weight / weight.sum()
        mean = places @ weight
        off = (places - mean[:, None]) * np.sqrt(weight)
        spread = off @ off.T + 0.01 * np.eye(2)
    small, large = np.linalg.eigvalsh(SIGMA**2 * spread)
    return float(np.pi * np.sqrt(small * min(large, 4 * small)))


def main() -> None:
    args = _report.parser(__doc__).parse_args()
    turns, n = (2, 30) if args.quick else (10, 200)
    plain, shiny = eyes(40, False), eyes(40, True)
    y, x = np.mgrid[: BOX.height, : BOX.width]
    ellipse = np.hypot((x - 59.5) / 60, (y - 49.5) / 50) <= 1
    shape = plain[0].shape
    given = PupilEstimator(BOX, shape, saturation=SATURATION, sigma=SIGMA, reflections=())
    automatic = PupilEstimator(BOX, shape)
    following = PupilEstimator(BOX, shape, polarity="auto")
    running = RunningEstimator(BOX, shape)
    steps: dict[str, tuple[Callable[[UInt8Image], Any], list[UInt8Image]]] = {
        "Facemap's formulas, plain numpy: area only": (lambda i: formulas(i, ellipse), plain),
        "pupil, saturation given: all fields": (given, plain),
        "pupil, automatic": (automatic, plain),
        "pupil, automatic, with a glint": (following, shiny),
        "running": (lambda i: running(i, True), plain),
    }
    times: dict[str, list[int]] = {name: [] for name in steps}
    for _ in range(turns):  # in turns, so that a slow minute of the machine hits all of them
        for name, (step, images) in steps.items():
            for i in range(n):
                start = time.perf_counter_ns()
                step(images[i % len(images)])
                times[name].append(time.perf_counter_ns() - start)
    rows = [{"step": name, **_report.summary_us(np.array(ns))} for name, ns in times.items()]
    areas = [(formulas(image, ellipse), given(image).area_px2) for image in plain]
    off = max(abs(ours / theirs - 1) for theirs, ours in areas)
    _report.table(f"One frame, ROI {BOX.width}x{BOX.height}, one core", rows)
    print(f"both areas differ by at most {off:.1e} of themselves")
    _report.write("pupil", args, {"cost": rows, "largest_difference": off})


if __name__ == "__main__":
    main()
