"""The pupil as a signal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rtface.camera_config import PupilSection
from rtface.pupil.estimator import PupilEstimator
from rtface.pupil.record import FIELDS, PupilFlag
from rtface.types import BBox, CameraInfo, Flag, Image, Pose, UserError

#: what each flag of the estimator is called in the ledger
_FLAGS = {
    PupilFlag.SHUT: Flag.EYE_SHUT,
    PupilFlag.BRIGHT: Flag.PUPIL_BRIGHT,
    PupilFlag.POLARITY_CHANGED: Flag.PUPIL_TURNED,
    PupilFlag.DISAGREES: Flag.PUPIL_DISAGREES,
    PupilFlag.NO_PUPIL: Flag.NO_PUPIL,
    PupilFlag.NO_BOX: Flag.NO_PUPIL,
}
#: the flags of the ledger by those of the estimator
_LEDGER = [
    sum({ours.value for theirs, ours in _FLAGS.items() if bits & theirs})
    for bits in range(2 * max(PupilFlag))
]


class PupilStage:
    """The pupil of every frame, as one vector; see ``Stage`` and ``Pupil``."""

    def __init__(self, estimator: PupilEstimator, section: PupilSection) -> None:
        self._estimate, self._section = estimator, section
        self.lengths = {"pupil": len(FIELDS)}
        self.signals = {"pupil": np.full(len(FIELDS), np.nan, np.float32)}

    def __call__(self, image: Image, pose: Pose) -> int:
        """Find the pupil; see ``PosedStage``."""
        found = self._estimate(image, pose)
        self.signals["pupil"][:] = found[:-1]
        return _LEDGER[found.flags]

    def about(self) -> dict[str, Any]:
        """Return what the numbers are."""
        told = self._section.model_dump(mode="json")
        return {"fields": list(FIELDS), **told}


def pupil_stage(
    section: PupilSection | None, camera: str, names: Sequence[str], info: CameraInfo
) -> PupilStage | None:
    """Return what finds the pupil as a rig file says; None if it says nothing.

    Raises
    ------
    UserError
        A box is outside the frame, or the network has no eye to place one by.
    """
    if section is None:
        return None
    reflections = section.reflections
    try:
        return PupilStage(
            PupilEstimator(
                BBox(*section.box) if section.box else None,
                (info.height, info.width),
                names,
                info.dtype,
                section.saturation,
                section.sigma,
                section.polarity,
                reflections if reflections == "auto" else [BBox(*one) for one in reflections],
                adapt_frames=max(1, round(section.adapt_s * info.rate_hz)),
            ),
            section,
        )
    except UserError as error:
        raise UserError(f"camera.{camera}.{error}") from None
