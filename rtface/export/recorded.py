"""What a session has of one camera, one row per frame of its video: what exporters write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from rtface.motion.masks import Masks
from rtface.types import Float32Array

Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


class Rows(NamedTuple):
    """Rows (N, C) float32 that are made when they are asked for, so that memory need not hold them.

    Attributes
    ----------
    shape : (int, int)
    pieces : callable
        Returns an iterator over arrays (M, C) that make up the rows, in order; may be called again.
    """

    shape: tuple[int, int]
    pieces: Callable[[], Iterator[Float32Array]]


def pieces_of(values: Float32Array | Rows) -> Iterator[Float32Array]:
    """Yield rows piece by piece, wherever they are."""
    return values.pieces() if isinstance(values, Rows) else iter((values,))


class Motion(NamedTuple):
    """Motion and movie components; A areas in the order of the masks.

    Attributes
    ----------
    masks : Masks
    energy : ndarray (N, A) float32
        Sum of |difference| over the bins of the area, grey levels; NaN where it is not known.
    motion, movie : tuple of ndarray (N, C) float32, or of Rows
        One per area, C at most that of its masks; (N, 0) where there are no such masks. NaN in all
        of a row where it is not known.
    """

    masks: Masks
    energy: Float32Array
    motion: tuple[Float32Array | Rows, ...]
    movie: tuple[Float32Array | Rows, ...]


class Roi(NamedTuple):
    """A part of the frame that pupil, blink or running are taken from.

    Attributes
    ----------
    kind : "pupil", "blink" or "running"
    x, y, width, height : int
        px.
    saturation : float
        Grey level; what is brighter does not count.
    sigma : float
        Of the pupil's fit, standard deviations.
    inside : ndarray (height, width) bool, optional
        Which pixels count; those of the largest ellipse by default.
    reflection : ndarray (height, width) bool, optional
        Pixels of corneal reflections.
    """

    kind: Literal["pupil", "blink", "running"]
    x: int
    y: int
    width: int
    height: int
    saturation: float = 255.0
    sigma: float = 2.0
    inside: BoolArray | None = None
    reflection: BoolArray | None = None


class Pupil(NamedTuple):
    """A pupil as Facemap describes it; NaN in frames without one, or that were not tracked.

    Attributes
    ----------
    roi : Roi
    area : ndarray (N,) float64
        px².
    centre : ndarray (N, 2) float64
        Row and column in the ROI, px.
    axes : ndarray (N, 2, 2) float64
        Eigenvectors of the ellipse.
    squared_radii : ndarray (N, 2) float64
        Squared semi-axes, px² (Facemap's ``axlen``).
    area_smooth, centre_smooth : ndarray, optional
        As ``area`` and ``centre``, smoothed; by default those with gaps filled along a line.
    """

    roi: Roi
    area: Float64Array
    centre: Float64Array
    axes: Float64Array
    squared_radii: Float64Array
    area_smooth: Float64Array | None = None
    centre_smooth: Float64Array | None = None


class Trace(NamedTuple):
    """Blink (N,) or running (N, 2: down and right, px per frame), float64; NaN where not known."""

    roi: Roi
    values: Float64Array


class Recorded(NamedTuple):
    """One camera of a session; N frames, all that its video has, in order.

    Attributes
    ----------
    height, width : int
        Of the frames, px.
    frame_seq : ndarray (N,) int64
        Of the frames; grows, with gaps where frames have no pixels.
    names : tuple of str
        The keypoints.
    keypoints : ndarray (N, K, 3) float32
        x, y (px), score; NaN, NaN, 0 in frames that were not tracked.
    tracked : ndarray (N,) bool
    tracks_per_s : float
        1 / mean time of tracking a frame, from reading it to its finished keypoints; NaN if no
        result says.
    motion : Motion, optional
    pupils, blinks, running : tuple
        One for each ROI.
    """

    height: int
    width: int
    frame_seq: npt.NDArray[np.int64]
    names: tuple[str, ...]
    keypoints: Float32Array
    tracked: BoolArray
    tracks_per_s: float = float("nan")
    motion: Motion | None = None
    pupils: tuple[Pupil, ...] = ()
    blinks: tuple[Trace, ...] = ()
    running: tuple[Trace, ...] = ()
