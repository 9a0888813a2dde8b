"""How well activity is explained by inputs that were not learned from, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from rtface.neural.activity import BLOCK, Floats, Ints, Moments
from rtface.neural.penalty import Choosers, one_for_all, sums
from rtface.neural.regression import Inputs, inputs, low_rank, ridge
from rtface.neural.splits import Bools, Split
from rtface.types import Float32Array, UserError

#: units by which a penalty that all share is chosen, at most
SAMPLE = 200
#: inputs times units whose sums are held at a time: 120 MB of 60 pieces
LARGEST = 500_000
Progress = Callable[[int, int], None]


class Scores(NamedTuple):
    """Squared errors of what was judged.

    Attributes
    ----------
    error : ndarray (S, B, N) float32
        Of each subset of inputs, stretch of time and unit.
    total : ndarray (B, N) float32
        About the mean of what was learned from: a model that says nothing explains 0, also where
        activity drifts.
    """

    error: Float32Array
    total: Float32Array

    @property
    def explained(self) -> Floats:
        """(S, N) variance explained of each subset and unit."""
        return np.asarray(1 - self.error.sum(1, dtype=np.float64) / self.total.sum(0))


class Target(NamedTuple):
    """Activity that is to be explained.

    Attributes
    ----------
    values : ndarray (N, T)
        May be mapped from a file.
    units : ndarray (n,) int64
        Those of its rows.
    moments : Moments
        Of all N.
    samples : ndarray (R,) int64
        The sample of each row of the inputs.
    """

    values: Any
    units: Ints
    moments: Moments
    samples: Ints

    def read(self, start: int, stop: int) -> Float32Array:
        """Return (R, n) float32 of units ``start`` to before ``stop``, in deviations."""
        units = self.units[start:stop]
        low, high = int(units[0]), int(units[-1]) + 1
        if high - low <= 2 * len(units):  # neighbours: a view, and one copy of what is wanted
            block = np.asarray(self.values[low:high], np.float32)[units - low]
        else:
            block = np.asarray(self.values[units], np.float32)
        block = block[:, self.samples]
        block -= self.moments.mean[units, None].astype(np.float32)
        block /= self.moments.std[units, None].astype(np.float32)
        return np.ascontiguousarray(block.T)

    def blocks(self, most: int = BLOCK) -> Iterator[Float32Array]:
        """Yield all of it, ``most`` units at a time."""
        for start in range(0, len(self.units), most):
            yield self.read(start, start + most)

    def sample(self) -> Float32Array:
        """Return (R, n) of some of its units, evenly spread."""
        few = self._replace(units=self.units[:: -(-len(self.units) // SAMPLE)])
        return few.read(0, len(few.units))


def at_a_time(n_inputs: int) -> int:
    """Return of how many units sums are made at a time: with many inputs those are large."""
    return max(1, min(BLOCK, LARGEST // n_inputs))


def check_enough(split: Split, n_inputs: int) -> None:
    """Raise UserError if there are fewer samples to learn from than numbers to be learned."""
    least = min(int(fold.train.sum()) for fold in split.folds)
    if least < n_inputs:
        raise UserError(
            f"{least} samples to learn from and {n_inputs} parameters per unit; take fewer inputs "
            "(inputs, keypoints, components), fewer lags_s, or a longer recording"
        )


def crossvalidate(
    x: Float32Array,
    target: Target,
    split: Split,
    subsets: Mapping[str, Bools],
    rank: int | None = None,
    shift: int = 0,
    on_progress: Progress = lambda _done, _total: None,
) -> Scores:
    """Return the errors of regressions that never saw what they are judged by.

    Parameters
    ----------
    x : ndarray (R, P)
        Inputs of each row.
    target : Target
    split : Split
        Of the rows.
    subsets : mapping of str to ndarray (P,) bool
        Which inputs are used; each is a regression of its own.
    rank : int, optional
        Of the weights; None: ridge.
    shift : int
        Rows by which the activity is turned round in time: a control.
    """
    check_enough(split, x.shape[1])
    target = target._replace(samples=np.roll(target.samples, shift))
    masks = list(subsets.values())
    choosers = [Choosers(x, split, fold.inner, masks) for fold in split.folds]
    known = [[inputs(x[fold.train][:, one]) for one in masks] for fold in split.folds]
    n = len(target.units)
    error = np.zeros((len(masks), split.n_chunks, n), np.float32)
    total = np.zeros((split.n_chunks, n), np.float32)
    directions = [] if rank is None else _directions(x, target, split, masks, choosers, known, rank)
    step = at_a_time(x.shape[1])
    for start, y in zip(range(0, n, step), target.blocks(step), strict=True):
        here, seen = slice(start, start + y.shape[1]), sums(x, y, split)
        for k, fold in enumerate(split.folds):
            learned = seen.covariance(fold.train[split.starts])
            penalties = choosers[k](y, seen) if rank is None else []
            judged, chunk = y[fold.test], split.chunk[fold.test]
            _add(total[:, here], chunk, judged - learned.y_mean.astype(np.float32))
            for s, one in enumerate(masks):
                if rank is None:
                    weights = ridge(known[k][s], learned.xy[one], penalties[s])
                else:
                    weights = directions[k][s] @ (directions[k][s].T @ learned.xy[one])
                off = x[fold.test][:, one] - known[k][s].mean.astype(np.float32)
                predicted = off @ weights.astype(np.float32) + learned.y_mean.astype(np.float32)
                _add(error[s, :, here], chunk, judged - predicted)
        on_progress(min(n, start + step), n)
    return Scores(error, total)


def _directions(
    x: Float32Array,
    target: Target,
    split: Split,
    subsets: list[Bools],
    choosers: list[Choosers],
    known: list[list[Inputs]],
    rank: int,
) -> list[list[Floats]]:
    """Return for each fold and subset (P, r) with ``weights = d @ d.T @ xy``."""
    sample = target.sample()
    sampled = sums(x, sample, split)
    found = []
    for k, fold in enumerate(split.folds):
        train = fold.train[split.starts]
        blocks = target.blocks(at_a_time(x.shape[1]))
        xy = np.concatenate([sums(x, y, split).covariance(train).xy for y in blocks], 1)
        penalties = [one_for_all(each) for each in choosers[k](sample, sampled)]
        found.append(
            [low_rank(known[k][s], xy[one], penalties[s], rank)[0] for s, one in enumerate(subsets)]
        )
    return found


def _add(into: Float32Array, chunk: Ints, off: Float32Array) -> None:
    """Add up squares (R, n) by stretch of time into (B, n)."""
    starts = np.flatnonzero(np.diff(chunk, prepend=-1))
    into[chunk[starts]] += np.add.reduceat(off**2, starts, axis=0)


class HeldOut(NamedTuple):
    """One fold of ridge, to look at: rows that were judged, and weights (P, n) of its units."""

    rows: Ints
    measured: Float32Array
    predicted: Float32Array
    weights: Floats


def held_out(x: Float32Array, target: Target, split: Split) -> HeldOut:
    """Return what the first fold says of the units of ``target`` (a few of them)."""
    fold, every = split.folds[0], [np.ones(x.shape[1], bool)]
    y = target.read(0, len(target.units))
    seen = sums(x, y, split)
    penalties = Choosers(x, split, fold.inner, every)(y, seen)[0]
    known, learned = inputs(x[fold.train]), seen.covariance(fold.train[split.starts])
    weights = ridge(known, learned.xy, penalties)
    predicted = (x[fold.test] - known.mean) @ weights + learned.y_mean
    rows = np.flatnonzero(fold.test)
    return HeldOut(rows, y[fold.test], predicted.astype(np.float32), weights)
