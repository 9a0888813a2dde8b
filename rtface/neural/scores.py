"""What is said of a model: variance explained with intervals, a control, and what was possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rtface.neural.activity import Floats, Ints
from rtface.neural.components import components
from rtface.neural.crossvalidate import Progress, Scores, Target, crossvalidate
from rtface.neural.splits import Bools, Split
from rtface.types import Float32Array

#: draws of stretches of time for an interval
DRAWS = 500
#: components of half of the units that explain the other half
PEERS = 64
#: where peers explain less than this, there is nothing to be a part of
LEAST_POSSIBLE = 0.002


class Interval(NamedTuple):
    """A value and where it lies with 95 % (of stretches of time drawn again)."""

    value: Floats
    low: Floats
    high: Floats


class Data(NamedTuple):
    """Rows of inputs and what they explain.

    Attributes
    ----------
    x : ndarray (R, P)
    target : Target
    times_s : ndarray (R,)
    split : Split
    """

    x: Float32Array
    target: Target
    times_s: Floats
    split: Split

    def scores(
        self,
        subsets: Mapping[str, Bools] | None = None,
        rank: int | None = None,
        shuffled: bool = False,
        on_progress: Progress = lambda _done, _total: None,
    ) -> Scores:
        """Return the cross-validated errors; ``shuffled``: of activity half a recording off."""
        subsets = subsets or {"all": np.ones(self.x.shape[1], bool)}
        return crossvalidate(
            self.x,
            self.target,
            self.split,
            subsets,
            rank,
            len(self.x) // 2 if shuffled else 0,
            on_progress,
        )


def draws(n_chunks: int, seed: int = 0, n: int = DRAWS) -> Floats:
    """Return (n, B): how often each stretch of time is in each draw."""
    random = np.random.default_rng(seed)
    return random.multinomial(n_chunks, np.full(n_chunks, 1 / n_chunks), n).astype(np.float64)


def mean_interval(
    scores: Scores, weights: Mapping[int, float], units: Ints | slice = slice(None)
) -> Interval:
    """Return the mean over units of a weighted sum of subsets' variance explained.

    Parameters
    ----------
    scores : Scores
    weights : mapping of int to float
        Of each subset: ``{0: 1}`` is its variance explained, ``{0: 1, 1: -1}`` a difference.
    units : indices
    """
    found = _combined(scores, weights, units)
    total = scores.total[:, units]
    constant = sum(weights.values())

    def mean(times: Floats) -> Floats:
        """Return the mean of each draw (D,) of stretches."""
        return np.asarray(constant - (times @ found / (times @ total)).mean(1))

    value = mean(np.ones((1, len(total))))[0]
    low, high = np.percentile(mean(draws(len(total))), (2.5, 97.5))
    return Interval(value, low, high)


def together(scores: Scores) -> Interval:
    """Return the variance of all targets together that subset 0 explains: large ones count more."""
    error, total = scores.error[0].sum(1, dtype=np.float64), scores.total.sum(1, dtype=np.float64)
    times = draws(len(total))
    low, high = np.percentile(1 - (times @ error) / (times @ total), (2.5, 97.5))
    return Interval(np.asarray(1 - error.sum() / total.sum()), low, high)


def unit_intervals(
    scores: Scores, weights: Mapping[int, float], units: Ints | slice = slice(None)
) -> Interval:
    """Return the same of each unit (n,)."""
    found = _combined(scores, weights, units)
    total = scores.total[:, units].astype(np.float64)
    constant = sum(weights.values())
    value = constant - found.sum(0) / total.sum(0)
    low, high = np.empty_like(value), np.empty_like(value)
    times = draws(len(total))
    for start in range(0, len(value), 1000):
        here = slice(start, start + 1000)
        drawn = constant - times @ found[:, here] / (times @ total[:, here])
        low[here], high[here] = np.percentile(drawn, (2.5, 97.5), axis=0)
    return Interval(value, low, high)


def _combined(scores: Scores, weights: Mapping[int, float], units: Ints | slice) -> Floats:
    """Return (B, n): the weighted sum of the subsets' errors."""
    return np.asarray(
        sum(weight * scores.error[s][:, units].astype(np.float64) for s, weight in weights.items())
    )


class Peers(NamedTuple):
    """How much of each unit (n,) its peers explain, and of shuffled activity; NaN: has none."""

    explained: Floats
    shuffled: Floats


def peers(
    target: Target, split: Split, on_progress: Progress = lambda _done, _total: None
) -> Peers:
    """Return how much of each unit is explained by the units of the other half.

    What all of them share is what a model could explain; what is each unit's own is not. Needs
    many units: with few, less is found than there is.
    """
    n = len(target.units)
    order = np.random.default_rng(0).permutation(n)
    halves = np.sort(order[: n // 2]), np.sort(order[n // 2 :])
    found = Peers(np.full(n, np.nan), np.full(n, np.nan))
    if not len(halves[0]):
        return found
    count = min(PEERS, min(int(fold.train.sum()) for fold in split.folds) // 4)
    for one, other in (halves, halves[::-1]):
        seen = components(target._replace(units=target.units[one]), count)
        judged = target._replace(units=target.units[other])
        every = {"peers": np.ones(seen.traces.shape[1], bool)}
        for into, shift in zip(found, (0, len(seen.traces) // 2), strict=True):
            scores = crossvalidate(
                seen.traces, judged, split, every, shift=shift, on_progress=on_progress
            )
            into[other] = scores.explained[0]
    return found


def share(explained: Floats, possible: Floats) -> float:
    """Return which part of what was possible is explained, over all units; NaN if nothing was."""
    known = np.isfinite(possible)
    total = np.maximum(possible[known], 0)
    if not total.size or total.mean() < LEAST_POSSIBLE:
        return float("nan")
    return float(explained[known].sum()) / float(total.sum())


def of_regions(regions: Sequence[str], units: Ints) -> dict[str, Ints]:
    """Return for each region the places of its units among ``units``."""
    names = np.array([regions[i] for i in units])
    return {str(name): np.flatnonzero(names == name) for name in np.unique(names)}
