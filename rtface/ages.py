"""Ages as a histogram: percentiles of any number of frames in fixed memory."""

from __future__ import annotations

from array import array

import numpy as np

#: 20 us up to 20 ms, then 1 ms up to 1 s; everything older counts as 1 s
FINE_NS, N_FINE = 20_000, 1000
COARSE_NS, N_COARSE = 1_000_000, 980
_FINE_END_NS = FINE_NS * N_FINE
_MIDDLES_MS = np.concatenate(
    [
        (np.arange(N_FINE) + 0.5) * FINE_NS * 1e-6,
        (np.arange(N_COARSE) + 0.5) * COARSE_NS * 1e-6 + _FINE_END_NS * 1e-6,
    ]
)


class AgeHistogram:
    """Counts ages in bins of 20 us up to 20 ms, of 1 ms up to 1 s, and the exact largest."""

    def __init__(self) -> None:
        # faster to count in than numpy
        self._counts = array("q", bytes(8 * (N_FINE + N_COARSE)))
        self._view = np.frombuffer(self._counts, np.int64)
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._view.fill(0)
        self.n = 0
        self.max_ns = 0

    def add(self, age_ns: int) -> None:
        """Count one age, ns."""
        if age_ns < _FINE_END_NS:
            index = max(age_ns, 0) // FINE_NS
        else:
            index = N_FINE + min((age_ns - _FINE_END_NS) // COARSE_NS, N_COARSE - 1)
        self._counts[index] += 1
        self.n += 1
        if age_ns > self.max_ns:
            self.max_ns = age_ns

    def percentile_ms(self, percent: float) -> float | None:
        """Return a percentile in ms, the middle of its bin; None before the first age."""
        if not self.n:
            return None
        index = int(np.searchsorted(np.cumsum(self._view), percent / 100 * self.n))
        return float(_MIDDLES_MS[min(index, len(_MIDDLES_MS) - 1)])

    def summary(self) -> dict[str, float | None]:
        """Return p50, p99 and max in ms."""
        return {
            "p50_ms": self.percentile_ms(50),
            "p99_ms": self.percentile_ms(99),
            "max_ms": self.max_ns * 1e-6 if self.n else None,
        }
