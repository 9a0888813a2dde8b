"""The treadmill's shift: known ones, whole and broken, and when there is none."""

import math
from functools import cache

import numpy as np
import pytest

from rtface.running import RunningEstimator
from rtface.types import BBox, UInt8Image, UserError

ROI = BBox(20, 10, 120, 100)


#: parts of a pixel that the texture is made in
FINE = 8


@cache
def texture() -> np.ndarray:
    """Random specks, FINE times as fine as a camera's pixels; soft over two of those."""
    specks = np.random.default_rng(0).normal(0, 1, (280 * FINE, 320 * FINE))
    for axis in (0, 1):
        sums = np.moveaxis(np.cumsum(specks, axis), axis, 0)
        specks = np.moveaxis(sums[2 * FINE :] - sums[: -2 * FINE], 0, axis)
    return specks / specks.std()


def belt(dy: float, dx: float) -> UInt8Image:
    """What a camera sees of it, moved down and right by eighths of a pixel, with noise."""
    y, x = round((60 - dy) * FINE), round((60 - dx) * FINE)
    image = texture()[y : y + 130 * FINE : FINE, x : x + 170 * FINE : FINE]
    noise = np.random.default_rng([round(dy * FINE) + 999, round(dx * FINE) + 999])
    return np.clip(120 + 30 * image + noise.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("shift", [(3, -2), (0, 0), (-7, 11), (1.5, 0.25), (-0.375, 4.75), (30, 0)])
def test_known_shifts(shift: tuple[float, float]) -> None:
    running = RunningEstimator(ROI, (130, 170))
    dy, dx = shift
    assert math.isnan(running(belt(0, 0), True).dy)
    found = running(belt(dy, dx), True)
    assert (found.dy, found.dx) == pytest.approx(shift, abs=0.1)
    assert (found.dy_whole, found.dx_whole) == pytest.approx(shift, abs=0.51)
    assert float(found.dy_whole).is_integer()


def test_only_consecutive_frames_are_compared() -> None:
    running = RunningEstimator(ROI, (130, 170))
    running(belt(0, 0), True)
    assert all(math.isnan(value) for value in running(belt(3, 0), False))
    # the frame that was not consecutive is what the next is compared with
    assert running(belt(5, 0), True).dy == pytest.approx(2, abs=0.1)


def test_sixteen_bit_and_light_that_changes() -> None:
    running = RunningEstimator(ROI, (130, 170), np.uint16)
    running(belt(0, 0).astype(np.uint16) * 200, True)
    found = running(belt(2, -4).astype(np.uint16) * 90, True)
    assert (found.dy, found.dx) == pytest.approx((2, -4), abs=0.1)


def test_nothing_to_see() -> None:
    running = RunningEstimator(ROI, (130, 170))
    even = np.full((130, 170), 90, np.uint8)
    for _ in range(2):
        found = running(even, True)
    assert all(math.isnan(value) for value in found)


def test_bad_rois() -> None:
    with pytest.raises(UserError, match=r"running: roi 100,10,80,20: not inside .* 170x130"):
        RunningEstimator(BBox(100, 10, 80, 20), (130, 170))
    with pytest.raises(UserError, match="at least 16x16"):
        RunningEstimator(BBox(100, 10, 8, 20), (130, 170))
    with pytest.raises(ValueError, match="needs uint8"):
        RunningEstimator(ROI, (130, 170))(np.zeros((130, 170), np.uint16), True)
