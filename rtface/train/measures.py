"""Figures of accuracy: pure functions of predicted and labelled keypoints.

``found`` is (N, K, 3) x, y in px of the picture and the score; ``truth`` is (N, K, 2), NaN where
nothing was labelled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from rtface.train.score import RIGHT_WITHIN
from rtface.types import Float32Array

PUPIL = tuple(f"pupil({part})" for part in ("top", "front", "bottom", "back"))
#: a score above this is called sure
SURE = 0.9


class Interval(NamedTuple):
    """A figure and the middle 95 % of what resampled pictures give."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.1f} ({self.low:.1f} to {self.high:.1f})"


def bootstrap(
    measure: Callable[[np.ndarray], float], n: int, times: int = 1000, seed: int = 0
) -> Interval:
    """Return ``measure`` of all n pictures and its interval over pictures drawn with repetition.

    ``measure`` gets the indices of pictures.
    """
    rng = np.random.default_rng(seed)
    drawn = [measure(rng.integers(0, n, n)) for _ in range(times)]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Interval(measure(np.arange(n)), float(low), float(high))


def distances(found: Float32Array, truth: Float32Array) -> Float32Array:
    """Return (N, K) px from prediction to label, NaN where there is none."""
    return np.asarray(np.linalg.norm(found[..., :2] - truth, axis=-1), np.float32)


def eye_widths(points: Float32Array, names: Sequence[str]) -> Float32Array:
    """Return (N,) px from the front to the back corner of the eye."""
    front, back = points[:, names.index("eye(front)")], points[:, names.index("eye(back)")]
    return np.asarray(np.linalg.norm(front[:, :2] - back[:, :2], axis=-1), np.float32)


def right(found: Float32Array, truth: Float32Array, names: Sequence[str]) -> np.ndarray:
    """Return (N, K) bool: within 5 % of the labelled eye's width of the label."""
    limit = RIGHT_WITHIN * eye_widths(truth, names)[:, None]
    return np.asarray(distances(found, truth) <= limit)


class Certainty(NamedTuple):
    """How far scores can be trusted.

    Attributes
    ----------
    n : int
        Labelled keypoints.
    right : float
        Part of them within 5 % of the eye's width.
    sure : float
        Part of them with a score above 0.9.
    sure_and_right : float
        Part of the sure ones that are right; NaN if none is sure.
    """

    n: int
    right: float
    sure: float
    sure_and_right: float


def certainty(found: Float32Array, truth: Float32Array, names: Sequence[str]) -> Certainty:
    """Return what scores above 0.9 are worth, over all labelled keypoints."""
    known = np.isfinite(truth).all(-1)
    is_right, is_sure = right(found, truth, names)[known], found[..., 2][known] > SURE
    both = float(is_right[is_sure].mean()) if is_sure.any() else float("nan")
    return Certainty(int(known.sum()), float(is_right.mean()), float(is_sure.mean()), both)


class PupilError(NamedTuple):
    """Median distance of the pupil's centre, px, and the correlation of its diameters."""

    centre_px: float
    diameter_r: float


def pupil_error(found: Float32Array, truth: Float32Array, names: Sequence[str]) -> PupilError:
    """Return the error of the pupil in pictures in which all its four points are labelled.

    The centre is the mean of the four points, the diameter the mean of the two distances between
    opposite ones.
    """
    columns = [names.index(name) for name in PUPIL]
    known = np.isfinite(truth[:, columns]).all((1, 2))
    there, here = truth[known][:, columns], found[known][:, columns, :2]
    centre = np.linalg.norm(here.mean(1) - there.mean(1), axis=-1)
    r = np.corrcoef(_diameters(here), _diameters(there))[0, 1]
    return PupilError(float(np.median(centre)), float(r))


def _diameters(pupil: Float32Array) -> Float32Array:
    """Return the diameters of pupils (N, 4, 2) in the order of ``PUPIL``."""
    upright = np.linalg.norm(pupil[:, 0] - pupil[:, 2], axis=-1)
    across = np.linalg.norm(pupil[:, 1] - pupil[:, 3], axis=-1)
    return np.asarray((upright + across) / 2, np.float32)


class Stillness(NamedTuple):
    """How still a keypoint is said to be while it is.

    Attributes
    ----------
    jitter_px : float
        Standard deviation of the step from frame to frame, over the square root of 2: that of
        one frame's position, px of the picture. x and y together.
    speed_px_s : float
        The median of the speed that such steps look like at the given rate, px/s.
    jumps_per_min : float
        Steps of more than 5 % of the eye's width, per minute at the given rate.
    """

    jitter_px: float
    speed_px_s: float
    jumps_per_min: float


def quiet_steps(images: Float32Array) -> np.ndarray:
    """Return (N - 1,) bool: which of the steps between frames (N, H, W) change the picture least.

    The quieter half, by the mean absolute difference of pixels.
    """
    change = np.abs(np.diff(images, axis=0)).mean((1, 2))
    return np.asarray(change <= np.median(change))


def stillness(
    track: Float32Array, quiet: np.ndarray, eye_width_px: float, rate_hz: float
) -> list[Stillness]:
    """Return the stillness of each keypoint of consecutive frames (N, K, 2 or 3).

    ``quiet`` (N - 1,) says between which of them the animal rests.
    """
    steps = np.diff(track[..., :2], axis=0)[quiet]
    lengths = np.linalg.norm(steps, axis=-1)
    return [
        Stillness(
            float(np.sqrt(np.mean(np.sum(steps[:, k] ** 2, -1)) / 2)),
            float(np.median(lengths[:, k])) * rate_hz,
            float(np.mean(lengths[:, k] > RIGHT_WITHIN * eye_width_px)) * 60 * rate_hz,
        )
        for k in range(track.shape[1])
    ]
