"""Where the eye is: the part of the frame that is looked at, given or placed by keypoints."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rtface.pupil.fit import Mask, inscribed
from rtface.types import BBox, Pose, UserError

#: corners and lids, as networks call them
CORNERS, LIDS = ("eye(front)", "eye(back)"), ("eye(top)", "eye(bottom)")
#: keypoints with lower scores place no box
SURE = 0.25
#: poses whose median places the box
POSES = 15
#: how far the eye moves before the box does, in its width; and how much it grows before a new one
DEAD_BAND, GROWS = 0.04, 0.15
#: part of the way to the lids' edges that is looked at: these are dark, and move a little
INSIDE = 0.9
#: rectangle about the eye, beyond which fur tells how bright the light is
_AROUND, _SURROUND = 1.25, 1.1
#: heights of open lids above and below the corners, half widths of the eye: least and most
_LEAST, _MOST = 0.5, 1.1
#: a shut eye's lids are forgotten within so many poses
_FORGET = 3000
#: pixels of the surround that are looked at
_PIXELS = 400


class Region(NamedTuple):
    """A rectangle of the frame and what is what in it.

    Attributes
    ----------
    box : BBox
        px of the full frame.
    mask : ndarray (h, w) bool
        The eye, where the pupil is looked for.
    hidden : ndarray (h, w) bool
        The rest.
    surround : ndarray (n,) int
        Flat places of pixels beside the eye; none if there are none.
    """

    box: BBox
    mask: Mask
    hidden: Mask
    surround: npt.NDArray[np.intp]

    @classmethod
    def of(cls, box: BBox, mask: Mask, surround: Mask) -> Region:
        """Return the region of a rectangle, its eye and its surround, (h, w) each."""
        at = np.flatnonzero(surround)
        return cls(box, mask, ~mask, np.ascontiguousarray(at[:: max(1, len(at) // _PIXELS)]))


def given_region(
    box: BBox, frame_shape: tuple[int, int], ellipse: Mask | None = None, key: str = "pupil: box"
) -> Region:
    """Return the region of a rectangle that somebody chose.

    Parameters
    ----------
    box : BBox
    frame_shape : (height, width)
        px.
    ellipse : ndarray (h, w) bool, optional
        The eye; the ellipse that fills the rectangle by default, as in Facemap.
    key : str
        What errors call it.

    Raises
    ------
    UserError
        It is not inside the frame, too small, or the ellipse is of another size or empty.
    """
    height, width = frame_shape
    text = f"{key} {box.x},{box.y},{box.width},{box.height}"
    if not box.fits(height, width):
        raise UserError(
            f"{text}: not inside the frame of {width}x{height}; give x,y,width,height in px"
        )
    if min(box.width, box.height) < 8:
        raise UserError(f"{text}: needs at least 8x8 px around an eye")
    shape = box.height, box.width
    if ellipse is None:
        ellipse = inscribed(*shape)
    if ellipse.shape != shape:
        raise UserError(f"{text}: its ellipse is {ellipse.shape}, not {shape} (rows, columns)")
    if not ellipse.any():
        raise UserError(f"{text}: its ellipse holds no pixel")
    return Region.of(box, ellipse, ~ellipse)


class _Eye(NamedTuple):
    """An eye in the frame: middle of its corners, half width, px, direction; lids, half widths."""

    x: float
    y: float
    half: float
    angle: float
    up: float
    down: float


class EyeBox:
    """Places a region by the keypoints of the eye; moves it seldom, and only by whole pixels.

    Corners place it, which no blink moves; lids only say how high the eye is, and those wide open
    count. Belongs to one thread.

    Parameters
    ----------
    frame_shape : (height, width)
        px.
    names : sequence of str
        The network's keypoints.

    Attributes
    ----------
    region : Region or None
        The latest; None until the eye was seen well inside of the frame.

    Raises
    ------
    UserError
        The network lacks keypoints that are needed.
    """

    def __init__(self, frame_shape: tuple[int, int], names: Sequence[str]) -> None:
        if missing := [name for name in (*CORNERS, *LIDS) if name not in names]:
            raise UserError(
                f"pupil: box: the network has no {', '.join(missing)}; give a box in the rig file"
            )
        self._rows = [names.index(name) for name in (*CORNERS, *LIDS)]
        self._frame_shape = frame_shape
        self._recent: deque[_Eye] = deque(maxlen=POSES)
        self._up = self._down = 0.0
        self._placed: _Eye | None = None
        self.region: Region | None = None

    def update(self, pose: Pose) -> Region | None:
        """Take in one pose; return the region for this frame."""
        eye = self._eye(pose.keypoints[self._rows].tolist()) if pose.face else None
        if eye is None:
            return self.region
        self._recent.append(eye)
        columns = zip(*self._recent, strict=True)
        eye = _Eye(*(sorted(values)[len(self._recent) // 2] for values in columns))
        fade = 1 - 1 / _FORGET
        self._up, self._down = max(eye.up, self._up * fade), max(eye.down, self._down * fade)
        self._place(eye._replace(up=max(self._up, _LEAST), down=max(self._down, _LEAST)))
        return self.region

    def _eye(self, points: list[list[float]]) -> _Eye | None:
        """Return the eye that four keypoints show; None if they are no eye."""
        if not all(score > SURE for _, _, score in points):
            return None
        (x0, y0, _), (x1, y1, _), top, bottom = points
        if x0 > x1:  # front and back alike, so that the angle does not turn round
            x0, y0, x1, y1 = x1, y1, x0, y0
        half = math.hypot(x1 - x0, y1 - y0) / 2
        if not 4 <= half < math.inf:
            return None
        x, y, c, s = (x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2 / half, (y1 - y0) / 2 / half
        up, down = (
            ((point[1] - y) * c - (point[0] - x) * s) / half * sign
            for point, sign in ((top, -1), (bottom, 1))
        )
        if not (-_MOST < up < 2 * _MOST and -_MOST < down < 2 * _MOST):
            return None
        return _Eye(x, y, half, math.atan2(s, c), min(up, _MOST), min(down, _MOST))

    def _place(self, eye: _Eye) -> None:
        """Move the region, or make a new one, if the eye is no longer where or as it was."""
        was = self._placed
        if was is None or self.region is None or _differs(eye, was):
            self._placed, self.region = eye, _region_of(eye, self._frame_shape)
            return
        dx, dy = eye.x - was.x, eye.y - was.y
        if math.hypot(dx, dy) > DEAD_BAND * 2 * eye.half:
            box = self.region.box
            moved = box._replace(x=box.x + round(dx), y=box.y + round(dy))
            if moved.fits(*self._frame_shape):
                self._placed = was._replace(x=was.x + round(dx), y=was.y + round(dy))
                self.region = self.region._replace(box=moved)
            else:
                self._placed, self.region = eye, _region_of(eye, self._frame_shape)


def _differs(eye: _Eye, was: _Eye) -> bool:
    ratio = eye.half / was.half
    return (
        not 1 / (1 + GROWS) < ratio < 1 + GROWS
        or abs(eye.angle - was.angle) > GROWS
        or abs(eye.up * ratio - was.up) > GROWS
        or abs(eye.down * ratio - was.down) > GROWS
    )


def _region_of(eye: _Eye, frame_shape: tuple[int, int]) -> Region | None:
    """Return the rectangle around an eye, cut by the frame; None if too little of it is inside."""
    height, width = frame_shape
    c, s = abs(math.cos(eye.angle)), abs(math.sin(eye.angle))
    reach_x = _AROUND * eye.half * math.hypot(c, s * max(eye.up, eye.down))
    reach_up = _AROUND * eye.half * math.hypot(s, c * eye.up)
    reach_down = _AROUND * eye.half * math.hypot(s, c * eye.down)
    left, right = max(0, round(eye.x - reach_x)), min(width, round(eye.x + reach_x) + 1)
    top, bottom = max(0, round(eye.y - reach_up)), min(height, round(eye.y + reach_down) + 1)
    if right - left < 8 or bottom - top < 8:
        return None
    y, x = np.mgrid[top:bottom, left:right]
    dx, dy = (x - eye.x) / eye.half, (y - eye.y) / eye.half
    along = dx * math.cos(eye.angle) + dy * math.sin(eye.angle)
    across = dy * math.cos(eye.angle) - dx * math.sin(eye.angle)
    radius = np.hypot(along, across / np.where(across < 0, eye.up, eye.down))
    mask = radius <= INSIDE
    if not mask.any():
        return None
    return Region.of(BBox(left, top, right - left, bottom - top), mask, radius > _SURROUND)
