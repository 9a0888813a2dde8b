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

    def fits(self, frame_height: int, frame_width: int) -> bool:
        """Return whether it is a part of a frame of that size, px."""
        inside = self.x + self.width <= frame_width and self.y + self.height <= frame_height
        return inside and min(self.x, self.y) >= 0 and min(self.width, self.height) > 0


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
        #: x, y in the frame, px, of the input's first pixel
        self.offset = np.array(
            [
                self.bbox.x + (0.5 - self.pad_x) * self.scale - 0.5,
                self.bbox.y + (0.5 - self.pad_y) * self.scale - 0.5,
            ],
            np.float32,
        )
        # a strip of a few rows cannot be halved as often as its width asks for
        least = min(self.bbox.width, self.bbox.height)
        halvings = max(0, min(int(np.log2(self.scale)), int(np.log2(least))))
        #: px of the halved frame per input pixel
        self.step = step = self.scale / 2**halvings
        self._halves = [
            _Halving((self.bbox.height >> level, self.bbox.width >> level), level == 0)
            for level in range(halvings)
        ]
        small_h, small_w = self.bbox.height >> halvings, self.bbox.width >> halvings
        self._rows = _Blend(fit_h, small_w, step, small_h)
        # columns are blended as rows of the transposed picture: gathering whole rows is quick
        self._turned = np.empty((small_w, fit_h), np.uint16)
        self._columns = _Blend(fit_w, fit_h, step, small_w)
        self.input: UInt8Image = np.zeros(input_shape, np.uint8)
        #: the part of ``input`` that holds pixels of the frame
        self.fitted: UInt8Image = self.input[
            self.pad_y : self.pad_y + fit_h, self.pad_x : self.pad_x + fit_w
        ]

    def __call__(self, image: Image) -> UInt8Image:
        """Return the network's input, (height, width) uint8; valid until the next call."""
        np.copyto(self._turned, self._rows(self.halved(image)).T)
        np.copyto(self.fitted, self._columns(self._turned).T, casting="unsafe")
        return self.input

    def halved(self, image: Image) -> np.ndarray:
        """Return the bounding box of a frame after its 2x2 means; valid until the next call."""
        box = self.bbox
        part = image[box.y : box.y + box.height, box.x : box.x + box.width]
        # 8-bit frames are used as they are: astype(copy=False) then is the same array
        small = (part >> self.shift_bits if self.shift_bits else part).astype(np.uint8, copy=False)
        for halve in self._halves:
            small = halve(small)
        return small

    def to_frame(self, xy: Float32Array) -> Float32Array:
        """Map (..., 2) px of the input to px of the full frame; pixel centres at integers."""
        return xy * np.float32(self.scale) + self.offset

    def to_input(self, xy: Float32Array) -> Float32Array:
        """Map (..., 2) px of the full frame to px of the input; inverse of ``to_frame``."""
        return (xy - self.offset) / np.float32(self.scale)


class _Blend:
    """Linear interpolation between rows: ``n`` rows out of ``available``, ``step`` rows apart."""

    def __init__(self, n: int, width: int, step: float, available: int) -> None:
        centre = np.clip((np.arange(n) + 0.5) * step - 0.5, 0, available - 1)
        self._first = np.floor(centre).astype(np.intp)
        self._second = np.minimum(self._first + 1, available - 1)
        # weights of 256ths: 255 * 256 still fits into 16 bits
        self._weight_second = np.round((centre - self._first) * 256).astype(np.uint16)[:, None]
        self._weight_first = np.uint16(256) - self._weight_second
        self._out = np.empty((n, width), np.uint16)
        self._other = np.empty_like(self._out)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return (n, width) uint16; valid until the next call."""
        out, other = self._out, self._other
        if image.dtype != np.uint16:
            image = image.astype(np.uint16)
        np.take(image, self._first, axis=0, out=out, mode="clip")
        np.take(image, self._second, axis=0, out=other, mode="clip")
        np.multiply(out, self._weight_first, out=out)
        np.multiply(other, self._weight_second, out=other)
        np.add(out, other, out=out)
        return np.right_shift(out, 8, out=out)


class _Halving:
    """2x2 means of a picture of one size, an odd last row or column left out.

    Two neighbours are seen as the halves of one number twice as wide, so that every pass runs
    over contiguous memory: 1.5 times as fast as adding strided halves.
    """

    def __init__(self, shape: tuple[int, int], eight_bit: bool) -> None:
        self._height, self._width = shape[0] & ~1, shape[1] & ~1
        self._pair = np.uint16 if eight_bit else np.uint32
        self._bits = 8 if eight_bit else 16
        self._sum = np.empty((self._height // 2, self._width // 2), self._pair)
        self._one = np.empty_like(self._sum)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return (height // 2, width // 2) uint16; valid until the next call."""
        pairs = image[: self._height, : self._width].view(self._pair)
        upper, lower = pairs[0::2], pairs[1::2]
        total, one, mask = self._sum, self._one, (1 << self._bits) - 1
        np.bitwise_and(upper, mask, out=total)
        np.add(total, np.right_shift(upper, self._bits, out=one), out=total)
        np.add(total, np.bitwise_and(lower, mask, out=one), out=total)
        np.add(total, np.right_shift(lower, self._bits, out=one), out=total)
        np.right_shift(total, 2, out=total)
        return total.astype(np.uint16, copy=False)


def percentile_affine(image: UInt8Image) -> tuple[float, float]:
    """Return ``(scale, shift)`` that send the 1st percentile to 0 and the 99th to 1.

    Facemap normalises by the same two percentiles (per batch; here per frame, the only causal
    way). Looks at every fourth pixel of every fourth row; never divides by less than one.
    """
    some = image[::4, ::4].flatten()
    some.sort(kind="stable")  # a radix sort for bytes: a third of the time of a histogram
    tail = some.size // 100
    low, high = int(some[tail]), int(some[-1 - tail])
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
        scale = np.float32(self.resampler.scale)
        self._gain = np.array([scale, scale, 1], np.float32)
        self._offset = np.array([*self.resampler.offset, 0], np.float32)

    def __call__(self, image: Image) -> Pose:
        """Return the pose of one image (H, W); its array is the caller's to keep."""
        network_input = self.resampler(image)
        scale, shift = percentile_affine(self.resampler.fitted)
        keypoints = self.engine.infer(network_input, scale, shift)
        return Pose(keypoints * self._gain + self._offset)
