"""Ages as a histogram: percentiles of any number of frames in fixed memory."""

from __future__ import annotations

from array import array

import numpy as np

BIN_NS = 20_000
N_BINS = 50_000  # up to 1 s; everything older counts as 1 s


class AgeHistogram:
    """Counts ages in bins of 20 us up to 1 s, and the exact largest."""

    def __init__(self) -> None:
        self._counts = array("q", bytes(8 * N_BINS))  # faster to count in than numpy
        self._view = np.frombuffer(self._counts, np.int64)
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._view.fill(0)
        self.n = 0
        self.max_ns = 0

    def add(self, age_ns: int) -> None:
        """Count one age, ns."""
        self._counts[min(max(age_ns, 0) // BIN_NS, N_BINS - 1)] += 1
        self.n += 1
        if age_ns > self.max_ns:
            self.max_ns = age_ns

    def percentile_ms(self, percent: float) -> float | None:
        """Return a percentile in ms to the nearest bin's middle; None before the first age."""
        if not self.n:
            return None
        cumulated = np.cumsum(self._view)
        index = int(np.searchsorted(cumulated, percent / 100 * self.n))
        return (min(index, N_BINS - 1) + 0.5) * BIN_NS * 1e-6

    def summary(self) -> dict[str, float | None]:
        """Return p50, p99 and max in ms."""
        return {
            "p50_ms": self.percentile_ms(50),
            "p99_ms": self.percentile_ms(99),
            "max_ms": self.max_ns * 1e-6 if self.n else None,
        }
