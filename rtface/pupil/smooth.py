"""A running median of what is past, that leaves out what is not known."""

from __future__ import annotations

import math
from collections import deque


class CausalMedian:
    """The median of the last ``window`` samples of several numbers; NaN are left out.

    Steps and ramps come through (window - 1) / 2 samples late. Belongs to one thread.

    Parameters
    ----------
    window : int
        Samples, odd.
    size : int
        How many numbers a sample has.
    """

    def __init__(self, window: int, size: int) -> None:
        self._recent = [deque[float](maxlen=window) for _ in range(size)]

    def __call__(self, *sample: float) -> list[float]:
        """Take in a sample; return the medians, NaN of numbers unknown for a whole window."""
        found = []
        for recent, value in zip(self._recent, sample, strict=True):
            recent.append(value)
            known = sorted(value for value in recent if value == value)
            n = len(known)
            found.append((known[(n - 1) // 2] + known[n // 2]) / 2 if n else math.nan)
        return found
