"""Clips for the comparison with Facemap's pupil and blink: the same bytes wherever made."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rtface.types import UInt8Image


class Case(NamedTuple):
    """What Facemap is asked about one clip: one pupil ROI and one blink ROI.

    ``size`` is the frame's (height, width), ``roi`` and ``reflectors`` are x, y, width, height in
    px, reflectors inside the ROI's own coordinates, ellipses. ``blink`` is the blink's saturation:
    an int wraps in Facemap.
    """

    size: tuple[int, int]
    roi: tuple[int, int, int, int]
    saturation: float
    sigma: float
    reflectors: tuple[tuple[int, int, int, int], ...] = ()
    ellipse: bool = True
    blink: float = 60.0
    frames: int = 70


CASES = {
    "square2": Case((64, 80), (10, 4, 56, 56), 70.0, 2.0),
    "odd2": Case((75, 101), (9, 7, 83, 61), 64.5, 2.0, blink=50),
    "odd25": Case((75, 101), (9, 7, 83, 61), 64.5, 2.5, blink=90),
    "whole": Case((51, 67), (0, 0, 67, 51), 72.0, 2.0, ellipse=False),
    "reflector2": Case((75, 101), (9, 7, 83, 61), 64.5, 2.0, ((34, 22, 11, 9),)),
    "reflectors25": Case((75, 101), (9, 7, 83, 61), 70.0, 2.5, ((34, 22, 11, 9), (50, 28, 6, 8))),
}


def frames(case: Case) -> UInt8Image:
    """Return the frames (N, h, w): a dark pupil that moves and grows, glints, noise, two blinks.

    Whole numbers only: numpy's generators give those alike everywhere.
    """
    height, width = case.size
    random = np.random.default_rng([height, width])
    y, x = np.mgrid[:height, :width]
    made = np.empty((case.frames, height, width), np.uint8)
    for t in range(case.frames):
        cx, cy = width // 2 + t % 9 - 4, height // 2 + t % 7 - 3
        radius2 = (height // 8 + t % 11) ** 2
        outside = (x - cx) ** 2 + (1 + (t // 20) % 3) * (y - cy) ** 2 - radius2
        image = np.where(outside < 0, 40, np.where(outside < 3 * radius2 // 2, 84, 110))
        image[(x - width // 2 + 2) ** 2 + (y - height // 2 + 3) ** 2 < 9] = 240
        if t in (30, 31, 50):
            image[:] = 140
        made[t] = image + random.integers(-9, 10, (height, width))
    return made


def ellipse_mask(height: int, width: int, y: int = 0, x: int = 0, h: int = 0, w: int = 0):  # type: ignore[no-untyped-def]
    """Return (height, width) bool: the ellipse that fills a rectangle, the whole by default."""
    h, w = h or height, w or width
    rows = (2 * np.arange(height) - 2 * y - h + 1) ** 2 * w * w
    columns = (2 * np.arange(width) - 2 * x - w + 1) ** 2 * h * h
    return rows[:, None] + columns <= h * h * w * w
