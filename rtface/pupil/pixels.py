"""What one frame shows where the eye is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rtface.pupil.box import Region
from rtface.pupil.edge import NO_EDGE, Edge, find_edge
from rtface.pupil.fit import Gaussian, RobustGaussian, inscribed
from rtface.pupil.start import LEAST
from rtface.types import BBox, Image, UserError

#: reflections are looked for within so many radii of the pupil; more of that than this is none
_NEAR, _MOST_GLARE = 1.3, 0.25
#: smaller changes of the light are followed slowly, by this part in every frame
_JUMP, _FOLLOW = 1.1, 0.03


class Pixels:
    """One region of a frame, and what is asked of it. Belongs to one thread.

    Attributes
    ----------
    region : Region
    image : ndarray (h, w) float32
        Its pixels in the latest frame, grey levels.
    light : float
        Brightness of the surround, at least 1; 1 where there is none.
    """

    def __init__(self, region: Region, sigma: float) -> None:
        self.region = region
        shape = region.box.height, region.box.width
        self.image = np.empty(shape, np.float32)
        self.light, self._known = 1.0, False
        self._gaussian = RobustGaussian(shape[0], shape[1], sigma)
        self._excess = np.empty(shape, np.float32)
        self._some = np.empty(shape, bool)
        self._pixels = np.count_nonzero(region.mask)
        self._given: npt.NDArray[np.intp] | None = None

    def hide(self, reflections: Sequence[BBox], frame_shape: tuple[int, int]) -> None:
        """Take ellipses of the full frame as reflections."""
        box, hidden = self.region.box, np.zeros(frame_shape, bool)
        for one in reflections:
            if not one.fits(*frame_shape):
                raise UserError(
                    f"pupil: reflections: {one.x},{one.y},{one.width},{one.height} is not inside "
                    f"the frame of {frame_shape[1]}x{frame_shape[0]}"
                )
            part = hidden[one.y : one.y + one.height, one.x : one.x + one.width]
            part |= inscribed(one.height, one.width)
        mine = hidden[box.y : box.y + box.height, box.x : box.x + box.width]
        self._given = np.flatnonzero(mine)

    def load(self, image: Image) -> None:
        """Copy the region's pixels; measure the light beside the eye."""
        box = self.region.box
        np.copyto(self.image, image[box.y : box.y + box.height, box.x : box.x + box.width])
        beside = self.image.reshape(-1).take(self.region.surround)
        if n := len(beside):
            # its brighter part: corners of a tight box are iris
            light = max(1.0, float(np.partition(beside, 3 * n // 4)[3 * n // 4]))
            # fur that moves makes it tremble, a light that is switched makes it jump
            steady = self._known and 1 / _JUMP < light / self.light < _JUMP
            self.light += (light - self.light) * (_FOLLOW if steady else 1.0)
            self._known = True

    def fit(
        self, saturation: float, sign: int, glare: float, near: Edge | None
    ) -> tuple[Gaussian, float]:
        """Return Facemap's fit and the sum of all weights.

        Pixels brighter than ``glare`` near an outline are reflections, if one is given.
        """
        excess = self._excess
        if sign > 0:
            np.subtract(np.float32(saturation), self.image, out=excess)
        else:
            np.subtract(self.image, np.float32(saturation), out=excess)
        some = np.greater(excess, 0, out=self._some)
        some &= self.region.mask
        flat = excess.reshape(-1)
        at = np.flatnonzero(some)
        weights = flat.take(at).astype(np.float64)
        total = float(weights.sum())
        reflector = self._given if near is None else self._glare(glare, near)
        if reflector is not None and len(reflector):
            some.reshape(-1)[reflector] = False
            at = np.flatnonzero(some)
            weights = flat.take(at).astype(np.float64)
        return self._gaussian(at, weights, reflector), total

    def _glare(self, level: float, near: Edge) -> npt.NDArray[np.intp] | None:
        """Return where the eye is brighter than that near a pupil, and the pixels next to those."""
        height, width = self.image.shape
        reach = _NEAR * math.sqrt(near.area / math.pi)
        top, bottom = max(0, int(near.y - reach)), min(height, int(near.y + reach) + 2)
        left, right = max(0, int(near.x - reach)), min(width, int(near.x + reach) + 2)
        part = self.image[top:bottom, left:right] > np.float32(level)
        part &= self.region.mask[top:bottom, left:right]
        if not 0 < np.count_nonzero(part) < _MOST_GLARE * part.size:
            return None
        for _ in range(2):  # first down and right, then up and left
            part[1:] |= part[:-1]
            part[:, 1:] |= part[:, :-1]
            part = part[::-1, ::-1]
        row, column = np.nonzero(part & self.region.mask[top:bottom, left:right])
        return (row + top) * width + (column + left)

    def seen(self, level: float, bright: float) -> float:
        """Return which part of the eye is darker than lids, or brighter than ``bright``."""
        if math.isnan(level):
            return math.nan
        some = np.less(self.image, np.float32(level), out=self._some)
        if bright < math.inf:
            some |= self.image > np.float32(bright)
        some &= self.region.mask
        return float(np.count_nonzero(some) / self._pixels)

    def edge(self, x: float, y: float, radius: float, sign: int, noise: float) -> Edge:
        """Return the outline about a guess in px of the region."""
        edge = find_edge(self.image, self.region.hidden, x, y, radius, sign, noise)
        return edge if edge.area >= LEAST[sign] ** 2 * self._pixels else NO_EDGE
