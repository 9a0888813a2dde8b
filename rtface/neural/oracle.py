"""What could be explained at best of a simulated session, by what was seen of it.

Movements of a simulated session are Gaussian and its kernels are known, so that the best that can
be said of a unit's signal, given every number that was seen until the end of a sample, is a Kalman
filter's. It knows how the session was made, and nothing of how models are fitted or what they do
about numbers that are missing.
"""

from __future__ import annotations

import numpy as np

from rtface.neural.activity import Floats
from rtface.neural.simulate import (
    AT_PX,
    BEGAN_S,
    FALL_S,
    OWN,
    OWN_S,
    PX,
    RISE,
    RISE_S,
    RUNNING,
    RUNNING_S,
    Simulated,
)

#: numbers are seen without noise; this keeps inverses finite
NOISE = 1e-9


def ceiling_of_what_was_seen(made: Simulated) -> Floats:
    """Return (N,): variance explained by the expected signal, given what was seen.

    It is ``made.ceiling`` where nothing was missing, and less where something was.
    """
    means = _expected(made)
    n = len(means)
    off = made.signal[:, :n] - (means @ made.gains).T
    size = np.maximum(made.signal.var(1), 1e-12)
    return np.asarray(made.ceiling * (1 - (off**2).mean(1) / size))


def _expected(made: Simulated) -> Floats:
    """Return (t, F): of each sample the expected mean of ``responses`` at its end."""
    seen = (made.behaviour.values.astype(np.float64) - AT_PX) / PX
    period_s, n = 1 / made.rate_hz, seen.shape[1]
    step, drive = _dynamics(period_s, n)
    noise = drive @ drive.T
    look = np.zeros((n, len(step)))  # what is seen of the state: movements
    look[:, 0], look[:, 1 : n + 1] = RUNNING, OWN * np.eye(n)
    sums = slice(3 * n + 1, None)
    every = round(made.sample_s * made.rate_hz)
    rows = np.round((made.behaviour.times_s - BEGAN_S) * made.rate_hz - 0.5).astype(int)
    of_frame = dict(zip(rows.tolist(), seen, strict=True))
    state, spread = np.zeros(len(step)), np.zeros(step.shape)
    out = np.empty((made.signal.shape[1], n))
    for frame in range(len(out) * every):
        if frame % every == 0:
            state[sums], spread[sums], spread[:, sums] = 0, 0, 0
        state = step @ state
        spread = step @ spread @ step.T + noise
        x = of_frame.get(frame)
        if x is not None and (known := np.isfinite(x)).any():
            some = look[known]
            shared = spread @ some.T
            gain = np.linalg.solve(some @ shared + NOISE * np.eye(len(some)), shared.T).T
            state = state + gain @ (x[known] - some @ state)
            spread = spread - gain @ shared.T
            spread = (spread + spread.T) / 2
        if frame % every == every - 1:
            out[frame // every] = state[sums] / every
    return out


def _dynamics(period_s: float, n: int) -> tuple[Floats, Floats]:
    """Return how the state goes on and how white noise drives it.

    The state is running, own movements (n,), their slow and fast averages, and sums of responses.
    """
    own, slow, fast, total = (slice(1 + i * n, 1 + (i + 1) * n) for i in range(4))
    keep_running, keep_own, keep_slow, keep_fast = (
        np.exp(-period_s / tau_s) for tau_s in (RUNNING_S, OWN_S, FALL_S, RISE_S)
    )
    size, one = 4 * n + 1, np.eye(n)
    step, drive = np.zeros((size, size)), np.zeros((size, n + 1))
    step[0, 0], drive[0, 0] = keep_running, np.sqrt(1 - keep_running**2)
    step[own, own], drive[own, 1:] = keep_own * one, np.sqrt(1 - keep_own**2) * one
    for table in (step, drive):
        moved = OWN * table[own] + RUNNING * table[:1]
        for average, keep in ((slow, keep_slow), (fast, keep_fast)):
            table[average] = (1 - keep) * moved
    step[slow, slow] += keep_slow * one
    step[fast, fast] += keep_fast * one
    for table in (step, drive):
        table[total] = table[slow] - RISE * table[fast]
    step[total, total] += one
    return step, drive
