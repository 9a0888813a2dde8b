"""Numbers of frames in deviations from their means, and guesses of those that are not known.

A number that is not known goes back to its mean with a time constant of its own, from what it was;
on the way, those that are known and move otherwise than expected take it along, as they did where
the model was fitted. That is causal, and the same live and later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rtface.neural.activity import Floats, Ints
from rtface.neural.behaviour import Behaviour
from rtface.neural.columns import Column
from rtface.neural.splits import Bools
from rtface.types import Float32Array, UserError

#: time constants are those that fit the correlations over these lags, s, among those tried
LAGS_S = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
HOLDS_S = np.geomspace(0.02, 10.0, 60)
#: what moves together is measured over this time, s: about what a keypoint is not known for
TOGETHER_S = 0.5
#: part of what a number does that others never tell, at least
OWN = 0.01
#: columns that are looked at together: there may be thousands of motion components
AT_A_TIME = 50
#: fewer pairs than this say nothing
LEAST_PAIRS = 100


class Scaling(NamedTuple):
    """How F numbers are scaled, and guessed where they are not known.

    Attributes
    ----------
    mean, std : ndarray (F,) float64
    hold_s : ndarray (F,) float64
        With which time constant each goes back to its mean, s.
    joint : ndarray (J,) int64
        Numbers that tell of each other: keypoints and the pupil. Motion components are unknown
        together, where the frame before was lost.
    precision : ndarray (J, J) float32
        Inverse covariance of what they do in ``TOGETHER_S``.
    """

    mean: Floats
    std: Floats
    hold_s: Floats
    joint: Ints
    precision: Float32Array


def joint_of(columns: Sequence[Column]) -> Ints:
    """Return which columns may be unknown and tell of each other."""
    return np.flatnonzero([column.group != "motion" for column in columns])


def untold(columns: Sequence[Column]) -> Scaling:
    """Return the scaling of numbers that are deviations already, and tell nothing of each other."""
    n, joint = len(columns), joint_of(columns)
    alone = np.eye(len(joint), dtype=np.float32)
    return Scaling(np.zeros(n), np.ones(n), np.full(n, TOGETHER_S), joint, alone)


def scaling(behaviour: Behaviour) -> Scaling:
    """Return how the columns of a recording are scaled and guessed.

    Raises
    ------
    UserError
        A column is never known, or never changes.
    """
    values = behaviour.values
    known = np.isfinite(values)
    n = known.sum(0)
    total = np.where(known, values, 0).sum(0, dtype=np.float64)
    mean = total / np.maximum(n, 1)
    off = np.where(known, values - mean.astype(np.float32), 0)
    std = np.sqrt((off**2).sum(0, dtype=np.float64) / np.maximum(n, 1))
    if (bad := np.flatnonzero((n < 2) | (std < 1e-9))).size:
        raise UserError(
            f"{behaviour.names[bad[0]]}: is never known, or never changes; leave it out (inputs, "
            "keypoints)"
        )
    joint = joint_of(behaviour.columns)
    hold_s = np.empty(len(mean))
    for start in range(0, len(mean), AT_A_TIME):
        here = slice(start, start + AT_A_TIME)
        hold_s[here] = _holds_s(off[:, here] / std[here], known[:, here], behaviour)
    scaled = np.asarray(off[:, joint] / std[joint], np.float32)
    precision = _precision(scaled, known[:, joint], behaviour, hold_s[joint])
    return Scaling(mean, std, hold_s, joint, precision)


def _pairs(behaviour: Behaviour, lag_s: float) -> tuple[float, Ints, Ints]:
    """Return a lag in whole frame periods, s, and the pairs of frames (n,) so far apart."""
    period_ns = round(behaviour.period_s * 1e9)
    lag_ns = max(1, round(lag_s * 1e9 / period_ns)) * period_ns
    t_ns = behaviour.t_ns
    earlier = np.searchsorted(t_ns, t_ns - lag_ns - period_ns // 2)
    later = np.flatnonzero(np.abs(t_ns - t_ns[earlier] - lag_ns) <= period_ns // 2)
    return lag_ns * 1e-9, earlier[later], later


def _holds_s(scaled: Floats, known: Bools, behaviour: Behaviour) -> Floats:
    """Return the time constant of each column (n,); scaled is 0 where it is not known."""
    errors = np.zeros((len(HOLDS_S), scaled.shape[1]))
    for wanted_s in LAGS_S:
        lag_s, earlier, later = _pairs(behaviour, wanted_s)
        pairs = (known[earlier] & known[later]).sum(0)
        products = (scaled[earlier] * scaled[later]).sum(0, dtype=np.float64)
        expected = np.exp(-lag_s / HOLDS_S)[:, None]
        off = products / np.maximum(pairs, 1) - expected
        errors += np.where(pairs >= LEAST_PAIRS, off**2, 0)
    told = errors.any(0)
    return np.where(told, HOLDS_S[errors.argmin(0)], TOGETHER_S)


def _precision(
    scaled: Float32Array, known: Bools, behaviour: Behaviour, hold_s: Floats
) -> Float32Array:
    """Return the inverse covariance (J, J) of what columns do beyond what was expected of them."""
    lag_s, earlier, later = _pairs(behaviour, TOGETHER_S)
    both = (known[earlier] & known[later]).astype(np.float32)
    keep = np.exp(-lag_s / hold_s)
    off = (scaled[later] - keep.astype(np.float32) * scaled[earlier]) * both
    pairs = (both.T @ both).astype(np.float64)
    found = (off.T @ off).astype(np.float64) / np.maximum(pairs, 1)
    found[pairs < LEAST_PAIRS] = 0
    own = np.diag(found).copy()
    own[own <= 0] = (1 - keep**2)[own <= 0]
    size = np.sqrt(own)
    correlation = (1 - OWN) * found / np.outer(size, size)
    np.fill_diagonal(correlation, 1)
    # of columns that were known at different times no covariance may come out that there cannot be
    values, vectors = np.linalg.eigh(correlation)
    inverse = (vectors / np.maximum(values, OWN)) @ vectors.T
    return np.asarray(inverse / np.outer(size, size), np.float32)


class Scaler:
    """Scales the numbers of frames, in order, and guesses what is not known.

    Parameters
    ----------
    scaling : Scaling
    """

    def __init__(self, scaling: Scaling) -> None:
        self._mean = np.asarray(scaling.mean, np.float32)
        self._scale = (1 / np.asarray(scaling.std)).astype(np.float32)
        self._rates = -1e-9 / np.asarray(scaling.hold_s)
        self._joint = np.asarray(scaling.joint)
        self._precision = scaling.precision
        self._before_ns = 0
        self._before = np.zeros(len(self._mean), np.float32)
        self._out = np.zeros(len(self._mean), np.float32)

    def __call__(self, t_ns: int, x: Float32Array) -> Float32Array:
        """Return (F,) float32 without NaN; overwritten by the call after the next.

        ``t_ns`` is later than at the call before; before the first frame everything was at its
        mean.
        """
        out, self._out, self._before = self._before, self._before, self._out
        np.subtract(x, self._mean, out=out)
        out *= self._scale
        known = np.isfinite(out)
        if not known.all():
            self._guess(t_ns, out, ~known)
        self._before_ns = t_ns
        return out

    def _guess(self, t_ns: int, out: Float32Array, gone: Bools) -> None:
        keep = np.exp((t_ns - self._before_ns) * self._rates).astype(np.float32)
        expected = self._before * keep
        out[gone] = expected[gone]
        surprise = (out - expected)[self._joint]
        which = np.flatnonzero(gone[self._joint])
        if len(which) and surprise.any():
            rows = self._precision[which]
            out[self._joint[which]] -= np.linalg.solve(rows[:, which], rows @ surprise)
