"""How far a treadmill moved, as a signal."""

from __future__ import annotations

from typing import Any

import numpy as np

from rtface.camera_config import RunningSection
from rtface.running import Running, RunningEstimator
from rtface.types import BBox, CameraInfo, Image, UserError


class RunningStage:
    """Shift of the treadmill's texture between frames; see ``Stage`` and ``Running``."""

    def __init__(self, estimator: RunningEstimator, section: RunningSection) -> None:
        self._estimate, self._section = estimator, section
        self.lengths = {"running": len(Running._fields)}
        self.signals = {"running": np.full(len(Running._fields), np.nan, np.float32)}

    def look(self, image: Image) -> None:
        """See the frame before the next one; see ``MovingStage``."""
        self._estimate(image, False)

    def __call__(self, image: Image, consecutive: bool) -> int:
        """Find the shift; see ``MovingStage``."""
        self.signals["running"][:] = self._estimate(image, consecutive)
        return 0

    def about(self) -> dict[str, Any]:
        """Return what the numbers are, and where they are of."""
        return {"fields": list(Running._fields), **self._section.model_dump(mode="json")}


def running_stage(
    section: RunningSection | None, camera: str, info: CameraInfo
) -> RunningStage | None:
    """Return what finds the shift as a rig file says; None if it says nothing.

    Raises
    ------
    UserError
        The box is outside the frame or too small.
    """
    if section is None:
        return None
    try:
        estimator = RunningEstimator(BBox(*section.box), (info.height, info.width), info.dtype)
    except UserError as error:
        raise UserError(f"camera.{camera}.{error}") from None
    return RunningStage(estimator, section)
