"""How strongly each unit's weights are held back: chosen where the unit is not judged. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rtface.neural.activity import Floats, Ints
from rtface.neural.regression import inputs
from rtface.neural.splits import Bools, Fold, Split
from rtface.types import Float32Array

#: penalties that are tried, as a part of the inputs' own variance
PENALTIES = tuple(10.0**k for k in range(-4, 5))
#: weights that do not explain more than nothing by so many standard errors are none: learned from
#: chance they would do harm wherever they are judged
SURE = 2.0


class Covariance(NamedTuple):
    """Inputs and targets together: (P, n) of their products about means, and (n,) means."""

    xy: Floats
    y_mean: Floats


class Sums(NamedTuple):
    """Sums of every piece of a split, of which those of any set of rows are made.

    Attributes
    ----------
    n : ndarray (K,)
        Rows.
    x, y : ndarray (K, P), (K, n)
    xy : ndarray (K, P, n) float32
    """

    n: Floats
    x: Floats
    y: Floats
    xy: Float32Array

    def covariance(self, pieces: Bools) -> Covariance:
        """Return the covariances of inputs and targets in some pieces (K,) bool."""
        which = pieces.astype(np.float64)
        n = float(which @ self.n)
        x_mean, y_mean = which @ self.x / n, which @ self.y / n
        xy = np.tensordot(which.astype(np.float32), self.xy, 1) / n
        return Covariance(xy.astype(np.float64) - np.outer(x_mean, y_mean), y_mean)


def sums(x: Float32Array, y: Float32Array, split: Split) -> Sums:
    """Return what there is to know of inputs (R, P) and targets (R, n), about 0 all of them."""
    ends = np.append(split.starts[1:], len(x))
    products = np.empty((len(ends), x.shape[1], y.shape[1]), np.float32)
    for into, start, end in zip(products, split.starts, ends, strict=True):
        np.dot(x[start:end].T, y[start:end], out=into)
    of_x, of_y = (np.add.reduceat(one, split.starts, 0, np.float64) for one in (x, y))
    return Sums((ends - split.starts).astype(np.float64), of_x, of_y, products)


class Chooser:
    """Chooses the penalty of each unit by the inner folds of a fold, for one subset of inputs.

    Parameters
    ----------
    x : ndarray (R, P)
    subset : ndarray (P,) bool
        Which inputs are used.
    folds : sequence of Fold
    """

    def __init__(self, x: Float32Array, subset: Bools, folds: Sequence[Fold]) -> None:
        self._subset = subset
        self._known = [inputs(x[fold.train][:, subset]) for fold in folds]
        self._grams = []
        for fold, known in zip(folds, self._known, strict=True):
            turned = (x[fold.test][:, subset] - known.mean) / known.std @ known.vectors
            self._grams.append(turned.T @ turned)

    def __call__(self, seen: Sequence[_Seen]) -> Floats:
        """Return the penalty of each unit (n,), of what was ``seen`` of each inner fold.

        Infinite: nothing is sure enough to be said.
        """
        subset, turned = self._subset, []
        errors = np.zeros((len(PENALTIES), len(seen[0].learned.y_mean)))
        for known, gram, one in zip(self._known, self._grams, seen, strict=True):
            weights = known.vectors.T @ (one.learned.xy[subset] / known.std[:, None])
            off = (one.products[subset] - known.mean[:, None] * one.sums) / known.std[:, None]
            wanted = known.vectors.T @ off
            for i, penalty in enumerate(PENALTIES):
                held = weights / (known.values + penalty)[:, None]
                errors[i] += (held * (gram @ held - 2 * wanted)).sum(0)
            turned.append(weights)
        best: Floats = np.array(PENALTIES)[np.argmin(errors, axis=0)]
        gains = []
        for known, weights, one in zip(self._known, turned, seen, strict=True):
            held = known.vectors @ (weights / (known.values[:, None] + best)) / known.std[:, None]
            whole = np.zeros((len(subset), held.shape[1]), np.float32)
            whole[subset] = held
            predicted = one.x @ whole - (known.mean @ held).astype(np.float32)
            gains.append(np.add.reduceat(predicted * (2 * one.off - predicted), one.starts))
        gain = np.concatenate(gains).astype(np.float64)
        sure = gain.sum(0) > SURE * gain.std(0, ddof=1) * np.sqrt(len(gain))
        return np.where(sure, best, np.inf)


class _Seen(NamedTuple):
    """An inner fold's rows to choose by, and what was learned elsewhere.

    Attributes
    ----------
    learned : Covariance
    x, off : ndarray (r, P), (r, n)
        Inputs, and targets about ``learned.y_mean``.
    products, sums : ndarray (P, n), (n,)
        ``x.T @ off``, and of ``off``.
    starts : ndarray (B,)
        Where stretches of time begin.
    """

    learned: Covariance
    x: Float32Array
    off: Float32Array
    products: Floats
    sums: Floats
    starts: Ints


class Choosers:
    """Those of one fold and several subsets of inputs; they share what is read of the targets."""

    def __init__(
        self, x: Float32Array, split: Split, folds: Sequence[Fold], subsets: Sequence[Bools]
    ) -> None:
        self._x, self._split, self._folds = x, split, folds
        self._each = [Chooser(x, subset, folds) for subset in subsets]

    def __call__(self, y: Float32Array, known: Sums) -> list[Floats]:
        """Return for each subset the penalties (n,) of targets (R, n), whose sums are ``known``."""
        seen = []
        for fold in self._folds:
            learned = known.covariance(fold.train[self._split.starts])
            x, off = self._x[fold.test], y[fold.test] - learned.y_mean.astype(np.float32)
            products = (x.T @ off).astype(np.float64)
            starts = np.flatnonzero(np.diff(self._split.chunk[fold.test], prepend=-1))
            seen.append(_Seen(learned, x, off, products, off.sum(0, dtype=np.float64), starts))
        return [choose(seen) for choose in self._each]


def choose_penalties(x: Float32Array, y: Float32Array, split: Split) -> Floats:
    """Return the penalties (n,) for a fit to everything."""
    every = [np.ones(x.shape[1], bool)]
    return Choosers(x, split, split.folds, every)(y, sums(x, y, split))[0]


def one_for_all(penalties: Floats) -> float:
    """Return the penalty in the middle of those of units of which something is said."""
    finite = penalties[np.isfinite(penalties)]
    return float(np.sort(finite)[len(finite) // 2]) if len(finite) else np.inf
