"""Facemap's way from a frame to its network's input and back, for networks that came from it.

Percentiles over the whole frame, then the crop, then zeros around it to a square, then 256x256; and
back without half pixels: input px times a factor, although the resampling puts pixel centres
between whole numbers. For a box of s times 256 px that shifts keypoints by (s - 1) / 2 px. It is
kept because these networks learned it and what was published with them has it.

Pure numpy, no I/O. Facemap normalises a frame first; here the raw pixels are resampled and the
engine normalises, which gives the same numbers: padding then is the 1st percentile, not zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np

from rtface.percentiles import affine, percentiles
from rtface.types import BBox, Engine, Float32Array, Image, Pose

#: ``normalisation`` in the ``model.json`` of a network that is fed this way
NORMALISATION = "facemap"
#: boxes whose tables are kept
MOST_FITS = 8


class FacemapEstimator:
    """One frame in, one pose out, as Facemap does with one frame at a time.

    Belongs to the thread that made it. Built for one frame size. Has no finder: where to look is
    told, as in Facemap.

    Parameters
    ----------
    engine : Engine
        Of a network with a float32 input.
    frame_shape : (height, width), px
    bbox : BBox, optional
        The part of the frame to look at; the whole frame by default.
    """

    finder = None

    def __init__(
        self, engine: Engine, frame_shape: tuple[int, int], bbox: BBox | None = None
    ) -> None:
        self.engine = engine
        # the network takes float32, which Engine's signature does not say
        self._infer = cast("Callable[[Float32Array, float, float], Float32Array]", engine.infer)
        self._box = bbox or BBox(0, 0, frame_shape[1], frame_shape[0])
        self._fits: dict[BBox, SquareFit] = {}
        self.fit(self._box)  # not with the first frame

    def __call__(self, image: Image, frames: int = 1) -> Pose:
        """Return the pose of one image (H, W); its array is the caller's to keep.

        ``frames`` has no effect: nothing is remembered from one image to the next.
        """
        return self.at(image, self._box)

    def at(self, image: Image, box: BBox) -> Pose:
        """Return the pose of one image seen through a box inside it."""
        fit = self.fit(box)
        network_input, scale, shift = prepare(image, fit)
        keypoints = self._infer(network_input, scale, shift)
        return Pose(keypoints * fit.gain + fit.offset, box)

    def fit(self, box: BBox) -> SquareFit:
        """Return what fits a box into the input; a few are kept."""
        if box not in self._fits:
            if len(self._fits) >= MOST_FITS:
                del self._fits[next(iter(self._fits))]
            self._fits[box] = SquareFit(box, self.engine.input_shape)
        return self._fits[box]


def prepare(image: Image, fit: SquareFit) -> tuple[Float32Array, float, float]:
    """Return the network's input (float32, valid until the fit's next call), scale and shift.

    Percentiles are those of the whole image, whatever part of it ``fit`` takes.
    """
    found = percentiles(image, single=True)
    scale, shift = affine(found, least=0.0)
    return fit(image, found.low), scale, shift


class SquareFit:
    """Fits a box of a frame into a square input: padded to a square, then bilinear.

    Nothing is averaged before, also where the box is much larger than the input.

    Parameters
    ----------
    bbox : BBox
    input_shape : (height, width) of the input, px

    Attributes
    ----------
    gain, offset : ndarray (3,) float32
        From keypoints of the input (x, y, score) to those of the frame: times gain plus offset.
    """

    def __init__(self, bbox: BBox, input_shape: tuple[int, int]) -> None:
        self.bbox = bbox
        height, width = input_shape
        short = abs(bbox.height - bbox.width)
        side = max(bbox.height, bbox.width) + short % 2  # whole halves on either side
        top, left = (side - bbox.height) // 2, (side - bbox.width) // 2
        self.gain = np.array([side / width, side / height, 1], np.float32)
        self.offset = np.array([bbox.x - left, bbox.y - top, 0], np.float32)
        self._rows = _Taps(height, side, top, bbox.height)
        self._columns = _Taps(width, side, left, bbox.width)
        inside = self._rows.inside[:, None] * self._columns.inside[None, :]
        self._padding = 1 - inside
        self._input = np.empty(input_shape, np.float32)
        self._drawn = self._input[self._rows.drawn, self._columns.drawn]

    def __call__(self, image: Image, padding: float) -> Float32Array:
        """Return the input (height, width) float32; valid until the next call.

        ``padding`` is the grey level around the box.
        """
        box = self.bbox
        part = image[box.y : box.y + box.height, box.x : box.x + box.width]
        # columns are taken as rows of the transposed picture: whole rows are quick to gather
        turned = np.ascontiguousarray(self._rows(part).T)
        np.multiply(self._padding, np.float32(padding), out=self._input)
        self._drawn += self._columns(turned).T
        return self._input


class _Taps:
    """Which two rows make each of ``n`` rows, and how much of each; those of padding count 0.

    ``side`` rows are resampled to ``n``; ``own`` of them are the picture's, from ``before`` on.
    In single precision throughout, as torch computes them.

    Attributes
    ----------
    inside : ndarray (n,) float32
        Share of each row that comes from the picture.
    drawn : slice
        Rows of which any does.
    """

    def __init__(self, n: int, side: int, before: int, own: int) -> None:
        step = np.float32(side) / np.float32(n)
        half = np.float32(0.5)
        centre = np.maximum(step * (np.arange(n, dtype=np.float32) + half) - half, np.float32(0))
        first = centre.astype(np.int64)
        second = np.minimum(first + 1, side - 1)
        weight = centre - first.astype(np.float32)
        self._taken, self._weights = [], []
        for row, share in ((first - before, 1 - weight), (second - before, weight)):
            here = (row >= 0) & (row < own)
            self._taken.append(np.clip(row, 0, own - 1))
            self._weights.append((share * here).astype(np.float32)[:, None])
        self.inside: Float32Array = (self._weights[0] + self._weights[1])[:, 0]
        there = np.flatnonzero(self.inside)  # none, of a box that lies between two rows
        self.drawn = slice(there[0], there[-1] + 1) if there.size else slice(0)
        self._taken = [rows[self.drawn] for rows in self._taken]
        self._weights = [shares[self.drawn] for shares in self._weights]

    def __call__(self, image: np.ndarray) -> Float32Array:
        """Return the rows ``drawn`` (up to n, width) float32 of a picture (own, width)."""
        out: Float32Array = image[self._taken[0]] * self._weights[0]
        out += image[self._taken[1]] * self._weights[1]
        return out


def facemap_estimator(
    normalisation: str, engine: Engine, frame_shape: tuple[int, int], bbox: BBox | None = None
) -> FacemapEstimator | None:
    """Return an estimator for a network that is fed Facemap's way, None for every other.

    Parameters
    ----------
    normalisation : str
        Of the bundle.
    engine : Engine
    frame_shape : (height, width), px
    bbox : BBox, optional
    """
    if normalisation != NORMALISATION:
        return None
    return FacemapEstimator(engine, frame_shape, bbox)
