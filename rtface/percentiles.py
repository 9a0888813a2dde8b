"""Exact percentiles of 8 and 16 bit pictures without sorting, and three ways to normalise by them.

The percentiles are those of ``numpy.percentile``: linear interpolation between neighbours in order.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np

from rtface.types import Image

#: how a stream of frames is normalised; see ``Normaliser``
Mode = Literal["per frame", "frozen", "adapting"]
#: smaller 8-bit pictures are counted at once, px
_SMALL = 100_000
#: levels known when the histogram would have been quicker: two at the start, one more a pass
_PASSES = 10


class Percentiles(NamedTuple):
    """Two grey levels of a picture, in its own units; between whole ones where interpolated."""

    low: float
    high: float


def percentiles(
    image: Image, low: float = 1.0, high: float = 99.0, single: bool = False
) -> Percentiles:
    """Return two percentiles of every pixel of a picture, exactly.

    Parameters
    ----------
    image : ndarray (H, W), uint8 or uint16
    low, high : float
        Percent, 0 to 100.
    single : bool
        Compute the place in the order in single precision, as ``torch.quantile`` does with
        single-precision pictures: in one of 640x480 it then is up to 1/64 of a place off.

    Raises
    ------
    ValueError
        The picture is empty or of another type.
    """
    if image.dtype not in (np.uint8, np.uint16) or not image.size:
        raise ValueError(f"percentiles of {image.dtype} {image.shape}: needs uint8 or uint16")
    places = [_place(percent, image.size, single) for percent in (low, high)]
    if image.dtype == np.uint8 and image.size >= _SMALL:
        found = _by_counting(image, places)
        if found is not None:
            return Percentiles(*found)
    return Percentiles(*_by_histogram(image, places))


def affine(found: Percentiles, least: float = 1.0) -> tuple[float, float]:
    """Return ``(scale, shift)`` that send ``low`` to 0 and ``high`` to 1.

    ``least`` is the smallest span that is stretched to 1: without one the noise of a picture that
    is all of one grey would be. A span of nothing at all has scale 1, whatever ``least`` is.
    """
    span = max(found.high - found.low, least)
    scale = 1.0 / span if span > 0 else 1.0
    return scale, -found.low * scale


def percentile_affine(image: Image) -> tuple[float, float]:
    """Return ``(scale, shift)`` that send a picture's 1st percentile to 0 and its 99th to 1.

    Facemap normalises by the same two percentiles (per batch; here per frame, the only causal
    way). Never divides by less than one.
    """
    return affine(percentiles(image))


class Normaliser:
    """Says for each frame of a stream how its pixels become the network's numbers.

    Parameters
    ----------
    mode : str
        ``"per frame"``: by the frame's own percentiles. ``"frozen"``: by the mean percentiles of
        the first ``frames`` frames (while they come, of those so far), the same ever after.
        ``"adapting"``: by a mean that forgets with a time constant of ``frames`` frames.
    frames : float
        Frames; at least 1. Without effect per frame.
    low, high : float
        Which percentiles, percent.

    Raises
    ------
    ValueError
        There is no such mode, or ``frames`` is less than 1.
    """

    def __init__(
        self,
        mode: Mode = "per frame",
        frames: float = 100,
        low: float = 1.0,
        high: float = 99.0,
    ) -> None:
        if mode not in ("per frame", "frozen", "adapting"):
            raise ValueError(f"normalise: '{mode}' is not one of per frame, frozen, adapting")
        if not frames >= 1:
            raise ValueError(f"frames: must be 1 or more, not {frames}")
        self._mode, self._frames = mode, frames
        self._low, self._high = low, high
        self._seen = 0
        self._mean = Percentiles(0.0, 0.0)
        self._affine = (1.0, 0.0)

    def __call__(self, image: Image) -> tuple[float, float]:
        """Return ``(scale, shift)`` for this frame (H, W): the network sees scale*image+shift."""
        if self._mode == "frozen" and self._seen >= self._frames:
            return self._affine
        found = percentiles(image, self._low, self._high)
        self._seen += 1
        if self._mode != "per frame":
            # the first frames count alike: the very first alone would be remembered too long
            share = 1.0 / self._seen
            if self._mode == "adapting":
                share = max(share, -math.expm1(-1.0 / self._frames))
            was = self._mean
            self._mean = found = Percentiles(
                was.low + share * (found.low - was.low), was.high + share * (found.high - was.high)
            )
        self._affine = affine(found)
        return self._affine


def _place(percent: float, n: int, single: bool) -> tuple[int, float]:
    """Return the place in the order of ``n`` pixels: a whole number, and the part beyond it."""
    kind = np.float32 if single else np.float64
    exact = kind(percent / 100) * kind(n - 1)
    whole = int(exact)
    return min(whole, n - 1), float(exact - kind(whole))


def _between(a: int, b: int, part: float) -> float:
    """Return what lies ``part`` of the way from a to b; rounded as numpy does."""
    step = b - a
    return b - step * (1 - part) if part >= 0.5 else a + step * part


def _by_histogram(image: Image, places: list[tuple[int, float]]) -> list[float]:
    """Return the grey levels at ``places`` by counting every level."""
    up_to = np.cumsum(np.bincount(image.ravel()))
    found = []
    for whole, part in places:
        both = np.searchsorted(up_to, [whole, min(whole + 1, image.size - 1)], side="right")
        found.append(_between(int(both[0]), int(both[1]), part))
    return found


def _by_counting(image: Image, places: list[tuple[int, float]]) -> list[float] | None:
    """Return the grey levels at ``places`` of a uint8 picture, or None where that takes long.

    A few pixels say where to look; then "how many are at most this bright?" is asked of all until
    the level on either side of each place is certain. Each such pass takes a tenth of the time of
    a histogram, and four are enough for most pictures.
    """
    few = np.cumsum(np.bincount(image[::8, ::8].ravel(), minlength=256))
    share = int(few[-1]) / image.size
    known = {-1: 0, 255: image.size}

    def level_at(place: int) -> int:
        """Return the level of the pixel at one place in the order: above ``lo``, up to ``hi``."""
        lo = max(level for level, count in known.items() if count <= place)
        hi = min(level for level, count in known.items() if count > place)
        wanted = place * share
        while hi - lo > 1 and len(known) < _PASSES:
            guess = int(np.searchsorted(few, wanted, side="right"))
            level = min(max(guess, lo + 1), hi - 1)
            known[level] = count = int(np.count_nonzero(image <= np.uint8(level)))
            if count > place:
                hi = level
            else:
                lo = level
            wanted = int(few[level]) + (place - count) * share
        return hi if hi - lo == 1 else -1

    found = []
    for whole, part in places:
        a = level_at(whole)
        b = level_at(min(whole + 1, image.size - 1)) if part else a
        if min(a, b) < 0:
            return None
        found.append(_between(a, b, part))
    return found
