"""What one frame says about the pupil."""

from __future__ import annotations

import math
from enum import IntFlag
from typing import NamedTuple


class PupilFlag(IntFlag):
    """Bits of ``Pupil.flags``."""

    SHUT = 1  # the lids are shut, or more shut than open
    BRIGHT = 2  # the pupil is brighter than the iris
    POLARITY_CHANGED = 4  # it was the other way round in the frame before
    DISAGREES = 8  # the network's four points show another pupil
    NO_PUPIL = 16  # no outline is found
    NO_BOX = 32  # the eye was not seen yet, so that nothing was looked at


class Pupil(NamedTuple):
    """The pupil in one frame; px of the full frame, x right, y down, pixel centres at integers.

    NaN is what is not known. Definitions stand in ``docs/pupil.md``.

    Attributes
    ----------
    area_px2, x_px, y_px : float
        Facemap's fit to all dark pixels, also of a shut eye.
    long_px, short_px, angle_rad : float
        Its semi-axes, and the angle from x to the long one.
    area_smooth_px2, x_smooth_px, y_smooth_px : float
        Running medians of that over open eyes, 3 frames late.
    edge_area_px2, edge_x_px, edge_y_px : float
        Inside the pupil's outline, whatever hides parts of it.
    blink : float
        Facemap's darkness: sum of max(0, saturation - pixel) over the eye, grey levels.
    openness : float
        How much of the eye is seen, 0 to about 1; makes ``SHUT``.
    score : float
        0 to 1: how much of the outline is seen and how clearly; 0 of a shut eye.
    saturation : float
        That the fit was made with, grey levels.
    points_area_px2, points_x_px, points_y_px, points_score : float
        The network's four points alone.
    flags : int
        ``PupilFlag``.
    """

    area_px2: float = math.nan
    x_px: float = math.nan
    y_px: float = math.nan
    long_px: float = math.nan
    short_px: float = math.nan
    angle_rad: float = math.nan
    area_smooth_px2: float = math.nan
    x_smooth_px: float = math.nan
    y_smooth_px: float = math.nan
    edge_area_px2: float = math.nan
    edge_x_px: float = math.nan
    edge_y_px: float = math.nan
    blink: float = math.nan
    openness: float = math.nan
    score: float = 0.0
    saturation: float = math.nan
    points_area_px2: float = math.nan
    points_x_px: float = math.nan
    points_y_px: float = math.nan
    points_score: float = 0.0
    flags: int = 0


#: what a vector of floats holds, in this order; the flags go beside it
FIELDS = Pupil._fields[:-1]
