"""Fitting: data out of a session and a recording, and models of all of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rtface.neural.activity import Activity, Floats, Ints, Moments, moments
from rtface.neural.behaviour import Behaviour
from rtface.neural.components import components
from rtface.neural.crossvalidate import Target, at_a_time
from rtface.neural.design import design
from rtface.neural.filters import TAUS_S
from rtface.neural.model import Common, Linear
from rtface.neural.penalty import Choosers, choose_penalties, one_for_all, sums
from rtface.neural.regression import inputs, low_rank, ridge
from rtface.neural.sampling import Meeting, meet_planes
from rtface.neural.scaling import Scaling, scaling
from rtface.neural.scores import Data
from rtface.neural.splits import GAP_S, N_FOLDS, split
from rtface.types import Float32Array

#: components of the activity that are predicted
COMPONENTS = 32


class Settings(NamedTuple):
    """How data are prepared.

    Attributes
    ----------
    taus_s : tuple of float
        Time constants of the filters, s.
    patience_s : float
        A sample is explained by what is known so much later.
    n_folds : int
    gap_s : float
    """

    taus_s: tuple[float, ...] = TAUS_S
    patience_s: float = 0.0
    n_folds: int = N_FOLDS
    gap_s: float = GAP_S


class Prepared(NamedTuple):
    """Data of one plane: see ``Data``; the columns' scaling; the plane's samples."""

    data: Data
    scaling: Scaling
    samples: Ints


def prepare(behaviour: Behaviour, activity: Activity, settings: Settings) -> list[Prepared]:
    """Return the data of each plane of a recording (mostly there is one).

    Raises
    ------
    UserError
        Clocks have no time in common, a column never changes, it is too short ...
    """
    meetings = list(meet_planes(behaviour, activity, settings.patience_s))
    scaled_by = scaling(behaviour)
    found = []
    for units, meeting in meetings:
        x = design(behaviour, scaled_by, settings.taus_s, meeting)
        data = data_of(x, units, meeting, activity, settings)
        found.append(Prepared(data, scaled_by, meeting.samples))
    return found


def data_of(
    x: Float32Array, units: Ints, meeting: Meeting, activity: Activity, settings: Settings
) -> Data:
    """Return inputs (R, P) of the samples of a meeting beside the units of a plane."""
    times_s = activity.times_s[meeting.samples]
    known = moments(activity, meeting.samples)
    target = Target(activity.values, units[known.usable[units]], known, meeting.samples)
    return Data(x, target, times_s, split(times_s, settings.n_folds, gap_s=settings.gap_s))


def group_masks(behaviour: Behaviour, n_taus: int) -> dict[str, np.ndarray]:
    """Return for each group which inputs (L * F,) are of it, in the order of the columns."""
    groups = np.array(behaviour.groups)
    return {group: np.tile(groups == group, n_taus) for group in dict.fromkeys(behaviour.groups)}


class Fitted(NamedTuple):
    """A model, and how its outputs are read as units: (C, n) and which of the recording's.

    ``components`` are what ridge was fitted to, beside its inputs: to be scored.
    """

    model: Linear
    readout: Float32Array
    units: Ints
    components: Data | None


def fit_linear(
    prepared: Sequence[Prepared],
    behaviour: Behaviour,
    settings: Settings,
    rank: int | None,
    count: int = COMPONENTS,
    masks: str | None = None,
) -> Fitted:
    """Return a model of all data that predicts components of the activity.

    Parameters
    ----------
    prepared : sequence of Prepared
        Planes.
    behaviour : Behaviour
    settings : Settings
    rank : int, optional
        None: ridge, and the outputs are principal components of the activity. Else reduced-rank
        regression, and the outputs are its directions, of deviation 1 where they are explained.
    count : int
        Outputs, of ridge.
    masks : str, optional
        Of the motion components.
    """
    data = None
    units = np.concatenate([one.data.target.units for one in prepared])
    if rank is None:
        data = _components(prepared, settings, count)
        weights, offset = _of_components(data)
    else:
        weights, offset = _of_rank(prepared, rank)
    n = len(weights)
    word = "component" if rank is None else "direction"
    common = Common(
        behaviour.columns,
        prepared[0].scaling,
        tuple(f"{word}{i}" for i in range(n)),
        settings.patience_s,
        masks,
    )
    model = Linear(common, settings.taus_s, weights.astype(np.float32), offset.astype(np.float32))
    readout = np.concatenate([_readout(one.data, model) for one in prepared], 1)
    return Fitted(model, readout, units, data)


def _readout(data: Data, model: Linear) -> Float32Array:
    """Return (C, n) from what a model says to the units of a plane: ridge, each by itself.

    0 for units of which nothing is sure: components hold a little of everybody's noise.
    """
    outputs = data.x @ model.weights.T + model.bias
    chooser = Choosers(outputs, data.split, data.split.folds, [np.ones(outputs.shape[1], bool)])
    known, every = inputs(outputs), np.ones(len(data.split.starts), bool)
    parts = []
    for y in data.target.blocks(at_a_time(outputs.shape[1])):
        seen = sums(outputs, y, data.split)
        parts.append(ridge(known, seen.covariance(every).xy, chooser(y, seen)[0]))
    return np.concatenate(parts, 1).astype(np.float32)


def _components(prepared: Sequence[Prepared], settings: Settings, count: int) -> Data:
    """Return principal components of all units beside the inputs.

    Of several planes the inputs are the mean of those of each.
    """
    samples = prepared[0].samples
    for other in prepared[1:]:
        samples = np.intersect1d(samples, other.samples)
    parts = [one.data.x[np.searchsorted(one.samples, samples)] for one in prepared]
    x: Float32Array = np.asarray(sum(parts[1:], parts[0]) / len(parts), np.float32)
    units = np.sort(np.concatenate([one.data.target.units for one in prepared]))
    found = components(prepared[0].data.target._replace(units=units, samples=samples), count)
    n = found.traces.shape[1]
    as_they_are = Moments(np.zeros(n), np.ones(n), np.ones(n, bool))
    target = Target(found.traces.T, np.arange(n), as_they_are, np.arange(len(samples)))
    times_s = prepared[0].data.times_s[np.searchsorted(prepared[0].samples, samples)]
    parts_of_time = split(times_s, settings.n_folds, gap_s=settings.gap_s)
    return Data(x, target, times_s, parts_of_time)


def _of_components(data: Data) -> tuple[Floats, Floats]:
    """Return weights (C, P) and bias (C,) of ridge on components."""
    traces = data.target.read(0, len(data.target.units))
    penalties = choose_penalties(data.x, traces, data.split)
    known = inputs(data.x)
    off = (data.x - known.mean.astype(np.float32)).T
    xy = off @ (traces - traces.mean(0)) / np.float32(len(traces))
    weights = ridge(known, xy.astype(np.float64), penalties)
    return weights.T, -(known.mean @ weights)


def _of_rank(prepared: Sequence[Prepared], rank: int) -> tuple[Floats, Floats]:
    """Return weights (r, P) and bias (r,) of reduced-rank regression."""
    known = inputs(np.concatenate([one.data.x for one in prepared]))
    parts = []
    for one in prepared:
        off = one.data.x - known.mean.astype(np.float32)
        for y in one.data.target.blocks():
            parts.append((off.T @ (y - y.mean(0))).astype(np.float64) / len(off))
    first_plane = prepared[0].data
    x, y = first_plane.x, first_plane.target.sample()
    chosen = choose_penalties(x, y, first_plane.split)
    first, _ = low_rank(known, np.concatenate(parts, 1), one_for_all(chosen), rank)
    return first.T, -(known.mean @ first)
