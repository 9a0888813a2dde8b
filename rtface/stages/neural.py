"""Predicted neural activity as a signal: of a fitted model, with every frame."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtface.camera_config import NeuralSection
from rtface.neural.bundle import Bundle, load_bundle
from rtface.neural.columns import Gather
from rtface.neural.model import Keypoints
from rtface.rules import layout_of
from rtface.types import Float32Array, Pose, Signals, UserError

#: what stands in the name of a signal; all else in the name of a unit becomes _
_WORD = re.compile(r"[^\w.]+", re.ASCII)


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
    units : sequence of str
        Of the bundle: they are predicted as well, in deviations from their means.

    Raises
    ------
    UserError
        The model needs what is not computed here, motion components of other masks, or has no such
        unit.
    """

    def __init__(
        self,
        bundle: Bundle,
        keypoints: Sequence[str],
        about: Mapping[str, Any],
        units: Sequence[str] = (),
    ) -> None:
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
        self._readout = _readout(bundle, units)
        self._fields = [*common.outputs, *(f"unit.{_WORD.sub('_', name)}" for name in units)]
        self._n = len(common.outputs)
        self.lengths = {"neural": len(self._fields)}
        self.signals = {"neural": np.full(len(self._fields), np.nan, np.float32)}

    def __call__(self, exposure_ns: int, pose: Pose, signals: Signals) -> None:
        """Predict; ``exposure_ns`` is the exposure's midpoint."""
        x = self._gather(pose.keypoints, signals)
        out = self.signals["neural"]
        out[: self._n] = self._predict(exposure_ns, x)
        if len(out) > self._n:
            np.dot(out[: self._n], self._readout, out=out[self._n :])

    def about(self) -> dict[str, Any]:
        """Return what ``meta`` says of the numbers."""
        return {
            "bundle": self._bundle.sha256,
            "fields": self._fields,
            "lag_ns": self.lag_ns,
        }


def _readout(bundle: Bundle, units: Sequence[str]) -> Float32Array:
    """Return from what a model predicts to some of its units: (C, U) float32."""
    if not units:
        return np.zeros((0, 0), np.float32)
    if bundle.units is None:
        raise UserError(f"units: {bundle.folder} says nothing of units; imported weights do not")
    if repeated := [name for name in units if list(units).count(name) > 1]:
        raise UserError(f"units: '{repeated[0]}' stands there twice")
    places = []
    for name in units:
        if name not in bundle.units.names:
            few = ", ".join(bundle.units.names[:4])
            raise UserError(f"units: {bundle.folder} has no '{name}'; it has {few} ...")
        places.append(bundle.units.names.index(name))
        if not np.isfinite(bundle.units.std[places[-1]]):
            raise UserError(f"units: '{name}' was left out of the fit: it has NaN, or is flat")
    return np.ascontiguousarray(bundle.units.readout[:, places], np.float32)


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
        return NeuralStage(bundle, keypoints, about, section.units)
    except UserError as error:
        key = "" if str(error).startswith("units: ") else "bundle: "
        raise UserError(f"camera.{camera}.neural.{key}{error}") from None
