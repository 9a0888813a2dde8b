"""What a frame of the synthetic mouse costs, part by part, and what its start costs."""

from __future__ import annotations

import time
from typing import Any

import _report
import numpy as np

from rtface.camera.film import Film
from rtface.camera.synthetic import SyntheticCamera
from rtface.camera.truth import SyntheticTruth

SIZES = ((640, 480), (1280, 1024))


def cost(width: int, height: int, seed: int, n: int) -> list[dict[str, Any]]:
    start = time.perf_counter()
    film = Film(seed, width, height)
    film.prepare()
    start_s = time.perf_counter() - start
    truth = SyntheticTruth(width, height, 500.0, seed)
    image = np.empty((height, width), np.uint8)
    # a camera that never waits: its clock runs one period per look
    now = [0]

    def sleep(seconds: float) -> None:
        now[0] += max(1, round(seconds * 1e9))

    camera = SyntheticCamera(width, height, 500.0, seed, clock=lambda: now[0], sleep=sleep)
    camera.start()
    ids = np.random.default_rng(0).integers(0, 32000, n).tolist()
    states = [truth.state(i) for i in ids]
    steps = {
        "a frame of the camera": lambda i: camera.fill(image, 1.0),
        "draw without noise": lambda i: film.draw(states[i], image),
        "the state of a frame": lambda i: truth.state(ids[i]),
        "its keypoints": lambda i: truth.points(ids[i]),
        "all of its truth": lambda i: truth.at(ids[i]),
    }
    rows = []
    for what, step in steps.items():
        times = []
        for i in range(n):
            began = time.perf_counter_ns()
            step(i)
            times.append(time.perf_counter_ns() - began)
        rows.append(
            {"size": f"{width}x{height}", "step": what, **_report.summary_us(np.array(times))}
        )
    print(f"{width}x{height}: {start_s:.1f} s to paint every step at the start")
    return rows


def main() -> None:
    args = _report.parser(__doc__ or "").parse_args()
    sizes, n = (SIZES[:1], 200) if args.quick else (SIZES, 3000)
    rows = [row for width, height in sizes for row in cost(width, height, 7, n)]
    _report.table("the synthetic mouse, us", rows)
    _report.write("synthetic", args, {"cost": rows})


if __name__ == "__main__":
    main()
