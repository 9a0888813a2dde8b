"""Frames and samples of neural activity meet by time, never by number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from rtface.neural.activity import Activity, Floats, Ints
from rtface.neural.behaviour import Behaviour, check_overlap
from rtface.types import UserError

#: where samples are as short as frames, one without a frame within so many periods is left out
MOST_PERIODS = 3


class Meeting(NamedTuple):
    """Which frames belong to which samples.

    Attributes
    ----------
    samples : ndarray (R,) int64
        Those that have frames.
    first, last : ndarray (R,) int64
        Their frames, both included: those exposed while the sample lasted; where samples are
        shorter than two frame periods the nearest one.
    """

    samples: Ints
    first: Ints
    last: Ints


def meet(
    frames_s: Floats, samples_s: Floats, width_s: float, period_s: float, patience_s: float = 0.0
) -> Meeting:
    """Return which frames say something of each sample.

    Parameters
    ----------
    frames_s : ndarray (T,)
        Of frames; NaN: not known.
    samples_s : ndarray
        Middle of each sample.
    width_s, period_s : float
        How long a sample is, and from frame to frame.
    patience_s : float
        A sample is explained by what is known so much later than it; below 0: earlier.

    Raises
    ------
    UserError
        None has any frame.
    """
    known = np.flatnonzero(np.isfinite(frames_s))
    t_s = frames_s[known]
    order = np.argsort(t_s, kind="stable")
    known, t_s = known[order], t_s[order]
    wanted = samples_s + patience_s
    first = np.searchsorted(t_s, wanted - width_s / 2)
    last = np.searchsorted(t_s, wanted + width_s / 2) - 1
    none = last < first
    right = np.clip(np.searchsorted(t_s, wanted), 0, len(t_s) - 1)
    left = np.maximum(right - 1, 0)
    nearest = np.where(np.abs(t_s[left] - wanted) <= np.abs(t_s[right] - wanted), left, right)
    if width_s < 2 * period_s:
        enough = np.abs(t_s[nearest] - wanted) <= MOST_PERIODS * period_s
        first, last = np.where(none, nearest, first), np.where(none, nearest, last)
    else:  # a sample half of whose frames are lost is not what the others say
        enough = (last - first + 1) * period_s >= 0.5 * width_s
    good = np.flatnonzero(enough)
    if not len(good):
        raise UserError(
            "no sample of the neural activity has a frame near it in time; are both in one clock?"
        )
    return Meeting(good, known[first[good]], known[last[good]])


def meet_planes(
    behaviour: Behaviour, activity: Activity, patience_s: float
) -> Iterator[tuple[Ints, Meeting]]:
    """Yield the units of each plane (mostly there is one), and how its samples meet the frames.

    Raises
    ------
    UserError
        The clocks have no time in common, or no sample has a frame.
    """
    check_overlap(behaviour, activity)
    for offset_s, units in activity.planes():
        samples_s = activity.times_s + offset_s
        yield (
            units,
            meet(behaviour.times_s, samples_s, activity.width_s, behaviour.period_s, patience_s),
        )
