"""Predicted neural activity as a signal: of a fitted model, with every frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtface.camera_config import NeuralSection
from rtface.neural.bundle import Bundle, load_bundle
from rtface.neural.columns import Gather
from rtface.neural.model import Keypoints
from rtface.rules import layout_of
from rtface.types import Pose, Signals, UserError


class NeuralStage:
    """What a model predicts of each frame, from its keypoints and signals.

    Runs when all other signals of the frame are there. Belongs to the tracker's thread.

    Parameters
    ----------
    bundle : Bundle
    keypoints : sequence of str
        Of the network.
    about : mapping
        What ``meta`` says of all other signals (``Stages.about``).

    Raises
    ------
    UserError
        The model needs what is not computed here, or motion components of other masks.
    """

    def __init__(self, bundle: Bundle, keypoints: Sequence[str], about: Mapping[str, Any]) -> None:
        common = bundle.model.common
        self._bundle = bundle
        self._gather = Gather([c.name for c in common.columns], keypoints, layout_of(about))
        masks = (about.get("motion") or {}).get("masks")
        if common.masks is not None and masks != common.masks:
            raise UserError(
                f"{bundle.folder}: is of motion components of the masks {common.masks[:12]}, and "
                f"these are of {masks[:12] if masks else 'none yet'}; give [motion] masks = the "
                "file that was used, or fit again"
            )
        self._predict = bundle.model.stream()
        self.lag_ns = round(common.lag_s * 1e9)
        self.lengths = {"neural": len(common.outputs)}
        self.signals = {"neural": np.full(len(common.outputs), np.nan, np.float32)}

    def __call__(self, exposure_ns: int, pose: Pose, signals: Signals) -> None:
        """Predict; ``exposure_ns`` is the exposure's midpoint."""
        x = self._gather(pose.keypoints, signals)
        self.signals["neural"][:] = self._predict(exposure_ns, x)

    def about(self) -> dict[str, Any]:
        """Return what ``meta`` says of the numbers."""
        bundle = self._bundle
        return {
            "bundle": bundle.sha256,
            "fields": list(bundle.model.common.outputs),
            "lag_ns": self.lag_ns,
        }


def neural_stage(
    section: NeuralSection | None,
    camera: str,
    keypoints: Sequence[str],
    about: Mapping[str, Any],
    rate_hz: float,
) -> NeuralStage | None:
    """Return what predicts as a rig file says; None if it says nothing.

    Raises
    ------
    UserError
        The model cannot be read, needs what the rig does not compute, or is of another frame rate.
    """
    if section is None:
        return None
    try:
        bundle = load_bundle(Path(section.bundle))
        if isinstance(bundle.model, Keypoints):
            bundle.model.check_rate(1 / rate_hz)
        return NeuralStage(bundle, keypoints, about)
    except UserError as error:
        raise UserError(f"camera.{camera}.neural.bundle: {error}") from None
