"""Frames averaged over blocks of pixels, and rectangles of such blocks, as Facemap means them."""

from __future__ import annotations

from math import gcd
from typing import NamedTuple

import numpy as np

from rtface.types import Float32Array, Image, UserError, expect_frame

#: px; sums of larger blocks of 16-bit pixels would no longer be exact
MOST_BIN = 16


class Area(NamedTuple):
    """A rectangle of a binned frame, in bins: rows ``y0`` to ``y1``, columns ``x0`` to ``x1``.

    The ends are not part of it.
    """

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def pixels(self) -> int:
        """How many bins there are in it."""
        return (self.y1 - self.y0) * (self.x1 - self.x0)

    def of(self, binned: Float32Array) -> Float32Array:
        """Return the view of this rectangle in a binned frame (h, w)."""
        return binned[self.y0 : self.y1, self.x0 : self.x1]


def binned_shape(height: int, width: int, bin_px: int) -> tuple[int, int]:
    """Return rows and columns of a binned frame: bins cut by the bottom or right edge are left out.

    Raises
    ------
    UserError
        ``bin_px`` is none that can be used for frames of this size.
    """
    if not 1 <= bin_px <= MOST_BIN or bin_px > min(height, width):
        most = min(MOST_BIN, height, width)
        raise UserError(f"bin: 1 to {most} px for frames of {width}x{height}, not {bin_px}")
    return height // bin_px, width // bin_px


def roi_area(roi: tuple[int, int, int, int], height: int, width: int, bin_px: int) -> Area:
    """Return which bins a rectangle of pixels covers in Facemap's way of counting.

    Facemap lets the rows end before the bin of the last row of pixels, and the columns only after
    the bin of the last column unless that begins a bin: up to one bin more. Where this reaches
    beyond the frame, which stops Facemap, it ends there.

    Parameters
    ----------
    roi : tuple of int
        x, y, width, height in full-frame px.

    Raises
    ------
    UserError
        Part of it lies outside the frame, or there is no whole bin in it.
    """
    x, y, w, h = roi
    text = f"ROI {x},{y},{w},{h}"
    if min(x, y) < 0 or min(w, h) < 1 or x + w > width or y + h > height:
        raise UserError(
            f"{text}: not inside the frame of {width}x{height}; give x,y,width,height in px"
        )
    rows, columns = binned_shape(height, width, bin_px)
    y1, x1 = (y + h - 1) // bin_px, -(-(x + w - 1) // bin_px)
    area = Area(y // bin_px, min(y1, rows), x // bin_px, min(x1, columns))
    if area.y1 <= area.y0 or area.x1 <= area.x0:
        raise UserError(f"{text}: holds no bin of {bin_px} px; make it larger or the bin smaller")
    return area


class Binner:
    """Averages frames over blocks of ``bin_px`` x ``bin_px`` pixels, into memory made once.

    Exact: whole sums, divided once, so that the result is the nearest float32 to the mean.

    Parameters
    ----------
    height, width : int
        Of the frames, px.
    bin_px : int
        Side of a block, px.
    dtype : dtype
        uint8 or uint16, of the frames; float32 of frames that are binned already (``bin_px`` 1).
    """

    def __init__(self, height: int, width: int, bin_px: int, dtype: np.dtype | type) -> None:
        rows, columns = binned_shape(height, width, bin_px)
        self.shape = rows, columns
        self._frame = height, width
        self._dtype = np.dtype(dtype)
        if self._dtype not in (np.uint8, np.uint16) and (bin_px > 1 or self._dtype != np.float32):
            raise ValueError(f"frames of {self._dtype}: needs uint8 or uint16")
        self._bin = bin_px
        # 16 x 16 pixels of 8 bits fit 16, which halves the time
        sums = np.uint16 if self._dtype == np.uint8 else np.uint32
        self._rows = np.empty((rows, columns * bin_px), sums)
        # columns side by side are added within machine words: times 1, 1, 1, 1 (as numbers of so
        # many bits) the uppermost is the sum of all; half the time of slices
        bits = 8 * self._rows.itemsize
        lanes = gcd(bin_px, 64 // bits)
        self._words = self._rows.view(f"u{lanes * self._rows.itemsize}")
        self._ones = self._words.dtype.type(sum(1 << bits * i for i in range(lanes)))
        self._top = self._words.dtype.type(bits * (lanes - 1))
        self._per_bin = bin_px // lanes
        self._sums = np.empty((rows, columns), self._words.dtype)

    def __call__(self, image: Image | Float32Array, out: Float32Array) -> None:
        """Write the binned frame (h, w) of an image (height, width) into ``out``.

        Raises ValueError if the image is of another size or type.
        """
        expect_frame(image, self._frame, self._dtype)
        if self._bin == 1:
            np.copyto(out, image, casting="unsafe")
            return
        b, (h, w) = self._bin, self.shape
        pixels = image[: h * b, : w * b]
        _add(self._rows, [pixels[i::b] for i in range(b)])
        words, sums, n = self._words, self._sums, self._per_bin
        if n < b:
            np.multiply(words, self._ones, out=words)
            np.right_shift(words, self._top, out=words)
        if n > 1:
            _add(sums, [words[:, i::n] for i in range(n)])
        else:
            sums = words
        np.divide(sums, np.float32(b * b), out=out, dtype=np.float32, casting="unsafe")


def _add(out: np.ndarray, parts: list[np.ndarray]) -> None:
    # slices instead of a sum over an axis: a fifth of the time
    np.add(parts[0], parts[1], out=out, dtype=out.dtype)
    for part in parts[2:]:
        np.add(out, part, out=out)
