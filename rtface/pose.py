"""From camera pixels to the network's input and back: pure numpy, no I/O.

The whole frame, or a box of it, is fitted into the network's input with its aspect ratio kept and
zeros around it; what a box has beyond the frame is zero too. Training uses the same code, so what
the network learned on is what it gets.
"""

from __future__ import annotations

import numpy as np

from rtface.face import Crop, FaceFinder, State
from rtface.percentiles import Normaliser, percentile_affine
from rtface.types import BBox, Engine, Float32Array, Image, Pose, UInt8Image

#: resamplers that are kept, one per size of box: those of a search and some of settling
MOST_SAMPLERS = 8


class Resampler:
    """Fits a frame of one size into the network's input of another.

    Halved by 2x2 means while it is at least twice too large (which keeps thin whiskers from
    aliasing), then bilinear. Buffers are allocated once; one instance belongs to one thread.

    Parameters
    ----------
    frame_shape : (height, width) of the frame, px
    input_shape : (height, width) of the network's input, px
    bbox : BBox, optional
        What to look at; the whole frame by default. May reach beyond the frame, or lie beside it.
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
        self.frame_shape = frame_shape
        self.bbox = bbox or BBox(0, 0, frame_shape[1], frame_shape[0])
        self.shift_bits = max(0, bits - 8)
        height, width = input_shape
        #: source pixels per input pixel
        self.scale = max(self.bbox.width / width, self.bbox.height / height)
        self._fit_h = fit_h = min(height, max(1, round(self.bbox.height / self.scale)))
        self._fit_w = fit_w = min(width, max(1, round(self.bbox.width / self.scale)))
        self.pad_y, self.pad_x = (height - fit_h) // 2, (width - fit_w) // 2
        #: x, y in the frame, px, of the input's first pixel
        self.offset = np.empty(2, np.float32)
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
        #: the part of ``input`` that the box is fitted into
        self._whole: UInt8Image = self.input[
            self.pad_y : self.pad_y + fit_h, self.pad_x : self.pad_x + fit_w
        ]
        shape = self.bbox.height, self.bbox.width
        # of a box that reaches beyond the frame; made now, so that moving allocates nothing
        self._canvas: UInt8Image = np.zeros((0, 0) if shape == frame_shape else shape, np.uint8)
        self.move(self.bbox.x, self.bbox.y)

    def _inside(self) -> bool:
        return self.bbox.fits(*self.frame_shape)

    def move(self, x: int, y: int) -> None:
        """Put the box's left upper corner at x, y of the frame, px; its size stays."""
        box = self.bbox = BBox(x, y, self.bbox.width, self.bbox.height)
        self.offset[0] = x + (0.5 - self.pad_x) * self.scale - 0.5
        self.offset[1] = y + (0.5 - self.pad_y) * self.scale - 0.5
        height, width = self.frame_shape
        left, top = min(max(0, x), width), min(max(0, y), height)
        right, bottom = max(left, min(x + box.width, width)), max(top, min(y + box.height, height))
        self._source = slice(top, bottom), slice(left, right)
        self._sticks_out = not self._inside()
        #: the part of ``input`` that holds pixels of the frame; all of the box where it has none
        self.fitted = self._whole
        if self._sticks_out:
            if not self._canvas.size:
                self._canvas = np.empty((box.height, box.width), np.uint8)
            self._canvas.fill(0)
            self._target = self._canvas[top - y : bottom - y, left - x : right - x]
            rows = self._covered(top - y, bottom - y, self._fit_h)
            columns = self._covered(left - x, right - x, self._fit_w)
            if (part := self._whole[rows, columns]).size:
                self.fitted = part

    def _covered(self, start: int, stop: int, n: int) -> slice:
        """Return which of n fitted pixels have their centre on source pixels start to stop."""
        first = max(0, int(np.ceil((start + 0.5) / self.scale - 0.5)))
        return slice(first, max(first, min(n, int((stop - 0.5) / self.scale - 0.5) + 1)))

    def __call__(self, image: Image) -> UInt8Image:
        """Return the network's input, (height, width) uint8; valid until the next call."""
        np.copyto(self._turned, self._rows(self.halved(image)).T)
        np.copyto(self._whole, self._columns(self._turned).T, casting="unsafe")
        return self.input

    def halved(self, image: Image) -> np.ndarray:
        """Return the bounding box of a frame after its 2x2 means; valid until the next call."""
        part = image[self._source]
        # 8-bit frames are used as they are: astype(copy=False) then is the same array
        small = (part >> self.shift_bits if self.shift_bits else part).astype(np.uint8, copy=False)
        if self._sticks_out:
            np.copyto(self._target, small)
            small = self._canvas
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


class PoseEstimator:
    """One frame in, one pose out: resample, normalise, infer, map back.

    Belongs to the thread that made it. Built for one frame size.

    Parameters
    ----------
    engine : Engine
    frame_shape : (height, width) of the frame, px
    bits : int
        Bits per pixel.
    bbox : BBox, optional
        Look only here; the whole frame by default. Without a meaning where there is a finder.
    finder : FaceFinder, optional
        Says where to look, frame by frame.
    normaliser : Normaliser, optional
        Of the frames once the face is settled on; by each frame's own percentiles by default, and
        always until then.
    """

    def __init__(
        self,
        engine: Engine,
        frame_shape: tuple[int, int],
        bits: int = 8,
        bbox: BBox | None = None,
        finder: FaceFinder | None = None,
        normaliser: Normaliser | None = None,
    ) -> None:
        self.engine, self.finder = engine, finder
        self._normalise = normaliser or percentile_affine
        self.whole = BBox(0, 0, frame_shape[1], frame_shape[0])
        self._box = bbox or self.whole
        self._frame_shape, self._bits = frame_shape, bits
        self._samplers: dict[tuple[int, int], Resampler] = {}
        self._to_frame = np.array([1, 1, 1], np.float32), np.zeros(3, np.float32)
        self._sampler(finder.box if finder else self._box)  # not with the first frame

    def __call__(self, image: Image, frames: int = 1) -> Pose:
        """Return the pose of one image (H, W); its array is the caller's to keep.

        ``frames`` says how many frame periods have passed since the image before.
        """
        finder = self.finder
        if finder is None:
            return self.at(image, self._box)
        pose = self.at(image, finder.box)
        finder.update(pose, frames)
        return pose if finder.face else Pose(pose.keypoints, pose.crop, False)

    def at(self, image: Image, box: BBox) -> Pose:
        """Return the pose of one image seen through a box; the same bits whatever came before."""
        sampler = self._sampler(box)
        network_input = sampler(image)
        settled = self.finder is None or self.finder.state is State.SETTLED
        scale, shift = (self._normalise if settled else percentile_affine)(sampler.fitted)
        keypoints = self.engine.infer(network_input, scale, shift)
        gain, offset = self._to_frame
        gain[:2] = sampler.scale
        offset[:2] = sampler.offset
        return Pose(keypoints * gain + offset, box)

    def _sampler(self, box: BBox) -> Resampler:
        """Return what resamples a box; one per size is kept, and the oldest given up for more."""
        size = box.width, box.height
        sampler = self._samplers.get(size)
        if sampler is None:
            sampler = Resampler(self._frame_shape, self.engine.input_shape, box, self._bits)
            if len(self._samplers) >= MOST_SAMPLERS:
                del self._samplers[next(iter(self._samplers))]
            self._samplers[size] = sampler
        elif sampler.bbox != box:
            sampler.move(box.x, box.y)
        return sampler


def finder_for(
    crop: Crop | None,
    engine: Engine,
    frame_shape: tuple[int, int],
    mode: str = "follow",
    box: BBox | None = None,
    rate_hz: float = 100.0,
) -> FaceFinder | None:
    """Return what finds the face for a network of this ``crop``; None if it has none.

    Parameters
    ----------
    crop : Crop or None
    engine : Engine
    frame_shape : (height, width) of the frame, px
    mode : str
        ``follow``, ``hold``, ``off`` (the whole frame) or ``bbox`` (``box``); with the last two
        it only says whether there is a face.
    box : BBox, optional
    rate_hz : float
        Of the frames.
    """
    if crop is None:
        return None
    if mode == "off":
        box = BBox(0, 0, frame_shape[1], frame_shape[0])
    return FaceFinder(
        frame_shape, engine.names, engine.input_shape, crop, mode == "follow", box, rate_hz
    )


def find_face(estimator: PoseEstimator, image: Image) -> tuple[Pose, BBox]:
    """Return the pose of a still picture (H, W) and the box it was found in.

    Looks again and again, as in a film that stands still, and starts anew with each picture.
    Where no face is found the box is the whole frame and the pose says so.
    """
    finder = estimator.finder
    if finder is None:
        pose = estimator(image)
        return pose, pose.crop or estimator.whole
    finder.restart()
    for _ in range(finder.patience):
        estimator(image)
        if finder.state is State.SETTLED:
            break
    finder.settle_now()
    if finder.state is State.SETTLED:
        return estimator.at(image, finder.box), finder.box
    finder.restart()
    pose = estimator.at(image, finder.box)
    return Pose(pose.keypoints, pose.crop, False), finder.box
