"""How wrong forecasts of keypoints are, 5, 10 and 20 ms ahead, on real and on synthetic traces.

Real: pupil points of the IBL (``eks_ibl``, 60 Hz, 2000 frames, five networks): one network is what
the filters see, the median of the five, linear between frames, is what they are judged by.
Synthetic: the whisker of the synthetic mouse (exact at any moment) at 200 Hz with 0.5 px of noise.
*moving*: the tenth of the frames in which most happens in the next 20 ms.
"""

from __future__ import annotations

import csv
import gzip
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _report
import numpy as np

from rtface.camera.truth import SyntheticTruth
from rtface.rules.filters import Kalman, OneEuro

DATA = Path(os.environ.get("RTFACE_DATA", "../shared/data"))
AHEAD_MS = (5.0, 10.0, 20.0)
IBL_HZ, MOUSE_HZ, FINE = 60.0, 200.0, 5

#: what is seen, and what is true at the times of the frames plus a horizon
Trace = tuple[np.ndarray, np.ndarray, Callable[[np.ndarray], np.ndarray]]


class Hold:
    """No filter: it stays where it was seen last."""

    def update(self, _t_s: float, z: float) -> None:
        self.x = z

    def forecast_at(self, _t_s: float) -> float:
        return self.x


def filters(period_s: float) -> dict[str, Callable[[], Any]]:
    return {
        "hold": Hold,
        "one_euro 10 ms": lambda: OneEuro(0.01, 100.0),
        "one_euro 10 ms, fast speed": lambda: OneEuro(0.01, 100.0, 0.01),
        "kalman 2.5 ms": lambda: Kalman(period_s, 0.0025),
        "kalman 5 ms": lambda: Kalman(period_s, 0.005),
        "kalman 10 ms": lambda: Kalman(period_s, 0.01),
        "kalman 20 ms": lambda: Kalman(period_s, 0.02),
        "kalman 50 ms": lambda: Kalman(period_s, 0.05),
    }


def ibl_traces(folder: Path) -> list[Trace]:
    """Return x and y of the four pupil points."""
    members = []
    for path in sorted(folder.glob("ibl-pupil_*.csv.gz")):
        with gzip.open(path, "rt") as text:
            rows = list(csv.reader(text))[3:]
        members.append(np.array(rows, float)[:, 1:])
    table = np.stack(members)
    t = np.arange(table.shape[1]) / IBL_HZ
    traces: list[Trace] = []
    for point in range(4):
        for axis in range(2):
            every = table[:, :, 3 * point + axis]
            true = np.median(every, 0)
            traces.append((t, every[0], lambda at, true=true: np.interp(at, t, true)))
    return traces


def mouse_traces(seconds: float) -> list[Trace]:
    """Return x and y of a whisker."""
    truth = SyntheticTruth(640, 480, MOUSE_HZ * FINE, 1, nuisances=False)
    k = truth.names.index("whisker(II)")
    fine = np.array([truth.points(i)[k] for i in range(int(seconds * MOUSE_HZ * FINE))], float)
    t_fine = np.arange(len(fine)) / (MOUSE_HZ * FINE)
    t = t_fine[::FINE]
    rng = np.random.default_rng(0)
    return [
        (
            t,
            fine[::FINE, axis] + rng.normal(0, 0.5, len(t)),
            lambda at, axis=axis: np.interp(at, t_fine, fine[:, axis]),
        )
        for axis in range(2)
    ]


def judge(name: str, traces: list[Trace], period_s: float) -> list[dict[str, Any]]:
    rows = []
    # not the first second, and nothing beyond the end
    kept = slice(round(1 / period_s), -round(0.03 / period_s) - 1)
    for label, make in filters(period_s).items():
        errors: dict[float, list[np.ndarray]] = {ahead: [] for ahead in AHEAD_MS}
        motions = []
        cost_ns = n = 0
        for t, seen, true in traces:
            one = make()
            said = {ahead: np.empty(len(t)) for ahead in AHEAD_MS}
            for i, (at, z) in enumerate(zip(t.tolist(), seen.tolist(), strict=True)):
                start = time.perf_counter_ns()
                one.update(at, z)
                cost_ns += time.perf_counter_ns() - start
                n += 1
                for ahead in AHEAD_MS:
                    said[ahead][i] = one.forecast_at(at + ahead * 1e-3)
            for ahead in AHEAD_MS:
                errors[ahead].append((said[ahead] - true(t + ahead * 1e-3))[kept])
            motions.append(np.abs(true(t + 0.02) - true(t))[kept])
        motion = np.concatenate(motions)
        moving = motion >= np.quantile(motion, 0.9)
        row: dict[str, Any] = {"trace": name, "filter": label}
        for what, which in (("all", slice(None)), ("moving", moving)):
            for ahead in AHEAD_MS:
                off = np.concatenate(errors[ahead])[which]
                row[f"{what} {ahead:g} ms"] = f"{np.sqrt(np.mean(off**2)):.2f}"
        row["update us"] = f"{cost_ns / n / 1e3:.1f}"
        rows.append(row)
    return rows


def main() -> None:
    args = _report.parser(__doc__).parse_args()
    rows = judge("mouse whisker, 200 Hz", mouse_traces(3 if args.quick else 60), 1 / MOUSE_HZ)
    folder = DATA / "eks_ibl"
    if folder.is_dir():
        rows += judge("IBL pupil, 60 Hz", ibl_traces(folder), 1 / IBL_HZ)
    else:
        print(f"no {folder}: set RTFACE_DATA for the real traces")
    _report.table("error of forecasts, root mean square, px", rows)
    _report.write("forecast", args, {"rows": rows})


if __name__ == "__main__":
    main()
