"""Components of every frame, as it comes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rtface.motion.binning import Binner
from rtface.motion.masks import AreaMasks, Basis, Masks
from rtface.types import Float32Array, Image, UserError


class Projected(NamedTuple):
    """What one frame gave, per area in the order of the masks; valid until the next call.

    Attributes
    ----------
    energy : ndarray (A,) float32
        Motion energy (Facemap's ``motion``): sum of |difference| over the bins of the area, grey
        levels. NaN without a frame right before.
    motion : tuple of ndarray (C,) float32
        Facemap's ``motSVD``, of (|difference| - average motion); NaN without a frame right before.
        Length 0 where there are no such masks.
    movie : tuple of ndarray (C,) float32
        Facemap's ``movSVD``, of (frame - average frame): needs no frame before. Length 0 likewise.
    """

    energy: Float32Array
    motion: tuple[Float32Array, ...]
    movie: tuple[Float32Array, ...]


class Projector:
    """Turns frames into components, in float32, in memory made once.

    Keeps the binned frame before. Belongs to one thread.

    Parameters
    ----------
    masks : Masks
    n_components : int, optional
        Only the first so many, or all of an area that has fewer; all by default.
    dtype : dtype
        uint8 or uint16, of the frames.
    """

    def __init__(
        self,
        masks: Masks,
        n_components: int | None = None,
        dtype: np.dtype | type = np.uint8,
    ) -> None:
        if n_components is not None and n_components < 1:
            raise UserError(f"components: at least 1, not {n_components}")
        self._binner = Binner(masks.height, masks.width, masks.bin_px, dtype)
        self._now = np.zeros(self._binner.shape, np.float32)
        self._before = np.zeros(self._binner.shape, np.float32)
        self._moved = np.zeros(self._binner.shape, np.float32)
        self._first = True
        self._areas = [_Area(area, masks, n_components) for area in masks.areas]
        #: what the last call returned
        self.projected = Projected(
            np.full(len(self._areas), np.nan, np.float32),
            tuple(area.motion for area in self._areas),
            tuple(area.movie for area in self._areas),
        )

    def __call__(self, image: Image, consecutive: bool) -> Projected:
        """Return the components of the next frame.

        Parameters
        ----------
        image : ndarray (H, W), of the dtype given
        consecutive : bool
            Whether it is the very next exposure, one period after the frame of the call before.
            If not, there is no motion to speak of: NaN. So for the first frame, whatever is said.

        Raises
        ------
        ValueError
            The image is of another size or type than the masks' frames.
        """
        self._binner(image, self._before)  # raises before anything changes
        self._before, self._now = self._now, self._before
        moving = consecutive and not self._first
        self._first = False
        if moving:
            np.subtract(self._now, self._before, out=self._moved)
            np.abs(self._moved, out=self._moved)
        energy = self.projected.energy
        for i, area in enumerate(self._areas):
            energy[i] = area.project_motion(self._moved) if moving else area.no_motion()
            area.project_movie(self._now)
        return self.projected


class _Area:
    """One area's masks, cut to the components asked for, and its results."""

    def __init__(self, area: AreaMasks, masks: Masks, n_components: int | None) -> None:
        self._area = area.area
        self._motion_masks = _first(area.motion, area.area.pixels, n_components)
        self._movie_masks = _first(area.movie, area.area.pixels, n_components)
        self._average_motion = area.area.of(masks.average_motion).copy()
        self._average_frame = area.area.of(masks.average_frame).copy()
        self._centred = np.empty_like(self._average_motion)
        self._flat = self._centred.reshape(-1)
        self.motion = np.full(len(self._motion_masks), np.nan, np.float32)
        self.movie = np.full(len(self._movie_masks), np.nan, np.float32)

    def no_motion(self) -> float:
        """Say that nothing is known of the motion."""
        self.motion.fill(np.nan)
        return float("nan")

    def project_motion(self, moved: Float32Array) -> float:
        """Project |difference| (h, w) of the whole frame; return the motion energy."""
        mine = self._area.of(moved)
        if self.motion.size:
            np.subtract(mine, self._average_motion, out=self._centred)
            np.dot(self._motion_masks, self._flat, out=self.motion)
        return float(np.sum(mine, dtype=np.float64))

    def project_movie(self, binned: Float32Array) -> None:
        """Project a binned frame (h, w)."""
        if self.movie.size:
            np.subtract(self._area.of(binned), self._average_frame, out=self._centred)
            np.dot(self._movie_masks, self._flat, out=self.movie)


def _first(basis: Basis | None, pixels: int, n: int | None) -> Float32Array:
    """Return the first ``n`` masks (n, P), each in one piece, which is read fastest."""
    if basis is None:
        return np.empty((0, pixels), np.float32)
    return np.ascontiguousarray(basis.masks.T[:n])
