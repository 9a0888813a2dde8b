"""Facemap's robust Gaussian: where the dark (or bright) pixels are, and how far they spread."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

#: px2 that Facemap adds to both variances
VARIANCE = 0.01
_STEPS = 5
#: axes differ at most by this factor
MOST_RATIO = 2.0

Float64Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class Gaussian(NamedTuple):
    """An ellipse at ``sigma`` standard deviations of the fitted Gaussian, in px of the ROI.

    Attributes
    ----------
    area : float
        pi times both semi-axes, px2.
    row, column : float
        Its centre, Facemap's ``com``.
    long, short : float
        Semi-axes, px: square roots of Facemap's ``axlen``.
    angle : float
        From the columns' direction (x) to the long axis, towards the rows' (y, down); rad, within
        +-pi/2.
    """

    area: float
    row: float
    column: float
    long: float
    short: float
    angle: float


#: nothing was found
NOTHING = Gaussian(*([math.nan] * 6))


def features(height: int, width: int) -> Float64Array:
    """Return (6, height * width): 1, y, x, yy, yx, xx of every pixel, from the ROI's middle.

    Sums of weights times these are all moments that the fit needs.
    """
    y, x = np.mgrid[:height, :width].reshape(2, -1) - np.array(
        [[(height - 1) / 2], [(width - 1) / 2]]
    )
    return np.ascontiguousarray(np.stack([np.ones_like(y), y, x, y * y, y * x, x * x]))


class RobustGaussian:
    """Fits weighted pixels of one ROI as Facemap does.

    From the moments of all weights on, five times: weights beyond sqrt(2) of the ellipse become 0
    for good, pixels of ``reflector`` within 1.07 of it get 1.1 times the median weight inside it.

    Parameters
    ----------
    height, width : int
        Of the ROI, px.
    sigma : float
        Size of the ellipse in standard deviations; 2 gives the edge of an even disc.
    """

    def __init__(self, height: int, width: int, sigma: float) -> None:
        self.shape = height, width
        self._sigma2 = sigma * sigma
        self._features = features(height, width)

    def __call__(
        self,
        at: npt.NDArray[np.intp],
        weights: Float64Array,
        reflector: npt.NDArray[np.intp] | None = None,
    ) -> Gaussian:
        """Return the ellipse, or ``NOTHING``.

        Parameters
        ----------
        at : ndarray (N,) int
            Flat places (row * width + column) of the pixels that have weight, none of them in
            ``reflector``.
        weights : ndarray (N,) float64
            Above 0. Overwritten.
        reflector : ndarray (R,) int, optional
            Flat places of pixels that a reflection hides.
        """
        if not len(at):
            return NOTHING
        near = self._features.take(at, axis=1)
        hidden = None
        if reflector is not None and len(reflector):
            hidden = self._features.take(reflector, axis=1)
        mean_y, mean_x, yy, yx, xx = _moments(near @ weights)
        for _ in range(_STEPS):
            outwards = _distance(mean_y, mean_x, yy, yx, xx)
            distance = outwards @ near
            weights *= distance <= 2 * self._sigma2
            sums = near @ weights
            if hidden is not None:
                # those that became 0 before count too, as in Facemap
                inside = weights[distance <= self._sigma2]
                if not len(inside):
                    return NOTHING
                covered = (outwards @ hidden) <= 1.15 * self._sigma2
                sums += 1.1 * _median(inside) * (hidden @ covered)
            if not sums[0] > 0:
                return NOTHING
            mean_y, mean_x, yy, yx, xx = _moments(sums)
        return self._ellipse(mean_y, mean_x, yy, yx, xx)

    def _ellipse(self, y: float, x: float, yy: float, yx: float, xx: float) -> Gaussian:
        middle, spread = (yy + xx) / 2, math.hypot((yy - xx) / 2, yx)
        small = max(middle - spread, 0.0)
        large = min(middle + spread, MOST_RATIO**2 * small)
        height, width = self.shape
        return Gaussian(
            math.pi * self._sigma2 * math.sqrt(large * small),
            y + (height - 1) / 2,
            x + (width - 1) / 2,
            math.sqrt(self._sigma2 * large),
            math.sqrt(self._sigma2 * small),
            0.5 * math.atan2(2 * yx, xx - yy),
        )


def _median(values: Float64Array) -> float:
    # a third of the time of numpy's, which looks for NaN first
    n = len(values)
    part = np.partition(values, n // 2)
    middle = float(part[n // 2])
    return middle if n % 2 else (float(part[: n // 2].max()) + middle) / 2


def _moments(sums: Float64Array) -> tuple[float, float, float, float, float]:
    """Return means (y, x) and covariances (yy, yx, xx) from sums over the features."""
    total, y, x, yy, yx, xx = sums.tolist()
    y, x = y / total, x / total
    return (
        y,
        x,
        yy / total - y * y + VARIANCE,
        yx / total - y * x,
        xx / total - x * x + VARIANCE,
    )


def _distance(y: float, x: float, yy: float, yx: float, xx: float) -> Float64Array:
    """Return what, times the features, is the squared Mahalanobis distance."""
    determinant = yy * xx - yx * yx
    a, b, c = xx / determinant, -yx / determinant, yy / determinant
    constant = a * y * y + 2 * b * y * x + c * x * x
    return np.array([constant, -2 * (a * y + b * x), -2 * (b * y + c * x), a, 2 * b, c])


def inscribed(height: int, width: int) -> Mask:
    """Return the pixels (height, width) whose centres lie in the ellipse that fills a ROI."""
    y = (np.arange(height) - (height - 1) / 2) / (height / 2)
    x = (np.arange(width) - (width - 1) / 2) / (width / 2)
    return np.asarray(y[:, None] ** 2 + x**2 <= 1)
