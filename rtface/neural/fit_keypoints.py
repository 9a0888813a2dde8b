"""Fitting Facemap's network to a session; needs PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from rtface.neural.activity import BLOCK, Activity, Floats, Ints, moments
from rtface.neural.behaviour import Behaviour, check_overlap
from rtface.neural.components import components
from rtface.neural.crossvalidate import Progress, Target
from rtface.neural.fit import Settings
from rtface.neural.model import Common, Keypoints, even
from rtface.neural.network import read_network
from rtface.neural.sampling import MOST_PERIODS
from rtface.neural.scaling import scaling
from rtface.types import Float32Array, UserError

#: fewer samples than this are no ten stretches
LEAST_SAMPLES = 250


class FittedKeypoints(NamedTuple):
    """A network, its readout (C, n), what it was fitted to (T,), and how well it does where judged.

    ``components`` is the variance explained of all its targets together, ``explained`` of each
    unit (n,).
    """

    model: Keypoints
    readout: Float32Array
    target: Target
    times_s: Floats
    components: float
    explained: Float32Array


def fit_keypoints(
    behaviour: Behaviour,
    activity: Activity,
    settings: Settings,
    count: int,
    ahead: int | None,
    iterations: int,
    state: Path,
    masks: str | None = None,
    shuffled: bool = False,
    on_progress: Progress = lambda _done, _total: None,
) -> FittedKeypoints:
    """Train a network, write its weights to ``state``, and return it.

    Parameters
    ----------
    count : int
        Components of the activity that it predicts.
    ahead : int, optional
        Frames of the future that it sees; None: as many as Facemap's, half its window.
    iterations : int
    shuffled : bool
        To activity half a recording off: a control.

    Raises
    ------
    UserError
        PyTorch is missing, the clocks do not overlap, the recording is too short.
    """
    try:
        from rtface.neural import train
    except ImportError:
        raise UserError('training needs PyTorch; pip install "rtface[train]"') from None
    check_overlap(behaviour, activity)
    scaled_by = scaling(behaviour)
    ahead = train.TAPS // 2 if ahead is None else ahead
    period_ns = int(np.median(np.diff(behaviour.t_ns)))
    names = tuple(f"component{i}" for i in range(count))
    lag_s = ahead * period_ns * 1e-9 + settings.patience_s
    common = Common(behaviour.columns, scaled_by, names, lag_s, masks)
    x, frames = even(behaviour, common, period_ns)
    known = np.isfinite(behaviour.times_s)
    x_times_s = np.interp(np.arange(len(x)), frames[known], behaviour.times_s[known])
    read_s = activity.times_s + float(activity.offsets_s.mean()) + settings.patience_s
    samples = _with_frames(read_s, behaviour.times_s[known], MOST_PERIODS * period_ns * 1e-9)
    if len(samples) < LEAST_SAMPLES:
        raise UserError(
            f"{activity.name}: {len(samples)} samples have frames; the network needs "
            f"{LEAST_SAMPLES} at least"
        )
    read_s = read_s[samples]
    if shuffled:
        samples = np.roll(samples, len(samples) // 2)
    known_units = moments(activity, samples)
    units = np.flatnonzero(known_units.usable)
    target = Target(activity.values, units, known_units, samples)
    found = components(target, count)
    if found.traces.shape[1] < count:
        raise UserError(
            f"--count: {activity.name} has no {count} components, but {found.traces.shape[1]}"
        )
    module, outcome = train.train(
        x,
        x_times_s,
        found.traces,
        read_s,
        ahead,
        iterations,
        on_progress=on_progress,
    )
    train.save_state(module, state)
    network = read_network(state)
    judged = target._replace(samples=samples[outcome.judged])
    explained = _of_units(judged, outcome.predicted, found.directions)
    return FittedKeypoints(
        Keypoints(common, network, period_ns),
        np.ascontiguousarray(found.directions.T),
        target,
        read_s,
        outcome.explained,
        explained,
    )


def _with_frames(read_s: Floats, frames_s: Floats, within_s: float) -> Ints:
    """Return the samples that have a frame so near in time."""
    right = np.clip(np.searchsorted(frames_s, read_s), 1, len(frames_s) - 1)
    off = np.minimum(np.abs(frames_s[right] - read_s), np.abs(frames_s[right - 1] - read_s))
    return np.flatnonzero(off <= within_s)


def _of_units(target: Target, predicted: Float32Array, directions: Float32Array) -> Float32Array:
    """Return (n,) variance explained of each unit where the network was judged."""
    explained = np.empty(len(target.units), np.float32)
    for start in range(0, len(target.units), BLOCK):
        here = slice(start, start + BLOCK)
        y = target.read(start, start + BLOCK)
        off = y - predicted @ directions[here].T
        explained[here] = 1 - (off**2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)
    return explained
