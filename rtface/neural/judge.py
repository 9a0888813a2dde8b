"""How well a model does on a recording: that it was fitted to, or better another part."""

from __future__ import annotations

import numpy as np

from rtface.neural.activity import BLOCK, Activity, moments
from rtface.neural.behaviour import Behaviour
from rtface.neural.bundle import Bundle
from rtface.neural.crossvalidate import Scores
from rtface.neural.fit import Settings, data_of
from rtface.neural.model import Linear, Model
from rtface.neural.sampling import meet_planes
from rtface.neural.scores import Data
from rtface.neural.splits import CHUNKS_OF_A_FOLD, N_FOLDS
from rtface.types import Float32Array, UserError


def judge(
    bundle: Bundle, behaviour: Behaviour, activity: Activity, shuffled: bool = False
) -> Scores:
    """Return the errors of a model's predictions of units.

    Subset 0 is the model; units that cannot be judged have NaN. ``shuffled``: of activity half a
    recording off.

    Raises
    ------
    UserError
        The recording has other units than the model, or no time in common.
    """
    known = bundle.units
    if known is None:
        raise UserError(
            f"{bundle.folder}: says nothing of units (imported weights do not); fit one here"
        )
    if known.names != activity.units:
        raise UserError(
            f"{activity.name}: has {len(activity.units)} units, not the {len(known.names)} of "
            f"{bundle.folder}; a model is of the neurons that it was fitted to"
        )
    meetings = list(meet_planes(behaviour, activity, bundle.model.common.lag_s))
    predicted = bundle.model.run(behaviour)
    n_chunks = N_FOLDS * CHUNKS_OF_A_FOLD
    n = len(activity.units)
    error = np.full((1, n_chunks, n), np.nan, np.float32)
    total = np.full((n_chunks, n), np.nan, np.float32)
    for units, meeting in meetings:
        rows = _at(predicted, meeting.first, meeting.last, isinstance(bundle.model, Linear))
        if len(rows) < n_chunks:
            raise UserError(f"{activity.name}: {len(rows)} samples are too few to be judged by")
        usable = units[
            moments(activity, meeting.samples).usable[units] & np.isfinite(known.std[units])
        ]
        samples = np.roll(meeting.samples, len(rows) // 2 if shuffled else 0)
        starts = np.searchsorted(np.arange(len(rows)) * n_chunks // len(rows), np.arange(n_chunks))
        for start in range(0, len(usable), BLOCK):
            some = usable[start : start + BLOCK]
            y = activity.block(some, samples)
            y = ((y - known.mean[some, None]) / known.std[some, None]).T.astype(np.float32)
            off = y - rows @ known.readout[:, some]
            error[0][:, some] = np.add.reduceat(off**2, starts, axis=0)
            # about the mean that the model was fitted to, which is 0 here
            total[:, some] = np.add.reduceat(y**2, starts, axis=0)
    return Scores(error, total)


def of_outputs(
    model: Model, behaviour: Behaviour, activity: Activity, settings: Settings
) -> list[Data]:
    """Return a model's outputs as inputs that units of each plane are to be explained by.

    Of weights that say nothing of this recording's units: that is what they are worth here.
    """
    predicted = model.run(behaviour)
    found = []
    for units, meeting in meet_planes(behaviour, activity, model.common.lag_s):
        rows = _at(predicted, meeting.first, meeting.last, isinstance(model, Linear))
        size = rows.std(0)
        rows = (rows - rows.mean(0)) / np.where(size > 0, size, 1)
        found.append(data_of(rows, units, meeting, activity, settings))
    return found


def _at(predicted: Float32Array, first: np.ndarray, last: np.ndarray, mean: bool) -> Float32Array:
    """Return (R, C): means over the frames of each sample, or the frame in their middle."""
    if not mean:
        return np.asarray(predicted[(first + last) // 2])
    sums = np.concatenate([np.zeros((1, predicted.shape[1])), np.cumsum(predicted, 0, np.float64)])
    mean = (sums[last + 1] - sums[first]) / (last - first + 1)[:, None]
    return np.asarray(mean, np.float32)
