"""What Facemap's files hold where that differs from the stream: for those who write such files."""

from __future__ import annotations

import numpy as np

from rtface.pupil.fit import Float64Array, Mask
from rtface.types import UInt8Image

#: samples of Facemap's running median, of which so many lie before the one that it is for
WINDOW, BEFORE = 30, 14


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
    # NaN sorts last, so the valid ones come first
    windows = np.sort(np.lib.stride_tricks.sliding_window_view(padded, WINDOW), axis=1)
    n = np.count_nonzero(~np.isnan(windows), axis=1)
    t = np.arange(len(trace))
    median = (windows[t, np.maximum(n - 1, 0) // 2] + windows[t, n // 2]) / 2
    trace[missing] = np.interp(t[missing], t[~missing], median[~missing])
    far = np.abs(trace - median) > trace.std() / 2
    trace[far] = median[far]
    return trace


def wrapped_blink(image: UInt8Image, saturation: int, ellipse: Mask) -> int:
    """Return Facemap's ``blink`` of one ROI (h, w) where its saturation is an *integer*.

    Its 8-bit difference wraps around then: brighter pixels count 256 too much instead of 0, and
    those outside the ellipse as 255. With a float saturation, as Facemap's window gives it, blink
    is the sum of max(0, saturation - pixel) in the ellipse.
    """
    seen = np.where(ellipse, image, np.uint8(255)).astype(np.int64)
    return int(((saturation - seen) % 256).sum())
