"""No network at all: what remains is the path, which is what the benches measure."""

from __future__ import annotations

import numpy as np

from rtface.engine.bundle import Bundle
from rtface.types import Float32Array, Image, Pose, UInt8Image


class NullEngine:
    """Returns zeros with score 0 at once; has the keypoints and input size of a bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self.names = bundle.names
        self.input_shape = bundle.input_shape
        self._keypoints = np.zeros((len(self.names), 3), np.float32)

    def infer(self, image: UInt8Image, scale: float, shift: float) -> Float32Array:
        """Return (K, 3) zeros."""
        return self._keypoints

    def pose(self, image: Image) -> Pose:
        """Return zeros for a whole frame: without a network there is no input to prepare."""
        return Pose(self._keypoints)
