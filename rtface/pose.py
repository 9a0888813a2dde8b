"""From camera pixels to the network's input and back: pure numpy, no I/O.

The whole frame (or a fixed bounding box of it) is fitted into the network's input with its aspect
ratio kept and zeros around it. Training uses the same code, so what the network learned on is what
it gets.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rtface.types import Engine, Float32Array, Image, Pose, UInt8Image


class BBox(NamedTuple):
    """A rectangle of the sensor frame in px: left, top, width, height."""

    x: int
    y: int
    width: int
    height: int


class Resampler:
    """Fits a frame of one size into the network's input of another.

    Halved by 2x2 means while it is at least twice too large (which keeps thin whiskers from
    aliasing), then bilinear. Buffers are allocated once; one instance belongs to one thread.

    Parameters
    ----------
    frame_shape : (height, width) of the frame, px
    input_shape : (height, width) of the network's input, px
    bbox : BBox, optional
        The part of the frame to look at; the whole frame by default.
    bits : int
        Bits per pixel; above 8 the lowest are dropped for the network.
    """

    def __init__(
        self,
        frame_shape: tuple[int, int],
        input_shape: tuple[int, int],
        bbox: BBox | None = None,
        bits: int = 8,
    ) -> None:
        self.bbox = bbox or BBox(0, 0, frame_shape[1], frame_shape[0])
        self.shift_bits = max(0, bits - 8)
        height, width = input_shape
        #: source pixels per input pixel
        self.scale = max(self.bbox.width / width, self.bbox.height / height)
        fit_h = min(height, max(1, round(self.bbox.height / self.scale)))
        fit_w = min(width, max(1, round(self.bbox.width / self.scale)))
        self.pad_y, self.pad_x = (height - fit_h) // 2, (width - fit_w) // 2
        self.halvings = max(0, int(np.log2(self.scale)))
        step = self.scale / 2**self.halvings
        small_h, small_w = self.bbox.height >> self.halvings, self.bbox.width >> self.halvings
        self._row0, self._row1, row_frac = _taps(fit_h, step, small_h)
        self._col0, self._col1, col_frac = _taps(fit_w, step, small_w)
        self._row_frac, self._col_frac = row_frac[:, None], col_frac
        self._rows0 = np.empty((fit_h, small_w), np.uint8)
        self._rows1 = np.empty_like(self._rows0)
        self._rows = np.empty((fit_h, small_w), np.uint16)
        self._rows_b = np.empty_like(self._rows)
        self._cols = np.empty((fit_h, fit_w), np.uint16)
        self._cols_b = np.empty_like(self._cols)
        self.input: UInt8Image = np.zeros(input_shape, np.uint8)
        #: the part of ``input`` that holds pixels of the frame
        self.fitted: UInt8Image = self.input[
            self.pad_y : self.pad_y + fit_h, self.pad_x : self.pad_x + fit_w
        ]

    def __call__(self, image: Image) -> UInt8Image:
        """Return the network's input, (height, width) uint8; valid until the next call."""
        box = self.bbox
        part = image[box.y : box.y + box.height, box.x : box.x + box.width]
        # 8-bit frames are used as they are: astype(copy=False) then is the same array
        small = (part >> self.shift_bits if self.shift_bits else part).astype(np.uint8, copy=False)
        for _ in range(self.halvings):
            small = _halve(small)
        np.take(small, self._row0, axis=0, out=self._rows0, mode="clip")
        np.take(small, self._row1, axis=0, out=self._rows1, mode="clip")
        _blend(self._rows0, self._rows1, self._row_frac, self._rows, self._rows_b)
        np.take(self._rows, self._col0, axis=1, out=self._cols, mode="clip")
        np.take(self._rows, self._col1, axis=1, out=self._cols_b, mode="clip")
        _blend(self._cols, self._cols_b, self._col_frac, self._cols, self._cols_b)
        self.fitted[...] = self._cols
        return self.input

    def to_frame(self, xy: Float32Array) -> Float32Array:
        """Map (..., 2) px of the input to px of the full frame; pixel centres at integers."""
        box = self.bbox
        offset = np.array(
            [
                box.x + (0.5 - self.pad_x) * self.scale - 0.5,
                box.y + (0.5 - self.pad_y) * self.scale - 0.5,
            ],
            np.float32,
        )
        return xy * np.float32(self.scale) + offset

    def to_input(self, xy: Float32Array) -> Float32Array:
        """Map (..., 2) px of the full frame to px of the input; inverse of ``to_frame``."""
        zero = self.to_frame(np.zeros(2, np.float32))
        return (xy - zero) / np.float32(self.scale)


def _taps(n: int, step: float, available: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for n output pixels their two source indices and the weight (of 256) of the second."""
    centre = np.clip((np.arange(n) + 0.5) * step - 0.5, 0, available - 1)
    first = np.floor(centre).astype(np.intp)
    second = np.minimum(first + 1, available - 1)
    return first, second, np.round((centre - first) * 256).astype(np.uint16)


def _blend(
    a: np.ndarray, b: np.ndarray, weight_b: np.ndarray, out: np.ndarray, scratch: np.ndarray
) -> None:
    """Write ``a`` and ``b`` mixed by ``weight_b``/256 into the uint16 ``out``."""
    np.multiply(b, weight_b, out=scratch)
    np.multiply(a, np.uint16(256) - weight_b, out=out)
    np.add(out, scratch, out=out)
    np.right_shift(out, 8, out=out)


def _halve(image: UInt8Image) -> UInt8Image:
    height, width = image.shape[0] & ~1, image.shape[1] & ~1
    rows = image[0:height:2].astype(np.uint16)
    rows += image[1:height:2]
    total = rows[:, 0:width:2] + rows[:, 1:width:2]
    total >>= 2
    return total.astype(np.uint8)


def percentile_affine(image: UInt8Image) -> tuple[float, float]:
    """Return ``(scale, shift)`` that send the 1st percentile to 0 and the 99th to 1.

    Facemap normalises by the same two percentiles (per batch; here per frame, the only causal
    way). Computed on every second pixel of every second row; never divides by less than one.
    """
    counts = np.bincount(image[::2, ::2].ravel(), minlength=256)
    total = np.cumsum(counts)
    low = int(np.searchsorted(total, 0.01 * total[-1]))
    high = int(np.searchsorted(total, 0.99 * total[-1]))
    scale = 1.0 / max(1, high - low)
    return scale, -low * scale


class PoseEstimator:
    """One frame in, one pose out: resample, normalise, infer, map back.

    Belongs to the thread that made it. Built for one frame size.
    """

    def __init__(
        self, engine: Engine, frame_shape: tuple[int, int], bits: int = 8, bbox: BBox | None = None
    ) -> None:
        self.engine = engine
        self.resampler = Resampler(frame_shape, engine.input_shape, bbox, bits)

    def __call__(self, image: Image) -> Pose:
        """Return the pose of one image (H, W); the arrays are the caller's to keep."""
        network_input = self.resampler(image)
        scale, shift = percentile_affine(self.resampler.fitted)
        keypoints = self.engine.infer(network_input, scale, shift)
        return Pose(self.resampler.to_frame(keypoints[:, :2]), keypoints[:, 2].copy())
