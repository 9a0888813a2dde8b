"""What Facemap's files hold where that differs from the stream: for those who write such files."""

from __future__ import annotations

import math

import numpy as np

from rtface.pupil.fit import VARIANCE, Float64Array, Mask
from rtface.types import UInt8Image

#: samples of Facemap's running median, of which so many lie before the one that it is for
WINDOW, BEFORE = 30, 14
#: windows that are sorted at a time
_PIECE = 10_000


def facemap_smooth(area: Float64Array, com: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return Facemap's ``area_smooth`` (n,) and ``com_smooth`` (n, 2) of ``area`` and ``com``.

    It looks 15 samples ahead, so it is for files only. Beyond both ends of the recording it sees
    zeros, which pull the first and last 15 values down.
    """
    return _smooth(area), np.stack([_smooth(com[:, i]) for i in (0, 1)], 1)


def _smooth(trace: Float64Array) -> Float64Array:
    """Replace missing values, and those far from the running median, by that."""
    trace = np.array(trace, np.float64)
    missing = np.isnan(trace)
    if missing.all():
        return np.zeros_like(trace)
    padded = np.concatenate([np.zeros(BEFORE), trace, np.zeros(WINDOW - BEFORE - 1)])
    median = np.concatenate(
        [
            _medians(padded[start : start + _PIECE + WINDOW - 1])
            for start in range(0, len(trace), _PIECE)
        ]
    )
    t = np.arange(len(trace))
    trace[missing] = np.interp(t[missing], t[~missing], median[~missing])
    far = np.abs(trace - median) > trace.std() / 2
    trace[far] = median[far]
    return trace


def _medians(padded: Float64Array) -> Float64Array:
    """Return the median of what is known in each window (n - WINDOW + 1,)."""
    # NaN sorts last, so the valid ones come first
    windows = np.sort(np.lib.stride_tricks.sliding_window_view(padded, WINDOW), axis=1)
    n = np.count_nonzero(~np.isnan(windows), axis=1)
    t = np.arange(len(windows))
    found: Float64Array = (windows[t, np.maximum(n - 1, 0) // 2] + windows[t, n // 2]) / 2
    return found


def wrapped_blink(image: UInt8Image, saturation: int, ellipse: Mask) -> int:
    """Return Facemap's ``blink`` of one ROI (h, w) where its saturation is an *integer*.

    Its 8-bit difference wraps around then: brighter pixels count 256 too much instead of 0, and
    those outside the ellipse as 255. With a float saturation, as Facemap's window gives it, blink
    is the sum of max(0, saturation - pixel) in the ellipse.
    """
    seen = np.where(ellipse, image, np.uint8(255)).astype(np.int64)
    return int(((saturation - seen) % 256).sum())


def facemap_axes(long: float, short: float, angle: float) -> tuple[Float64Array, Float64Array]:
    """Return Facemap's ``axlen`` (2,) and ``axdir`` (2, 2) of an ellipse.

    Semi-axes in px, angle in rad as in ``Gaussian``. ``axlen`` are *squares* of semi-axes, the long
    one first; columns of ``axdir`` are their directions as (row, column), whose signs Facemap
    leaves to chance.
    """
    c, s = math.cos(angle), math.sin(angle)
    return np.array([long * long, short * short]), np.array([[s, c], [c, -s]])


def facemap_nothing(sigma: float, reflector: bool) -> tuple[float, float, float]:
    """Return Facemap's area, row and column of a ROI without one dark pixel.

    NaN if a reflector is drawn; without, what it adds to every variance, about the ROI's corner.
    """
    if reflector:
        return math.nan, math.nan, math.nan
    return math.pi * sigma * sigma * VARIANCE, 0.0, 0.0
