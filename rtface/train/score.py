"""What a score means: the chance that a keypoint lies where it is said to.

A network is too sure of itself on animals it never saw. Peaks and spreads of animals that were
left out, and how far off they were, give three numbers that make a probability of both.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from rtface.face import SURE
from rtface.types import Float32Array

#: a keypoint is right within this part of the eye's width (front to back corner) of the truth
RIGHT_WITHIN = 0.05


class Scoring(NamedTuple):
    """``score = logistic(bias + by_peak * logit(peak) + by_spread * log(spread))``.

    Spreads are in px of the input; ``spread`` is the usual one, of the keypoints it was fitted to.
    """

    bias: float = 0.0
    by_peak: float = 1.0
    by_spread: float = 0.0
    spread: float = 1.0

    def of(self, peak: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
        """Return scores, 0 to 1, of peaks (0 to 1) and spreads (input px) of any one shape."""
        sure = torch.logit(peak, 1e-6)
        return torch.sigmoid(self.bias + self.by_peak * sure + self.by_spread * torch.log(spread))

    @property
    def sure(self) -> float:
        """What a peak that is just believed scores at the usual spread."""
        return float(self.of(torch.tensor(SURE), torch.tensor(self.spread)))


#: of a network nobody has judged yet: the bare peak
PEAKS = Scoring()


def fit_scoring(
    peak: Float32Array, spread: Float32Array, right: np.ndarray, weight: Float32Array
) -> Scoring:
    """Return the scoring that makes ``right`` most likely: logistic regression.

    Parameters
    ----------
    peak, spread : ndarray (N,)
        As ``rtface.train.network.decode`` gives them, of keypoints of animals left out.
    right : ndarray (N,) bool
        Whether each lay within ``RIGHT_WITHIN`` of the eye's width of its label.
    weight : ndarray (N,)
        How much each counts.
    """
    features = np.stack(
        [
            np.ones_like(peak),
            np.log(np.clip(peak, 1e-6, 1 - 1e-6)) - np.log1p(-np.clip(peak, 1e-6, 1 - 1e-6)),
            np.log(spread),
        ],
        1,
    ).astype(np.float64)
    told = np.zeros(3)
    for _ in range(50):  # Newton's steps; a little decay keeps separable data finite
        chance = 1 / (1 + np.exp(-features @ told))
        slope = features.T @ (weight * (right - chance)) - 1e-3 * told
        bend = (features * (weight * chance * (1 - chance))[:, None]).T @ features
        step = np.linalg.solve(bend + 1e-3 * np.eye(3), slope)
        told = told + step
        if np.abs(step).max() < 1e-8:
            break
    bias, by_peak, by_spread = (float(one) for one in told)
    return Scoring(bias, by_peak, by_spread, float(np.median(spread)))
