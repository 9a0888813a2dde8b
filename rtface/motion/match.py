"""Does the live picture lie where the masks were made? Their averages are compared at the start."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rtface.motion.masks import Masks
from rtface.types import Float32Array

#: halves of the stills of one session gave 0.92 or more, 0.88 with a shift of half a bin; different
#: animals 0.83 or less (18 sessions of 14 animals, ``docs/motion.md``)
LEAST_CORRELATION = 0.85
#: shifts are looked for up to this share of the shorter side
REACH = 1 / 8
#: bins; larger pictures are halved before all shifts are tried
_SEARCHED = 180
_FLIPS = {
    "mirrored": np.s_[:, ::-1],
    "upside down": np.s_[::-1, ::-1],
    "mirrored and upside down": np.s_[::-1, :],
}


class Match(NamedTuple):
    """How a live average lies on that of the masks.

    Attributes
    ----------
    shift_px : tuple of float
        How far the live picture lies to the right and below, full-frame px.
    correlation : float
        Of the two at that shift, slow changes of brightness left out, -1 to 1.
    fits : bool
        The masks can be used.
    why : str
        One line for the user if not, with what to do; else empty.
    """

    shift_px: tuple[float, float]
    correlation: float
    fits: bool
    why: str


class LiveAverage:
    """Mean of the frames that are added, in memory made once; belongs to one thread.

    Parameters
    ----------
    shape : tuple of int
        Binned rows and columns.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self._sum = np.zeros(shape)
        self.frames = 0

    def add(self, binned: Float32Array) -> None:
        """Take up a binned frame (h, w)."""
        self._sum += binned
        self.frames += 1

    def mean(self) -> Float32Array:
        """Return the mean (h, w) float32, grey levels.

        Raises ValueError if nothing was added.
        """
        if not self.frames:
            raise ValueError("no frames were added")
        return (self._sum / self.frames).astype(np.float32)


def compare_average(masks: Masks, live_average: Float32Array) -> Match:
    """Return whether frames with this average lie as those did that the masks were made of.

    Pure. Brightness and contrast do not matter; nor does a moving animal, if the average is of some
    seconds. Takes 0.05 to 0.2 s: at the start, not between frames.

    Parameters
    ----------
    masks : Masks
    live_average : ndarray (h, w) float32
        Mean of binned frames, grey levels.

    Raises
    ------
    ValueError
        It is of another shape than the masks' average.
    """
    before = masks.average_frame
    if live_average.shape != before.shape:
        raise ValueError(f"average of shape {live_average.shape}: needs {before.shape}")
    x, y, correlation = _shift(before, live_average)
    shift = (x * masks.bin_px, y * masks.bin_px)
    if correlation >= LEAST_CORRELATION and np.hypot(x, y) <= 1:
        return Match(shift, correlation, True, "")
    measured = f"correlation {correlation:.2f}"
    if correlation >= LEAST_CORRELATION:
        why = (
            f"the camera moved: the picture lies {_far(*shift)} from where the masks were made "
            f"({measured}, at most {masks.bin_px} px are allowed); move it back or make masks again"
        )
        return Match(shift, correlation, False, why)
    why = (
        f"the picture is not that of the masks ({measured}, at least {LEAST_CORRELATION} is "
        f"needed, best at {_far(*shift)}): another animal, lens or place; make masks of this view"
    )
    for name, flip in _FLIPS.items():
        if _shift(before, live_average[flip])[2] >= LEAST_CORRELATION:
            why = f"the picture is {name} beside that of the masks; turn it back, or make new masks"
    return Match(shift, correlation, False, why)


def _far(x: float, y: float) -> str:
    across = f"{abs(x):.1f} px to the {'right' if x > 0 else 'left'}"
    return f"{across} and {abs(y):.1f} px {'down' if y > 0 else 'up'}"


def _shift(before: np.ndarray, now: np.ndarray) -> tuple[float, float, float]:
    """Return how far ``now`` lies to the right and below, bins, and the correlation there.

    Whole shifts are tried on pictures halved until they are small, then around the best on each
    larger one; a parabola through the best and its neighbours gives the part of a bin.
    """
    pairs = [(before, now)]
    while max(pairs[-1][0].shape) > _SEARCHED:
        pairs.append((_halved(pairs[-1][0]), _halved(pairs[-1][1])))
    x = y = 0
    reach = max(2, int(min(pairs[-1][0].shape) * REACH))
    for small_before, small_now in reversed(pairs):
        details = _details(small_before), _details(small_now)
        tried = range(-reach, reach + 1)
        x, y = 2 * x, 2 * y
        found = np.array([[_correlation(*details, x + i, y + j) for i in tried] for j in tried])
        j, i = (int(k) for k in np.unravel_index(found.argmax(), found.shape))
        x, y = x + i - reach, y + j - reach
        reach = 2
    best = float(found[j, i])
    return x + _vertex(found[j], i), y + _vertex(found[:, i], j), best


def _vertex(values: np.ndarray, at: int) -> float:
    """Return where between its neighbours the top of a curve is, -0.5 to 0.5."""
    if not 0 < at < len(values) - 1:
        return 0.0
    left, top, right = values[at - 1 : at + 2].tolist()
    bend = left - 2 * top + right
    return 0.5 * (left - right) / bend if bend < 0 else 0.0


def _correlation(before: np.ndarray, now: np.ndarray, x: int, y: int) -> float:
    """Return the correlation of what both show if ``now`` lies x, y bins to the right and below."""
    h, w = before.shape
    one = before[max(0, -y) : h - max(0, y), max(0, -x) : w - max(0, x)]
    two = now[max(0, y) : h - max(0, -y), max(0, x) : w - max(0, -x)]
    if not one.size:
        return 0.0
    one, two = one - one.mean(), two - two.mean()
    power = float(np.vdot(one, one)) * float(np.vdot(two, two))
    return float(np.vdot(one, two)) / power**0.5 if power > 0 else 0.0


def _halved(image: np.ndarray) -> np.ndarray:
    h, w = image.shape[0] // 2, image.shape[1] // 2
    halved: np.ndarray = image[: 2 * h, : 2 * w].reshape(h, 2, w, 2).mean((1, 3))
    return halved


def _details(image: np.ndarray) -> np.ndarray:
    """Return the picture without what is slow, nor the finest, of which half a bin leaves nothing.

    It is the mean over squares of 3 x 3 bins less that over an eighth of the shorter side.
    """
    fine, slow = _means(image, 1), _means(image, max(2, min(image.shape) // 16))
    details: np.ndarray = (fine - slow).astype(np.float32)
    return details


def _means(image: np.ndarray, r: int) -> np.ndarray:
    """Return means over squares of 2 r + 1 bins; edges are continued."""
    n = 2 * r + 1
    sums = np.pad(np.pad(image, r, mode="edge").astype(np.float64), ((1, 0), (1, 0)))
    sums = sums.cumsum(0).cumsum(1)
    means: np.ndarray = (sums[n:, n:] - sums[:-n, n:] - sums[n:, :-n] + sums[:-n, :-n]) / (n * n)
    return means
