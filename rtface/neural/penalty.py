"""How strongly each unit's weights are held back: chosen where the unit is not judged. Pure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rtface.neural.activity import Floats
from rtface.neural.regression import inputs
from rtface.neural.splits import Bools, Fold, Split, apart
from rtface.types import Float32Array

#: penalties that are tried, as a part of the inputs' own variance; the last leaves nothing
PENALTIES = tuple(10.0**k for k in range(-4, 5))


class Covariance(NamedTuple):
    """Inputs and targets together: (P, n) of their products about means, and (n,) means."""

    xy: Floats
    y_mean: Floats


def covariance(x: Float32Array, y: Float32Array, rows: Bools) -> Covariance:
    """Return the covariances of inputs (R, P) and targets (R, n) in some rows."""
    some, its = x[rows], y[rows]
    x_mean, y_mean = some.mean(0), its.mean(0)
    xy = ((some - x_mean).T @ (its - y_mean)).astype(np.float64) / len(some)
    return Covariance(xy, y_mean.astype(np.float64))


class Chooser:
    """Chooses by the rows ``fold.choose`` what was learned from those that are apart from them.

    Parameters
    ----------
    x : ndarray (R, P)
    subset : ndarray (P,) bool
        Which inputs are used.
    early : ndarray (R,) bool
        Rows to learn from.
    judge : ndarray (R,) bool
    """

    def __init__(self, x: Float32Array, subset: Bools, early: Bools, judge: Bools) -> None:
        self._subset = subset
        self._known = known = inputs(x[early][:, subset])
        turned = (x[judge][:, subset] - known.mean) / known.std @ known.vectors
        self._gram, self._sum = turned.T @ turned, turned.sum(0)

    def __call__(self, learned: Covariance, products: Floats, sums: Floats) -> Floats:
        """Return the penalty of each unit (n,).

        Parameters
        ----------
        learned : Covariance
            Of the rows to learn from.
        products : ndarray (P, n)
            ``x.T @ (y - learned.y_mean)`` of the rows to choose by.
        sums : ndarray (n,)
            Of ``y - learned.y_mean`` there.
        """
        known, subset = self._known, self._subset
        weights = known.vectors.T @ (learned.xy[subset] / known.std[:, None])
        off = (products[subset] - known.mean[:, None] * sums) / known.std[:, None]
        wanted = known.vectors.T @ off
        errors = []
        for penalty in PENALTIES:
            held = weights / (known.values + penalty)[:, None]
            errors.append((held * (self._gram @ held - 2 * wanted)).sum(0))
        best: Floats = np.array(PENALTIES)[np.argmin(errors, axis=0)]
        return best


class Choosers:
    """Those of one fold and several subsets of inputs; they share what is read of the targets."""

    def __init__(
        self, x: Float32Array, split: Split, fold: Fold, times_s: Floats, gap_s: float,
        subsets: list[Bools],
    ) -> None:  # fmt: skip
        self._x, self._judge = x, fold.choose
        self._early = apart(split, fold, times_s, gap_s)
        self._seen = x[fold.choose]
        self._each = [Chooser(x, subset, self._early, fold.choose) for subset in subsets]

    def __call__(self, y: Float32Array) -> list[Floats]:
        """Return for each subset the penalties (n,) of targets (R, n)."""
        learned = covariance(self._x, y, self._early)
        off = y[self._judge] - learned.y_mean.astype(np.float32)
        products = (self._seen.T @ off).astype(np.float64)
        sums = off.sum(0, dtype=np.float64)
        return [choose(learned, products, sums) for choose in self._each]


def choose_penalties(
    x: Float32Array, y: Float32Array, times_s: Floats, split: Split, gap_s: float
) -> Floats:
    """Return penalties (n,) for a fit to everything: medians of those of the folds."""
    every = [np.ones(x.shape[1], bool)]
    found = [Choosers(x, split, fold, times_s, gap_s, every)(y)[0] for fold in split.folds]
    return np.asarray(np.sort(found, axis=0)[len(found) // 2])


def one_for_all(penalties: Floats) -> float:
    """Return the penalty in the middle."""
    return float(np.sort(penalties)[len(penalties) // 2])
