"""Videos for the comparison with Facemap's motion components: the same bytes wherever made."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rtface.types import UInt8Image


class Case(NamedTuple):
    """What Facemap is asked about one video, or several.

    ``sizes`` are height and width per view; ``parts`` says in how many files each view comes.
    ``rois`` are view, x, y, width, height in px.
    """

    sizes: tuple[tuple[int, int], ...]
    bin_px: int
    frames: int = 40
    parts: int = 1
    rois: tuple[tuple[int, int, int, int, int], ...] = ()


#: those whose results are committed
CASES = {
    "square1": Case(((20, 20),), 1),
    "odd2": Case(((31, 45),), 2, rois=((0, 5, 3, 20, 17),)),
    "odd3": Case(((41, 50),), 3, rois=((0, 8, 4, 31, 30),)),
    "odd4": Case(((50, 66),), 4, rois=((0, 8, 4, 43, 37), (0, 1, 21, 30, 29))),
    "two_files": Case(((36, 48),), 2, frames=60, parts=2),
    "two_views": Case(((24, 32), (31, 41)), 2, rois=((1, 6, 2, 20, 20),)),
    # several chunks, whose components Facemap merges
    "long": Case(((24, 32),), 4, frames=2100),
}


def frames(case: Case, view: int = 0) -> UInt8Image:
    """Return the frames (N, h, w) of one view: patterns of different strength, and noise.

    Whole numbers only: numpy's generators give those alike everywhere.
    """
    height, width = case.sizes[view]
    random = np.random.default_rng([height, width, view])
    image = 128 * 64 + 64 * random.integers(-3, 4, (case.frames, height, width))
    for strength in (40, 26, 17, 11, 7):
        coarse = random.integers(-8, 9, (height // 5 + 1, width // 5 + 1))
        pattern = coarse.repeat(5, 0).repeat(5, 1)[:height, :width]
        course = random.integers(-8, 9, case.frames)
        image += strength * course[:, None, None] * pattern
    return np.clip(image // 64, 0, 255).astype(np.uint8)
