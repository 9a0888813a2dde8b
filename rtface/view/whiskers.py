"""Angles of whiskers in every result, as rules have them (``azimuth``), for the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from rtface.rules.functions import Azimuth, Sight
from rtface.types import Float32Array, Result


class WhiskerAngles:
    """Columns of a row beside what the tracker found. Takes results in order, for one thread.

    Parameters
    ----------
    meta : mapping
        Of the camera's stream. Without its ``whiskers`` there are no columns.

    Attributes
    ----------
    columns : list of str
        The mean angle and that of each whisker, rad: 0 points back along the face, pi forwards;
        the base, px, and the face's axis, from nose to eye, rad from x to y.
    """

    def __init__(self, meta: Mapping[str, Any]) -> None:
        about, names = meta.get("whiskers"), list(meta["keypoints"])
        self._azimuth: Azimuth | None = None
        self.columns: list[str] = []
        if not about:
            return
        rows = [names.index(name) for name in (about["base"], *about["points"], *about["axis"])]
        base, whiskers, (nose, eye) = rows[0], rows[1:-2], rows[-2:]
        self._azimuth = Azimuth(base, whiskers, nose, eye, about["least_score"])
        self._sight = Sight()
        self.columns = [
            "azimuth_rad",
            *(f"azimuth.{name}_rad" for name in about["points"]),
            "azimuth.base.x",
            "azimuth.base.y",
            "azimuth.axis_rad",
        ]

    def __call__(self, result: Result) -> Float32Array:
        """Return the columns of a result; NaN where a point is not known."""
        found = np.full(len(self.columns), np.nan, np.float32)
        if self._azimuth is not None:
            self._sight.t_s = result.ledger.exposure_ns * 1e-9
            self._sight.points = result.pose.keypoints.tolist()
            if angles := self._azimuth.angles(self._sight):
                x, y, back_x, back_y = self._azimuth.axis
                axis = float(np.arctan2(back_y, back_x))
                found[:] = [sum(angles) / len(angles), *angles, x, y, axis]
        return found
