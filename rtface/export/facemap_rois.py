"""ROIs as Facemap writes them into its files. Pure functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rtface.export.recorded import BoolArray, Roi
from rtface.motion.binning import Area

#: Facemap's number and word for each kind, and the colour that it is drawn in (red, green, blue)
_KINDS = {
    "pupil": (0, "Pupil", (0.0, 200.0, 50.0)),
    "motion": (1, "motion SVD", (180.0, 0.0, 50.0)),
    "blink": (2, "Blink", (40.0, 100.0, 250.0)),
    "running": (3, "Running", (150.0, 50.0, 150.0)),
}


def ellipse(height: int, width: int) -> BoolArray:
    """Return (height, width) which pixels have their centre in the largest ellipse inside."""
    y = (np.arange(height) + 0.5) * 2 / height - 1
    x = (np.arange(width) + 0.5) * 2 / width - 1
    inside: BoolArray = y[:, None] ** 2 + x[None, :] ** 2 <= 1
    return inside


def pixels_of(area: Area, bin_px: int) -> tuple[int, int, int, int]:
    """Return x, y, width, height (px) of the ROI that Facemap turns into these bins.

    Facemap takes the rows from that of the first pixel to before that of the last, and the columns
    to before the place of the last, which it does not round.
    """
    last_row, last_column = area.y1 * bin_px, area.x1 * bin_px - (bin_px > 1)
    x, y = area.x0 * bin_px, area.y0 * bin_px
    return x, y, last_column - x + 1, last_row - y + 1


def motion_roi(area: Area, bin_px: int, number: int) -> dict[str, Any]:
    """Return the dict of a motion ROI; ``number`` counts all ROIs."""
    x, y, width, height = pixels_of(area, bin_px)
    return {
        **_dict("motion", (x, y, width, height), number, 0.0),
        "ellipse": ellipse(height, width),
        "yrange_bin": np.arange(area.y0, area.y1, dtype=np.int64),
        "xrange_bin": np.arange(area.x0, area.x1, dtype=np.int64),
    }


def roi_dict(roi: Roi, number: int) -> dict[str, Any]:
    """Return the dict of a pupil, blink or running ROI; ``number`` counts all ROIs."""
    place = roi.x, roi.y, roi.width, roi.height
    inside = ellipse(roi.height, roi.width) if roi.inside is None else roi.inside
    made = {**_dict(roi.kind, place, number, roi.saturation), "ellipse": inside}
    if roi.kind == "pupil":
        made["pupil_sigma"] = float(roi.sigma)
        if roi.reflection is not None:
            made["reflector"] = [_reflection(roi.reflection)]
    return made


def _dict(
    kind: str, place: tuple[int, int, int, int], number: int, saturation: float
) -> dict[str, Any]:
    x, y, width, height = place
    rind, rtype, color = _KINDS[kind]
    return {
        "rind": rind,
        "rtype": rtype,
        "iROI": number,
        "ivid": 0,
        "color": color,
        "yrange": np.arange(y, y + height, dtype=np.int32),
        "xrange": np.arange(x, x + width, dtype=np.int32),
        "saturation": float(saturation),  # of whole numbers Facemap's sums would run over
    }


def _reflection(where: BoolArray) -> dict[str, npt.NDArray[Any]]:
    """Return the smallest rectangle with all of a reflection."""
    rows, columns = np.flatnonzero(where.any(1)), np.flatnonzero(where.any(0))
    if not len(rows):
        rows = columns = np.zeros(1, np.int64)
    y = np.arange(rows[0], rows[-1] + 1, dtype=np.int32)
    x = np.arange(columns[0], columns[-1] + 1, dtype=np.int32)
    return {"yrange": y, "xrange": x, "ellipse": where[np.ix_(y, x)].copy()}
