"""From the camera's clock to the recording's, through frames that have their pulse.

Pure numpy.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from rtface.sync.anchor import NoMatch
from rtface.sync.grid import Floats, Ints

#: no two crystals differ by more, parts per million
MAX_PPM = 1000.0
#: the two clocks are compared over stretches this long
KNOT_S = 10.0
#: fewer frames or pulses are not matched
FEWEST = 64
#: a step between two stretches, in periods, that no clock makes
SLIP = 0.3


def expected_times(
    x: Floats, y: Floats, has: npt.NDArray[np.bool_], segment: Ints, period_s: float
) -> tuple[Floats, float]:
    """Return (N,) when pulses have to come by the camera's clock, and the drift, ppm.

    A line for each segment of the camera, and beside it the medians of stretches of 10 s.

    Parameters
    ----------
    x, y : ndarray (N,)
        Times of frames; of their pulses, where ``has`` says that there is one.
    """
    expected = np.full(len(x), np.nan)
    drift, longest = 0.0, 0
    for which in np.unique(segment):
        one = segment == which
        good = one & has
        n = int(good.sum())
        if n < FEWEST:
            raise NoMatch(f"only {n} frames of the camera's segment {which} meet a pulse")
        skew, offset = np.polyfit(x[good], y[good] - x[good], 1)
        if abs(skew) > MAX_PPM * 1e-6:
            raise NoMatch(f"the clocks would differ by {skew * 1e6:+.0f} ppm: no two crystals do")
        line = x + offset + skew * x
        knots, values = _knots(x[good], (y - line)[good])
        slips = np.abs(np.diff(values))
        if len(slips) and slips.max() > SLIP * period_s:
            raise NoMatch(f"frames and pulses slip by a period {knots[slips.argmax()]:.0f} s in")
        expected[one] = (line + np.interp(x, knots, values))[one]
        if n > longest:
            drift, longest = float(skew * 1e6), n
    jumps = np.abs(np.diff(expected - x)[np.diff(segment) != 0])
    if len(jumps) and jumps.max() > SLIP * period_s:
        raise NoMatch("the camera began again, and how many triggers passed meanwhile is not sure")
    return expected, drift


def _knots(x: Floats, beside: Floats) -> tuple[Floats, Floats]:
    """Return (M,) mean time and median of stretches of 10 s."""
    starts = np.flatnonzero(np.diff(np.floor(x / KNOT_S), prepend=-1) > 0)
    pieces = zip(np.split(x, starts[1:]), np.split(beside, starts[1:]), strict=True)
    middles = [(float(np.mean(a)), float(np.median(b))) for a, b in pieces]
    knots, values = np.array(middles).T
    return knots, values
