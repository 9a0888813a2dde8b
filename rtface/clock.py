"""From a device's clock to the host's, with the error of the fit.

Pure: no clock is read here. A frame is delivered as early as the fastest frames are, or later. So
delivery times lie on a line in the device's clock or above it, and the line through the least of
each second is the clock's, up to the delay of the fastest frame, which no fit can see. Least
squares through all of them would be off by the mean queue.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

SECOND_NS = 1_000_000_000
#: seconds of delivery times, or latched pairs, that a line is fitted to
WINDOW = 60
#: no crystal is worse, parts per million; a camera without a clock counts frames of a nominal rate
MAX_PPM, MAX_PPM_COUNTED = 500.0, 20_000.0
#: a frame that comes this much before the fastest could come: the device's clock was set
STEP_NS = 1_000_000
#: seconds that all lie above the line by about the same are a step; a queue changes
STEP_SECONDS, STEP_MARGIN_NS = 8, 30_000
#: a second whose least is this far below the line is another clock, not a host with less to do
BELOW_NS = 150_000
#: error of the skew before anything was heard, and once it was
UNKNOWN_SKEW, KNOWN_SKEW = 5e-4, 5e-6
#: how much a crystal may wander while nothing is heard of it, ns per s
WANDER_NS_PER_S = 1000.0
#: how far the least of one second may be from the least of many, ns
UNKNOWN_NS = 200_000.0
#: below this residuals are noise of reading clocks, ns
FLOOR_NS = 2000.0

Floats = npt.NDArray[np.float64]


class Line(NamedTuple):
    """``host = y0 + (1 + skew) * (device - x0)``, ns; ``scatter_ns`` holds 95 % of the points."""

    x0: float
    y0: float
    skew: float
    scatter_ns: float
    skew_err: float

    def at(self, x: float) -> float:
        """Return the host's time, ns after the origin."""
        return self.y0 + (1 + self.skew) * (x - self.x0)


def fit_lower(
    x: Floats, y: Floats, prior_skew: float, max_ppm: float, prior_err: float = UNKNOWN_SKEW
) -> Line:
    """Return the robust line under points that queues push upward.

    Iterated weighted least squares; a point above the line counts the less the higher it is.

    Parameters
    ----------
    x, y : ndarray (N,)
        Device and host time, ns; the smallest (host - device) of each second.
    prior_skew, prior_err : float
        Used while there are fewer than five points.
    max_ppm : float
        Bound on the skew.
    """
    x0 = float(x[-1])
    dx, dy = x - x0, y - x
    limit = max_ppm * 1e-6
    if len(x) < 5:
        offsets = dy - prior_skew * dx
        scatter = FLOOR_NS + float(np.ptp(offsets)) + (UNKNOWN_NS if len(x) < 3 else 0)
        return Line(x0, float(x0 + offsets.min()), prior_skew, scatter, prior_err)
    # from below: the lowest corner of the points, by two-point slopes of the earlier and later half
    skew = float(np.clip(_lower_slope(dx, dy), -limit, limit))
    offset = float((dy - skew * dx).min())
    weight = np.ones(len(x))
    scale = FLOOR_NS
    for _ in range(8):
        residual = dy - offset - skew * dx
        near = np.abs(residual)[residual < np.median(residual) + 1]
        scale = max(FLOOR_NS, 1.5 * float(np.median(near)))
        weight = np.where(residual <= 0, 1.0, 1.0 / (1.0 + (residual / scale) ** 2))
        total = weight.sum()
        mx, my = (weight * dx).sum() / total, (weight * dy).sum() / total
        spread = (weight * (dx - mx) ** 2).sum()
        slope = (weight * (dx - mx) * (dy - my)).sum() / spread if spread > 0 else skew
        skew = float(np.clip(slope, -limit, limit))
        offset = float(my - skew * mx)
    residual = dy - offset - skew * dx
    inside = weight > 0.2
    scatter = float(np.quantile(np.abs(residual[inside]), 0.95)) if inside.any() else scale
    skew_err = scatter / max(1.0, float(np.sqrt(((dx[inside] - dx[inside].mean()) ** 2).sum())))
    return Line(x0, x0 + offset, skew, max(FLOOR_NS, scatter), skew_err)


def _lower_slope(dx: Floats, dy: Floats) -> float:
    """Return a slope that points high above the others cannot move: between two low ends."""
    half = len(dx) // 2
    rough = float(
        np.median((dy[half:] - dy[: len(dy) - half]) / (dx[half:] - dx[: len(dx) - half]))
    )
    flat = dy - rough * dx
    early, late = int(flat[:half].argmin()), half + int(flat[half:].argmin())
    return float((dy[late] - dy[early]) / (dx[late] - dx[early]))


class ClockFit:
    """Maps a device's clock to the host's, learning from what is delivered. Not thread-safe.

    Parameters
    ----------
    window : int
        Seconds to fit.
    max_ppm : float
        Bound on the device's skew.

    Attributes
    ----------
    steps : int
        Times the device's clock was found to have been set without a restart.
    resets : int
        Times it began anew: it ran backwards, or ``restart`` was called.
    """

    def __init__(self, window: int = WINDOW, max_ppm: float = MAX_PPM) -> None:
        self._max_ppm = max_ppm
        self._points: deque[tuple[float, float]] = deque(maxlen=window)
        self._line: Line | None = None
        self._skew, self._skew_err = 0.0, max_ppm * 1e-6
        self._origin: tuple[int, int] | None = None
        self._last_x = 0
        self._second = 0
        self._best: tuple[float, float] | None = None
        self._best_residual = math.inf
        self._heard_x = 0.0
        self._undecided_ns = 0.0
        self.steps = 0
        self.resets = 0

    @property
    def fitted(self) -> bool:
        """Whether at least one whole second was heard since the last restart."""
        return self._line is not None

    @property
    def skew_ppm(self) -> float:
        """How much the host's clock gains on the device's, parts per million."""
        return 1e6 * self._skew

    @property
    def scatter_us(self) -> float:
        """How far 95 % of the seconds' minima are from the line, us; NaN before a fit."""
        return math.nan if self._line is None else self._line.scatter_ns * 1e-3

    def restart(self) -> None:
        """Forget where the clock stood; how fast it runs is kept."""
        self.resets += 1
        self._forget()

    def _forget(self) -> None:
        self._points.clear()
        self._line = self._best = self._origin = None
        self._best_residual = math.inf

    def add(self, device_ns: int, host_ns: int) -> None:
        """Take in one frame: its stamp and when it was delivered. Costs about 1 us."""
        if self._origin is None:
            self._begin(device_ns, host_ns)
        assert self._origin
        x = device_ns - self._origin[0]
        if x < self._last_x:
            self.restart()
            self._begin(device_ns, host_ns)
            x = 0
        self._last_x = x
        y = host_ns - self._origin[1]
        line = self._line
        expected = (1 + self._skew) * x if line is None else line.at(x)
        residual = y - expected
        if line is not None and residual < -max(STEP_NS, 6 * line.scatter_ns):
            # before the fastest frame could come: the clock was set back, by whatever amount
            self.steps += 1
            self._forget()
            self.add(device_ns, host_ns)
            return
        second = y // SECOND_NS
        if second != self._second:
            self._close_second()
            self._second = second
        if residual < self._best_residual:
            self._best_residual, self._best = residual, (float(x), float(y))

    def _begin(self, device_ns: int, host_ns: int) -> None:
        self._origin = (device_ns, host_ns)
        self._last_x = self._second = 0
        self._heard_x = 0.0

    def _close_second(self) -> None:
        if self._best is not None:
            self._points.append(self._best)
            self._look_for_step()
            self._fit(self._n_undecided())
        self._best, self._best_residual = None, math.inf

    def _look_for_step(self) -> None:
        """Keep only the newest seconds if they say that the clock was set a little.

        Below the line nothing can be but another clock. Above it a queue can be, too; but a queue
        is not the same for eight seconds.
        """
        line = self._line
        if line is None or len(self._points) < 2:
            return
        beside = [y - line.at(x) for x, y in list(self._points)[-STEP_SECONDS:]]
        limit = 6 * line.scatter_ns + STEP_MARGIN_NS
        same = max(beside) - min(beside) < 0.2 * min(beside) + limit
        n = 0
        if beside[-1] < -max(limit, BELOW_NS) and len(self._points) > 5:
            n = 1
        elif len(beside) == STEP_SECONDS and min(beside) > limit and same:
            n = STEP_SECONDS
        if n:
            kept = list(self._points)[-n:]
            self._points.clear()
            self._points.extend(kept)
            self.steps += 1

    def _n_undecided(self) -> int:
        """Return how many of the newest seconds lie above the line: a queue, or the clock was set.

        They are kept out of the fit, and the least of them is in the stated error.
        """
        line, n = self._line, 0
        self._undecided_ns = 0.0
        if line is None or len(self._points) < 10:
            return 0
        limit = 6 * line.scatter_ns + STEP_MARGIN_NS
        for x, y in reversed(list(self._points)[-STEP_SECONDS:]):
            beside = y - line.at(x)
            if beside < limit:
                break
            n += 1
            self._undecided_ns = beside if n == 1 else min(beside, self._undecided_ns)
        if n < 2:
            self._undecided_ns = 0.0
        return n

    def _fit(self, n_undecided: int) -> None:
        """Fit the line to all but the newest ``n_undecided`` seconds."""
        points = np.array(self._points)[: len(self._points) - n_undecided]
        self._line = fit_lower(
            points[:, 0], points[:, 1], self._skew, self._max_ppm, self._skew_err
        )
        if len(points) >= 5:
            self._skew, self._skew_err = self._line.skew, max(KNOWN_SKEW, self._line.skew_err)
        near = np.abs(points[:, 1] - [self._line.at(x) for x in points[:, 0]])
        heard = points[near <= 2 * self._line.scatter_ns, 0]
        self._heard_x = float(heard[-1]) if len(heard) else float(points[0, 0])

    def host(self, device_ns: int) -> tuple[int, int] | None:
        """Return when the fastest frame of this stamp would have come, and that time's error, ns.

        None before the first whole second. The error is that of the fit alone.
        """
        line, origin = self._line, self._origin
        if line is None or origin is None:
            return None
        x = device_ns - origin[0]
        silent_s = max(0.0, x - self._heard_x) * 1e-9
        error = (
            1.6 * line.scatter_ns
            + self._undecided_ns
            + line.skew_err * abs(x - line.x0)
            + WANDER_NS_PER_S * max(0.0, silent_s - 2.0)
        )
        return origin[1] + round(line.at(x)), round(error)


def cycle_ns(word: int) -> int:
    """Return the ns of an IEEE 1394 cycle time: 7 bits of s, 13 of 125 us, 12 of 1/24.576 MHz.

    Wraps every 128 s; see ``Unwrap``. Source: IIDC 1.32, Point Grey's embedded image information.
    """
    seconds, cycles, offset = word >> 25 & 0x7F, word >> 12 & 0x1FFF, word & 0xFFF
    return seconds * SECOND_NS + cycles * 125_000 + offset * 125_000 // 3072


CYCLE_WRAP_NS = 128 * SECOND_NS


class Unwrap:
    """Makes a counter that wraps go on for ever. Not thread-safe.

    Parameters
    ----------
    wrap_ns : int
        After this the counter is 0 again: 128 s for 1394 cycle time, 2^32 ticks of others.
    """

    def __init__(self, wrap_ns: int) -> None:
        self._wrap_ns = wrap_ns
        self._last: tuple[int, int, int] | None = None

    def __call__(self, device_ns: int, host_ns: int) -> int:
        """Return the unwrapped time, ns; ``host_ns`` says how often it wrapped while silent."""
        if self._last is None:
            self._last = device_ns, host_ns, device_ns
            return device_ns
        before, heard_ns, unwrapped = self._last
        step = (device_ns - before) % self._wrap_ns
        missed = max(0, round((host_ns - heard_ns - step) / self._wrap_ns))
        unwrapped += step + missed * self._wrap_ns
        self._last = device_ns, host_ns, unwrapped
        return unwrapped
