"""rtface: a bundle from frame to keypoints, as ``rtface track`` runs it.

Takes runtime, precision and the bundle's name or folder.
"""

from __future__ import annotations

import sys

import _worker
import numpy as np

from rtface.engine import make_engine
from rtface.engine.bundle import load_bundle
from rtface.facemap_pose import FacemapEstimator, facemap_estimator
from rtface.pose import PoseEstimator, finder_for


def main() -> None:
    runtime, precision, name = sys.argv[2:]
    bundle = load_bundle(name)
    engine = make_engine(bundle, runtime, 1, precision)
    estimators: dict[tuple[int, ...], PoseEstimator | FacemapEstimator] = {}

    def made(shape: tuple[int, int]) -> PoseEstimator | FacemapEstimator:
        if found := facemap_estimator(bundle.normalisation, engine, shape):
            return found
        finder = finder_for(bundle.crop, engine, shape, "follow")
        return PoseEstimator(engine, shape, finder=finder)

    def estimate(frame: np.ndarray) -> np.ndarray:
        height, width = frame.shape
        if frame.shape not in estimators:
            estimators[frame.shape] = made((height, width))
        return estimators[frame.shape](frame).keypoints

    _worker.serve(estimate, ("rtface", runtime, "numpy"), network=bundle.name)


if __name__ == "__main__":
    main()
