"""Principal components of the activity of many units, in bounded memory."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rtface.neural.activity import BLOCK
from rtface.neural.crossvalidate import Target
from rtface.types import Float32Array

#: more directions than asked for, and rounds, of the randomised method
SPARE, ROUNDS = 10, 3


class Components(NamedTuple):
    """Directions (n, C) of units, orthonormal, and their traces (R, C), largest first."""

    directions: Float32Array
    traces: Float32Array


def components(target: Target, count: int, seed: int = 0) -> Components:
    """Return the principal components of a target, each unit in its own deviations.

    A randomised singular value decomposition with a fixed seed; the activity is read in blocks of
    units, twice in each of three rounds.
    """
    n, rows = len(target.units), len(target.samples)
    count = min(count, n, rows)
    wide = min(count + SPARE, n, rows)
    traces = np.random.default_rng(seed).standard_normal((rows, wide)).astype(np.float32)
    directions = np.zeros((n, wide), np.float32)
    for _ in range(ROUNDS):
        traces = np.linalg.qr(traces)[0]
        fresh = np.zeros((rows, wide), np.float32)
        for start in range(0, n, BLOCK):
            y = target.read(start, start + BLOCK)
            y -= y.mean(0)
            here = slice(start, start + y.shape[1])
            directions[here] = y.T @ traces
            fresh += y @ directions[here]
        traces = fresh
    # directions = Yt Q of the last Q: its decomposition is that of Y as seen through Q
    left, _, _ = np.linalg.svd(directions, full_matrices=False)
    directions = np.ascontiguousarray(left[:, :count], np.float32)
    signs = np.sign(directions[np.abs(directions).argmax(0), np.arange(count)])
    directions *= signs
    found = np.zeros((rows, count), np.float32)
    for start in range(0, n, BLOCK):
        y = target.read(start, start + BLOCK)
        y -= y.mean(0)
        found += y @ directions[start : start + y.shape[1]]
    return Components(directions, found)
