"""No network at all: what remains is the path, which is what the benches measure."""

from __future__ import annotations

import numpy as np

from rtface.engine.bundle import Bundle
from rtface.face import FaceFinder
from rtface.types import BBox, Float32Array, Image, Pose, UInt8Image


class NullEngine:
    """Returns zeros with score 0 at once; has the keypoints and input size of a bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self.names = bundle.names
        self.input_shape = bundle.input_shape
        self._keypoints = np.zeros((len(self.names), 3), np.float32)

    def infer(self, image: UInt8Image, scale: float, shift: float) -> Float32Array:
        """Return (K, 3) zeros."""
        return self._keypoints


class NullEstimator:
    """Stands where ``PoseEstimator`` would: without a network there is no input to prepare."""

    finder: FaceFinder | None = None

    def __init__(self, engine: NullEngine, box: BBox) -> None:
        self._keypoints = engine.infer(np.zeros((1, 1), np.uint8), 1.0, 0.0)
        self._pose = Pose(self._keypoints, box)

    def __call__(self, image: Image, frames: int = 1) -> Pose:
        """Return zeros."""
        return self._pose

    def at(self, image: Image, box: BBox) -> Pose:
        """Return zeros seen through a box."""
        return Pose(self._keypoints, box)
