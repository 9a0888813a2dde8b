"""How far a treadmill moved between two frames: phase correlation, as Facemap means it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rtface.types import BBox, Float32Array, Image, UserError, expect_frame

#: px; a Gaussian of that width is what the correlation of an exact shift looks like
_BLUR_PX = 2.0
#: of the shorter side of the ROI: the largest shift that is found
_REACH = 0.4
#: of the ROI's size: how soft its edges are faded out
_FADE = 0.01
_LEAST_PX = 16


class Running(NamedTuple):
    """Shift of the pattern since the frame before, px per frame; down and right are positive.

    NaN where there is no frame right before.

    Attributes
    ----------
    dy, dx : float
        To a fraction of a pixel.
    dy_whole, dx_whole : float
        Facemap's ``running``: whole pixels.
    """

    dy: float
    dx: float
    dy_whole: float
    dx_whole: float


#: nothing is known
NO_RUNNING = Running(math.nan, math.nan, math.nan, math.nan)


class RunningEstimator:
    """Compares each frame's ROI with that of the frame before. Belongs to one thread.

    Facemap 1.0.8 has the same steps but loses the transforms: the numbers in its files say nothing.

    Parameters
    ----------
    roi : BBox
        Px of the full frame, where the belt or wheel shows its texture.
    frame_shape : (height, width)
        Px.
    dtype : dtype
        uint8 or uint16, of the frames.

    Raises
    ------
    UserError
        The ROI is not inside the frame, or too small.
    """

    def __init__(
        self, roi: BBox, frame_shape: tuple[int, int], dtype: np.dtype | type = np.uint8
    ) -> None:
        height, width = frame_shape
        text = f"running: roi {roi.x},{roi.y},{roi.width},{roi.height}"
        if not roi.fits(height, width):
            raise UserError(
                f"{text}: not inside the frame of {width}x{height}; give x,y,width,height in px"
            )
        if min(roi.width, roi.height) < _LEAST_PX:
            raise UserError(f"{text}: needs at least {_LEAST_PX}x{_LEAST_PX} px")
        self._roi, self._frame_shape, self._dtype = roi, frame_shape, np.dtype(dtype)
        h, w = roi.height, roi.width
        self._fade = _taper(h, w)
        # of a Gaussian of weight 1 about (0, 0)
        ky, kx = np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w)
        self._blur = np.exp(-2 * (np.pi * _BLUR_PX) ** 2 * (ky**2 + kx**2)).astype(np.float32)
        self._reach = int(_REACH * min(h, w))
        self._before: npt.NDArray[np.complex64] | None = None

    def __call__(self, image: Image, consecutive: bool) -> Running:
        """Return how far the pattern moved.

        Parameters
        ----------
        image : ndarray (H, W), of the dtype given
        consecutive : bool
            Whether it is the very next exposure after the frame of the call before.

        Raises
        ------
        ValueError
            The image is of another size or type.
        """
        expect_frame(image, self._frame_shape, self._dtype)
        roi = self._roi
        part = image[roi.y : roi.y + roi.height, roi.x : roi.x + roi.width].astype(np.float32)
        part -= part.mean()
        part *= self._fade
        now = np.fft.rfft2(part).astype(np.complex64)
        size = np.abs(now)
        np.maximum(size, 1e-5 * float(size.max()) + 1e-12, out=size)
        now /= size
        before, self._before = self._before, now
        if before is None or not consecutive:
            return NO_RUNNING
        product = now * np.conj(before)
        product *= self._blur
        return self._peak(np.fft.irfft2(product, part.shape))

    def _peak(self, correlation: npt.NDArray[np.floating]) -> Running:
        """Return the shift of the largest correlation within reach."""
        reach = self._reach
        shifts = np.arange(-reach, reach + 1)
        near = correlation[np.ix_(shifts, shifts)]
        at = int(near.argmax())
        row, column = divmod(at, len(shifts))
        dy, dx = row - reach, column - reach
        h, w = correlation.shape
        vertical = [float(correlation[(dy + i) % h, dx % w]) for i in (-1, 0, 1)]
        across = [float(correlation[dy % h, (dx + i) % w]) for i in (-1, 0, 1)]
        if not vertical[1] > 0:  # nothing in common, or an even picture
            return NO_RUNNING
        return Running(dy + _vertex(vertical), dx + _vertex(across), dy, dx)


def _vertex(values: list[float]) -> float:
    """Return where, from the middle of three, a Gaussian through them has its peak: +-0.5."""
    if min(values) <= 0:
        return 0.0
    low, middle, high = (math.log(value) for value in values)
    bend = low - 2 * middle + high
    return max(-0.5, min(0.5, (low - high) / (2 * bend))) if bend < 0 else 0.0


def _taper(height: int, width: int) -> Float32Array:
    """Return weights (height, width) that fall off towards the edges as a sigmoid."""
    soft = _FADE * math.sqrt(height * width)

    def side(n: int) -> npt.NDArray[np.float64]:
        from_edge = np.minimum(np.arange(n), np.arange(n)[::-1])
        # half at two widths of the sigmoid from the edge
        return np.asarray(1 / (1 + np.exp(-(from_edge - 2 * soft) / soft)))

    return (side(height)[:, None] * side(width)).astype(np.float32)
