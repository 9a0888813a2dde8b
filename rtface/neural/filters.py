"""From numbers of frames to what a linear model sees: causal, by time, the same live and later.

Each number is followed by leaky averages of several time constants. A weighted sum of those is a
kernel over the past; a new frame costs the same however long the kernel is, and a lost frame is a
longer step and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rtface.neural.activity import Floats
from rtface.types import Float32Array

#: time constants of the averages, s; 0 is the frame itself
TAUS_S = (0.0, 0.05, 0.15, 0.5, 1.5)


class FilterBank:
    """Leaky averages of several numbers, each with every time constant.

    Parameters
    ----------
    n : int
        Numbers.
    taus_s : sequence of float
        Time constants, s; 0: the number itself.
    """

    def __init__(self, n: int, taus_s: Sequence[float]) -> None:
        self._rates = np.array([1e-9 / tau if tau > 0 else 0.0 for tau in taus_s])
        self._now = np.array([tau <= 0 for tau in taus_s])
        self._state = np.zeros((len(taus_s), n), np.float32)
        self._before_ns: int | None = None

    def __call__(self, t_ns: int, x: Float32Array) -> Float32Array:
        """Return (L * F,) float32, time constant by time constant; overwritten by the next call.

        ``t_ns`` is later than at the call before.
        Before the first frame everything was at its mean, which is 0.
        """
        if self._before_ns is not None:
            keep = np.exp(-(t_ns - self._before_ns) * self._rates).astype(np.float32)[:, None]
            self._state *= keep
            self._state += (1 - keep) * x
        self._state[self._now] = x
        self._before_ns = t_ns
        return self._state.reshape(-1)


def kernel(weights: Float32Array | Floats, taus_s: Sequence[float], lags_s: Floats) -> Floats:
    """Return what weights of averages are as kernels over the past.

    Parameters
    ----------
    weights : ndarray (L, ...)
        Of each time constant.
    taus_s : sequence of float (L,)
    lags_s : ndarray (M,)
        How long ago, s.

    Returns
    -------
    ndarray (M, ...) : per s; the number itself (a time constant of 0) is left out.
    """
    shapes = [np.exp(-lags_s / tau) / tau if tau > 0 else 0 * lags_s for tau in taus_s]
    return np.tensordot(np.stack(shapes, 1), np.asarray(weights, np.float64), 1)
