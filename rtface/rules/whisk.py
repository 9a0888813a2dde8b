"""Set point, amplitude and phase of something that swings, causal, sample by sample. Pure.

The signal is taken as a set point that wanders plus an oscillation of a known cycle whose amplitude
and phase wander. An observer of three numbers follows both: the set point, and the oscillation with
its quadrature, which turn by the cycle from frame to frame. Its gains are those of the steady
Kalman filter of that model (Anderson and Moore, Optimal Filtering, 1979, section 4.4).
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from rtface.rules.filters import MAX_GAP_S, NAN

#: in cycles: how fast the oscillation and the set point are followed, and how long nothing is said
OSCILLATION, SET_POINT, QUIET = 0.3, 1.0, 2.0
Kind = Literal["phase", "amplitude", "setpoint"]


class Oscillator:
    """One of set point, amplitude and phase of a signal; a ``Causal`` filter.

    Phase is 0 where the signal is largest, rising from -pi there and back. An oscillation of
    another cycle is followed, too, with the phase late or early: by ``delay_s`` times the
    difference of the two frequencies, in cycles.

    Parameters
    ----------
    kind : str
        ``phase`` (rad, -pi to pi), ``amplitude`` (half of peak to peak) or ``setpoint``.
    cycle_s : float
        Of the oscillation.
    period_s : float
        Of the frames, nominal; at most a quarter of the cycle.
    least : float
        Phase is not known where the amplitude is smaller.

    Attributes
    ----------
    delay_s : float
        Group delay: of the set point for slow changes, of the amplitude at its cycle.
    """

    def __init__(self, kind: Kind, cycle_s: float, period_s: float, least: float = 0.0) -> None:
        self._kind, self._least = kind, least
        self._turn = 2 * math.pi / cycle_s
        self._quiet_s = QUIET * cycle_s
        self._gains = _gains(cycle_s, period_s)
        slow, swing = _delays(self._gains, self._turn * period_s)
        self.delay_s = (slow if kind == "setpoint" else swing) * period_s
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._t_s = self._s = NAN
        self._a = self._b = self._seen_s = 0.0

    def peek(self, t_s: float, z: float) -> float:
        """Return what is said at ``t_s`` without learning from the sample."""
        dt = t_s - self._t_s
        if not 0 <= dt <= MAX_GAP_S:
            return NAN
        return self._say(*self._turned(dt))

    def update(self, t_s: float, z: float) -> float:
        """Return what is said of a sample, having learnt from it."""
        dt = t_s - self._t_s
        self._t_s = t_s
        if not 0 < dt <= MAX_GAP_S:
            self._s, self._a, self._b, self._seen_s = z, 0.0, 0.0, 0.0
            return NAN
        a, b = self._turned(dt)
        wrong = z - self._s - a
        of_s, of_a, of_b = self._gains
        self._s += of_s * wrong
        self._a, self._b = a + of_a * wrong, b + of_b * wrong
        self._seen_s += dt
        return self._say(self._a, self._b)

    def _turned(self, dt: float) -> tuple[float, float]:
        c, s = math.cos(self._turn * dt), math.sin(self._turn * dt)
        return c * self._a - s * self._b, s * self._a + c * self._b

    def _say(self, a: float, b: float) -> float:
        if self._seen_s < self._quiet_s:
            return NAN
        if self._kind == "setpoint":
            return self._s
        amplitude = math.hypot(a, b)
        if self._kind == "amplitude":
            return amplitude
        return math.atan2(b, a) if amplitude > self._least else NAN


def _gains(cycle_s: float, period_s: float) -> tuple[float, float, float]:
    """Return how much of a surprise goes to the set point, the oscillation and its quadrature."""
    angle = 2 * math.pi * period_s / cycle_s
    c, s = math.cos(angle), math.sin(angle)
    step = np.array([[1.0, 0, 0], [0, c, -s], [0, s, c]])
    seen = np.array([1.0, 1.0, 0.0])
    # random walks against a measurement noise of 1: followed within these many frames
    swing = (period_s / (OSCILLATION * cycle_s)) ** 2
    noise = np.diag([(period_s / (SET_POINT * cycle_s)) ** 2, swing, swing])
    spread, gains = np.eye(3), np.zeros(3)
    for _ in range(2000):
        spread = step @ spread @ step.T + noise
        new = spread @ seen / (seen @ spread @ seen + 1.0)
        spread = spread - np.outer(new, seen @ spread)
        if np.abs(new - gains).max() < 1e-9:
            break
        gains = new
    return tuple(new.tolist())


def _delays(gains: tuple[float, float, float], angle: float) -> tuple[float, float]:
    """Return the group delays of the set point at rest and of the oscillation at its cycle, frames.

    From the response to one sample: the mean of when, weighted by what is left at that frequency.
    """
    c, s = math.cos(angle), math.sin(angle)
    of_s, of_a, of_b = gains
    state, slow, swing = np.zeros(3), [], []
    for n in range(20_000):
        x, a, b = state[0], c * state[1] - s * state[2], s * state[1] + c * state[2]
        wrong = float(n == 0) - x - a
        state = np.array([x + of_s * wrong, a + of_a * wrong, b + of_b * wrong])
        slow.append(state[0])
        swing.append(complex(state[1], state[2]))
        if n > 100 and np.abs(state).max() < 1e-9:
            break
    when = np.arange(len(slow))
    level = np.array(slow)
    turned = np.array(swing) * np.exp(-1j * angle * when)
    return (
        float((when * level).sum() / level.sum()),
        float(((when * turned).sum() / turned.sum()).real),
    )
