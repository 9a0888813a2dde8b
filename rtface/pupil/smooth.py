"""A running median of what is past, that leaves out what is not known."""

from __future__ import annotations

import numpy as np


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
        self._recent = np.full((size, window), np.nan)
        self._next = 0

    def __call__(self, *sample: float) -> list[float]:
        """Take in a sample; return the medians, NaN of numbers unknown for a whole window."""
        self._recent[:, self._next] = sample
        self._next = (self._next + 1) % self._recent.shape[1]
        ordered = np.sort(self._recent, axis=1)  # NaN last
        found = []
        for row in ordered.tolist():
            n = sum(value == value for value in row)
            found.append((row[(n - 1) // 2] + row[n // 2]) / 2 if n else float("nan"))
        return found

    def forget(self) -> None:
        """Begin anew."""
        self._recent.fill(np.nan)
