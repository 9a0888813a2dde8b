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
    """Rows to learn from, rows among them to choose by, and rows to judge by: (R,) bool each."""

    train: Bools
    choose: Bools
    test: Bools


class Split(NamedTuple):
    """Folds, and the stretch of time (a block) that each row is in."""

    folds: list[Fold]
    chunk: Ints
    n_chunks: int


def split(
    times_s: Floats,
    n_folds: int = N_FOLDS,
    per_fold: int = CHUNKS_OF_A_FOLD,
    gap_s: float = GAP_S,
) -> Split:
    """Return folds of interleaved stretches of time.

    ``train`` has neither the rows that are judged nor those within ``gap_s`` of them; ``choose``
    is a part of ``train``, and what is learned to choose by has to keep the same distance from it.

    Raises
    ------
    UserError
        The recording is too short for that.
    """
    n_chunks = n_folds * per_fold
    chunk = np.arange(len(times_s)) * n_chunks // max(1, len(times_s))
    folds = []
    for fold in range(n_folds if len(times_s) >= 4 * n_chunks and n_folds > 2 else 0):
        test = chunk % n_folds == fold
        train = ~test & ~_near(times_s, chunk, test, gap_s)
        other = (fold + 1 + n_folds // 2) % n_folds
        folds.append(Fold(train, train & (chunk % n_folds == other), test))
    made = Split(folds, chunk, n_chunks)
    enough = [min(apart(made, f, times_s, gap_s).sum(), f.choose.sum()) > n_chunks for f in folds]
    if not folds or not all(enough):
        raise UserError(
            f"{len(times_s)} samples in {times_s[-1] - times_s[0]:.0f} s are too few for "
            f"{n_chunks} stretches with gaps of {gap_s:g} s; record longer, or take fewer folds "
            "(3 at least) or a smaller gap_s"
        )
    return made


def apart(split: Split, fold: Fold, times_s: Floats, gap_s: float = GAP_S) -> Bools:
    """Return the rows to learn from when ``fold.choose`` is what is judged."""
    near = _near(times_s, split.chunk, fold.choose, gap_s)
    return fold.train & ~fold.choose & ~near


def _near(times_s: Floats, chunk: Ints, judged: Bools, gap_s: float) -> Bools:
    """Return which rows (R,) are in a judged stretch of time, or within a gap of it."""
    near = np.zeros(len(times_s), bool)
    for one in np.unique(chunk[judged]):
        inside = times_s[judged & (chunk == one)]
        near |= (times_s > inside[0] - gap_s) & (times_s < inside[-1] + gap_s)
    return near
