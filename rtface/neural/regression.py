"""Ridge and reduced-rank regression in closed form. Pure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rtface.neural.activity import Floats

#: inputs that hardly vary where they are learned from are not blown up: elsewhere they may
LEAST_STD = 0.1


class Inputs(NamedTuple):
    """What a regression knows of its inputs X (R, P).

    Attributes
    ----------
    n : int
        Rows.
    mean, std : ndarray (P,)
        Deviations are ``LEAST_STD`` at least.
    vectors : ndarray (P, P)
        Eigenvectors of their covariances in these deviations, columns.
    values : ndarray (P,)
        Eigenvalues.
    """

    n: int
    mean: Floats
    std: Floats
    vectors: Floats
    values: Floats


def inputs(x: np.ndarray) -> Inputs:
    """Return what is needed of inputs (R, P)."""
    mean = x.mean(0, dtype=np.float64)
    off = x - mean
    covariance = off.T @ off / len(x)
    return of_moments(len(x), mean, covariance)


def of_moments(n: int, mean: Floats, covariance: Floats) -> Inputs:
    """Return the same, of a mean and a covariance (P, P)."""
    std = np.maximum(np.sqrt(np.diag(covariance)), LEAST_STD)
    values, vectors = np.linalg.eigh(covariance / np.outer(std, std))
    return Inputs(n, mean, std, vectors, np.maximum(values, 0))


def ridge(known: Inputs, xy: Floats, penalty: float | Floats) -> Floats:
    """Return weights (P, N) of inputs as they are.

    Parameters
    ----------
    known : Inputs
    xy : ndarray (P, N)
        Covariances of inputs and targets.
    penalty : float or ndarray (N,)
        As a part of the inputs' own variance; of all targets, or of each.
    """
    turned = known.vectors.T @ (xy / known.std[:, None])
    turned /= known.values[:, None] + penalty
    return np.asarray((known.vectors @ turned) / known.std[:, None])


def low_rank(known: Inputs, xy: Floats, penalty: float, rank: int) -> tuple[Floats, Floats]:
    """Return the two factors (P, r), (r, N) of the best weights of a rank.

    Of all weights of that rank these predict the penalised targets best: the leading directions of
    what ridge predicts. The factors' outputs ``x @ first`` are uncorrelated and ordered.
    """
    scale = np.sqrt(known.values + penalty)
    turned = known.vectors.T @ (xy / known.std[:, None]) / scale[:, None]  # whitened, (P, N)
    values, left = np.linalg.eigh(turned @ turned.T)
    left = left[:, np.argsort(values)[::-1][:rank]]
    first = known.vectors @ (left / scale[:, None]) / known.std[:, None]
    return first, left.T @ turned
