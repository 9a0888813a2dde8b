"""Components of every frame, as it comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rtface.motion.binning import Binner
from rtface.motion.masks import AreaMasks, Basis, Masks
from rtface.types import Float32Array, Image, UserError

#: bytes of float32 masks; fewer come from the processor's own memory and gain nothing from 8 bits
SMALL = 2 << 20

#: writes the product of a vector (P,) with masks (P, C) into the second array (C,)
Product = Callable[[Float32Array, Float32Array], object]


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
    """Turns frames into components, in memory made once.

    Keeps the binned frame before. Belongs to one thread.

    Parameters
    ----------
    masks : Masks
    n_components : int, optional
        Only the first so many, or all of an area that has fewer; all by default.
    dtype : dtype
        uint8 or uint16, of the frames.
    fast : bool
        Motion masks of 8 bits, where they are larger than ``SMALL``: components are off by up to a
        hundredth of their standard deviation (``docs/motion.md``). The rest is as without.

    Attributes
    ----------
    note : str
        One line for the user: ``fast`` was asked for and cannot be had here, so masks are float32.
        Empty if there is nothing to say.

    Raises
    ------
    UserError
        Fewer than one component is asked for.
    """

    def __init__(
        self,
        masks: Masks,
        n_components: int | None = None,
        dtype: np.dtype | type = np.uint8,
        fast: bool = False,
    ) -> None:
        if n_components is not None and n_components < 1:
            raise UserError(f"components: at least 1, not {n_components}")
        self._binner = Binner(masks.height, masks.width, masks.bin_px, dtype)
        self._now = np.zeros(self._binner.shape, np.float32)
        self._before = np.zeros(self._binner.shape, np.float32)
        self._moved = np.zeros(self._binner.shape, np.float32)
        self._first = True
        self._areas = [_Area(area, masks, n_components, fast) for area in masks.areas]
        why = next((area.why for area in self._areas if area.why), "")
        self.note = f"fast motion components: {why}; exact ones are computed" if why else ""
        self._projected = Projected(
            np.full(len(self._areas), np.nan, np.float32),
            tuple(area.motion for area in self._areas),
            tuple(area.movie for area in self._areas),
        )

    @property
    def binned(self) -> Float32Array:
        """The binned frame (h, w) of the last call, grey levels; valid until the next."""
        return self._now

    def look(self, image: Image) -> None:
        """See the frame right before that of the next call, without computing anything of it."""
        self._binner(image, self._before)
        self._before, self._now = self._now, self._before
        self._first = False

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
        energy = self._projected.energy
        for i, area in enumerate(self._areas):
            energy[i] = area.project_motion(self._moved) if moving else area.no_motion()
            area.project_movie(self._now)
        return self._projected


class _Area:
    """One area's masks, cut to the components asked for, and its results."""

    def __init__(self, area: AreaMasks, masks: Masks, n: int | None, fast: bool) -> None:
        self._area = area.area
        self._average_motion = area.area.of(masks.average_motion).copy()
        self._average_frame = area.area.of(masks.average_frame).copy()
        self._centred = np.empty_like(self._average_motion)
        self._flat = self._centred.reshape(-1)
        self._row_sums = np.empty(len(self._centred), np.float32)
        n_motion, self._motion_product, self.why = _product(area.motion, n, fast)
        # movie components differ by thousands in size: 8 bits are not enough for the small ones
        n_movie, self._movie_product, _ = _product(area.movie, n, fast=False)
        self.motion = np.full(n_motion, np.nan, np.float32)
        self.movie = np.full(n_movie, np.nan, np.float32)

    def no_motion(self) -> float:
        """Say that nothing is known of the motion."""
        self.motion.fill(np.nan)
        return float("nan")

    def project_motion(self, moved: Float32Array) -> float:
        """Project |difference| (h, w) of the whole frame; return the motion energy."""
        mine = self._area.of(moved)
        # before the masks push it out of the cache; rows of 8-bit frames are exact in float32
        np.add.reduce(mine, axis=1, out=self._row_sums)
        if self.motion.size:
            np.subtract(mine, self._average_motion, out=self._centred)
            self._motion_product(self._flat, self.motion)
        return float(np.add.reduce(self._row_sums, dtype=np.float64))

    def project_movie(self, binned: Float32Array) -> None:
        """Project a binned frame (h, w)."""
        if self.movie.size:
            np.subtract(self._area.of(binned), self._average_frame, out=self._centred)
            self._movie_product(self._flat, self.movie)


def _product(basis: Basis | None, n: int | None, fast: bool) -> tuple[int, Product, str]:
    """Return the number of components, what computes them, and why it is not as fast as asked."""
    if basis is None:
        return 0, lambda _vector, _out: None, ""
    masks = basis.masks[:, :n]
    why = ""
    if fast and masks.nbytes > SMALL:
        # not before it is wanted: ONNX Runtime takes a second to load
        from rtface.motion.int8 import fast_product

        product, why = fast_product(np.ascontiguousarray(masks), basis.singular[:n])
        if product is not None:
            return masks.shape[1], product, ""
    # one component after the other: OpenBLAS takes two thirds of the time on an AMD, 5 % more on an
    # Intel than along the rows of the file
    rows = np.ascontiguousarray(masks.T)
    return len(rows), lambda vector, out: np.dot(rows, vector, out=out), why
