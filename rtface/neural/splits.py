"""Folds in time: what is judged was not learned from, nor anything near it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rtface.neural.activity import Floats, Ints
from rtface.types import UserError

N_FOLDS, CHUNKS_OF_A_FOLD = 5, 4
#: left out on both sides of what is judged, s
GAP_S = 5.0
Bools = npt.NDArray[np.bool_]


class Fold(NamedTuple):
    """Rows to learn from and rows to judge by, (R,) bool each.

    Attributes
    ----------
    train, test : ndarray (R,) bool
    inner : tuple of Fold
        Folds of ``train`` alone: what is chosen by them has not seen ``test``.
    """

    train: Bools
    test: Bools
    inner: tuple[Fold, ...] = ()


class Split(NamedTuple):
    """Folds, and the stretch of time (a block) that each row is in.

    Attributes
    ----------
    folds : list of Fold
    chunk : ndarray (R,) int64
    n_chunks : int
    starts : ndarray (K,) int64
        Where pieces begin whose rows are in the same sets of all folds.
    """

    folds: list[Fold]
    chunk: Ints
    n_chunks: int
    starts: Ints


def split(
    times_s: Floats,
    n_folds: int = N_FOLDS,
    per_fold: int = CHUNKS_OF_A_FOLD,
    gap_s: float = GAP_S,
) -> Split:
    """Return folds of interleaved stretches of time.

    What is learned from has neither the rows that are judged nor those within ``gap_s`` of them;
    inner folds keep the same distance from each other, and all from what their fold is judged by.

    Raises
    ------
    UserError
        The recording is too short for that.
    """
    n_chunks = n_folds * per_fold
    chunk = np.arange(len(times_s)) * n_chunks // max(1, len(times_s))
    folds, starts = [], np.zeros(1, np.int64)
    if len(times_s) >= 4 * n_chunks and n_folds > 2:
        tests = [chunk % n_folds == k for k in range(n_folds)]
        nears = [_near(times_s, chunk, test, gap_s) for test in tests]
        for k, test in enumerate(tests):
            inner = tuple(
                Fold(~nears[k] & ~nears[c], tests[c] & ~nears[k]) for c in range(n_folds) if c != k
            )
            folds.append(Fold(~nears[k], test, inner))
        changes = np.any([np.diff(one, prepend=~one[:1]) for one in (*tests, *nears)], axis=0)
        starts = np.flatnonzero(changes | (np.diff(chunk, prepend=-1) > 0))
    inner_folds = [one for fold in folds for one in fold.inner]
    if not folds or any(min(f.train.sum(), f.test.sum()) <= n_chunks for f in inner_folds):
        raise UserError(
            f"{len(times_s)} samples in {times_s[-1] - times_s[0]:.0f} s are too few for "
            f"{n_chunks} stretches with gaps of {gap_s:g} s; record longer, or take fewer folds "
            "(3 at least) or a smaller gap_s"
        )
    return Split(folds, chunk, n_chunks, starts)


def _near(times_s: Floats, chunk: Ints, judged: Bools, gap_s: float) -> Bools:
    """Return which rows (R,) are in a judged stretch of time, or within a gap of it."""
    near = judged.copy()
    for one in np.unique(chunk[judged]):
        inside = times_s[judged & (chunk == one)]
        near |= (times_s > inside[0] - gap_s) & (times_s < inside[-1] + gap_s)
    return near
