"""rtface: its shipped network through ``PoseEstimator``, as ``rtface track`` runs it.

Takes runtime and precision.
"""

from __future__ import annotations

import sys

import _worker
import numpy as np

from rtface.engine import make_engine
from rtface.engine.bundle import load_bundle
from rtface.pose import PoseEstimator, finder_for


def main() -> None:
    bundle = load_bundle("default")
    runtime, precision = sys.argv[2:]
    engine = make_engine(bundle, runtime, 1, precision)
    estimators: dict[tuple[int, ...], PoseEstimator] = {}

    def estimate(frame: np.ndarray) -> np.ndarray:
        if frame.shape not in estimators:
            finder = finder_for(bundle.crop, engine, frame.shape, "follow")
            estimators[frame.shape] = PoseEstimator(engine, frame.shape, finder=finder)
        return estimators[frame.shape](frame).keypoints

    _worker.serve(estimate, ("rtface", runtime, "numpy"), network=bundle.name)


if __name__ == "__main__":
    main()
