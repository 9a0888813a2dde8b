"""Smoothing and forecasting one number, sample by sample, in exposure time. Pure Python floats.

Numpy would cost more than the arithmetic: one update takes one to three microseconds.
"""

from __future__ import annotations

import math

#: a filter begins anew when it has heard nothing for this long, s
MAX_GAP_S = 0.1
#: nothing is forecast farther than this from the last value, s
MAX_FORECAST_S = 2 * MAX_GAP_S
NAN = math.nan


class Kalman:
    """A Kalman filter of a place and its velocity, which random accelerations change.

    Only the ratio of the two noises counts for what it returns. It is given as the time in which
    the filter follows: at a high rate the filter is a second-order low-pass of damping
    sqrt(1/2) and natural frequency 1 / ``follow_s`` (Kalman and Bucy's steady state of this model;
    Bar-Shalom, Li and Kirubarajan 2001, section 6.2).

    Parameters
    ----------
    period_s : float
        Of the frames, nominal, s.
    follow_s : float
        Larger: smoother, and later to notice a turn, s.
    """

    __slots__ = ("_density", "_pvv", "_pxv", "_pxx", "_t_s", "v", "x")

    def __init__(self, period_s: float, follow_s: float) -> None:
        # noise of one measurement is 1; of the same noise per time, period_s
        self._density = period_s / follow_s**4
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._t_s = self.x = self.v = NAN
        self._pxx = self._pxv = self._pvv = 0.0

    def update(self, t_s: float, z: float) -> float:
        """Take a sample at ``t_s`` and return the filtered one; NaN is passed over."""
        if z != z:
            return self.forecast_at(t_s)
        dt = t_s - self._t_s
        if not 0 < dt <= MAX_GAP_S:  # NaN, too
            self._t_s, self.x, self.v = t_s, z, 0.0
            self._pxx, self._pxv, self._pvv = 1.0, 0.0, self._density * MAX_GAP_S + 1e4
            return z
        q = self._density * dt
        pxx = self._pxx + dt * (2 * self._pxv + dt * self._pvv) + q * dt * dt / 3
        pxv = self._pxv + dt * self._pvv + q * dt / 2
        pvv = self._pvv + q
        gain_x = pxx / (pxx + 1.0)
        gain_v = pxv / (pxx + 1.0)
        wrong = z - (self.x + dt * self.v)
        self.x += dt * self.v + gain_x * wrong
        self.v += gain_v * wrong
        self._pxx, self._pxv, self._pvv = pxx - gain_x * pxx, pxv - gain_x * pxv, pvv - gain_v * pxv
        self._t_s = t_s
        return self.x

    def forecast_at(self, t_s: float) -> float:
        """Return where it will be at ``t_s``; NaN if too little or too long ago is known."""
        ahead = t_s - self._t_s
        return self.x + ahead * self.v if -MAX_GAP_S <= ahead <= MAX_FORECAST_S else NAN


class OneEuro:
    """The One-Euro filter: a low-pass that opens with speed (Casiez, Roussel and Vogel, CHI 2012).

    Parameters
    ----------
    rest_s : float
        Time constant at rest, s.
    twice_at : float
        Speed at which the cutoff is twice that at rest, units of the signal per s.
    speed_s : float
        Time constant of the speed, s. The authors' 1 Hz by default.
    """

    __slots__ = ("_rest_s", "_speed_s", "_t_s", "_twice_at", "v", "x")

    def __init__(self, rest_s: float, twice_at: float, speed_s: float = 1 / (2 * math.pi)) -> None:
        self._rest_s, self._twice_at, self._speed_s = rest_s, twice_at, speed_s
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._t_s = self.x = self.v = NAN

    def peek(self, t_s: float, z: float) -> float:
        """Return the latest filtered sample, whatever this one is."""
        return self.x

    def update(self, t_s: float, z: float) -> float:
        """Take a sample at ``t_s`` and return the filtered one; NaN is passed over."""
        if z != z:
            return self.forecast_at(t_s)
        dt = t_s - self._t_s
        if not 0 < dt <= MAX_GAP_S:
            self._t_s, self.x, self.v = t_s, z, 0.0
            return z
        self.v += dt / (dt + self._speed_s) * ((z - self.x) / dt - self.v)
        tau = self._rest_s / (1 + abs(self.v) / self._twice_at)
        self.x += dt / (dt + tau) * (z - self.x)
        self._t_s = t_s
        return self.x

    def forecast_at(self, t_s: float) -> float:
        """Return where it will be at ``t_s`` if its speed stays."""
        ahead = t_s - self._t_s
        return self.x + ahead * self.v if -MAX_GAP_S <= ahead <= MAX_FORECAST_S else NAN


class Exponential:
    """A low-pass of first order with the time constant ``tau_s``."""

    __slots__ = ("_t_s", "_tau_s", "x")

    def __init__(self, tau_s: float) -> None:
        self._tau_s = tau_s
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._t_s = self.x = NAN

    def peek(self, t_s: float, z: float) -> float:
        """Return what ``update`` would."""
        dt = t_s - self._t_s
        if not 0 < dt <= MAX_GAP_S:
            return z
        return self.x + (1 - math.exp(-dt / self._tau_s)) * (z - self.x)

    def update(self, t_s: float, z: float) -> float:
        """Take a sample at ``t_s`` and return the filtered one."""
        self.x = self.peek(t_s, z)
        self._t_s = t_s
        return self.x


class Scorer:
    """How far a number is from its own recent past, in standard deviations of that.

    Mean and variance are exponential averages with the time constant ``tau_s``, from before the
    sample that is judged. NaN until ``tau_s`` of samples were seen, and where nothing varied.
    Time without samples does not count.
    """

    __slots__ = ("_mean", "_seen_s", "_t_s", "_tau_s", "_var")

    def __init__(self, tau_s: float) -> None:
        self._tau_s = tau_s
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._t_s = NAN
        self._seen_s = self._mean = self._var = 0.0

    def peek(self, t_s: float, z: float) -> float:
        """Return the score of a sample without learning from it; its time does not matter."""
        if self._seen_s < self._tau_s or self._var <= 0:
            return NAN
        return (z - self._mean) / math.sqrt(self._var)

    def update(self, t_s: float, z: float) -> float:
        """Return the score of a sample, then learn from it."""
        score = self.peek(t_s, z)
        dt = t_s - self._t_s
        self._t_s = t_s
        if not 0 < dt <= MAX_GAP_S:
            if self._seen_s == 0:
                self._mean = z
            return score
        self._seen_s += dt
        # at first the plain mean of what was seen
        part = 1 - math.exp(-dt / min(self._tau_s, self._seen_s))
        off = z - self._mean
        self._mean += part * off
        self._var = (1 - part) * (self._var + part * off * off)
        return score
