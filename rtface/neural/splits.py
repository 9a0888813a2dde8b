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
    begin, end = float(times_s[0]), float(times_s[-1])
    length_s = (end - begin) / n_chunks
    if n_folds < 3 or length_s < gap_s or len(times_s) < 4 * n_chunks:
        raise UserError(
            f"{len(times_s)} samples in {end - begin:.0f} s are too few for {n_chunks} stretches "
            f"with gaps of {gap_s:g} s; record longer, or take fewer folds (3 at least) or a "
            "smaller gap_s"
        )
    chunk = np.minimum((times_s - begin) / length_s, n_chunks - 1).astype(np.int64)
    folds = []
    for fold in range(n_folds):
        test = chunk % n_folds == fold
        train = ~test & ~_near(times_s, begin, length_s, n_chunks, n_folds, fold, gap_s)
        other = (fold + 1 + n_folds // 2) % n_folds
        folds.append(Fold(train, train & (chunk % n_folds == other), test))
    return Split(folds, chunk, n_chunks)


def apart(split: Split, fold: Fold, times_s: Floats, gap_s: float = GAP_S) -> Bools:
    """Return the rows to learn from when ``fold.choose`` is what is judged."""
    chosen = np.unique(split.chunk[fold.choose])
    near = np.zeros(len(times_s), bool)
    for one in chosen:
        inside = times_s[fold.choose & (split.chunk == one)]
        near |= (times_s > inside[0] - gap_s) & (times_s < inside[-1] + gap_s)
    return fold.train & ~near


def _near(
    times_s: Floats,
    begin: float,
    length_s: float,
    n_chunks: int,
    n_folds: int,
    fold: int,
    gap_s: float,
) -> Bools:
    near = np.zeros(len(times_s), bool)
    for one in range(fold, n_chunks, n_folds):
        start = begin + one * length_s
        near |= (times_s > start - gap_s) & (times_s < start + length_s + gap_s)
    return near
