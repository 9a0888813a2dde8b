"""Which period of a train each pulse, or each frame, belongs to.

Pure numpy. Intervals between pulses are rounded to whole periods, against a phase that follows the
clock second by second. So a missed pulse leaves a hole and not a shift, a glitch moves nothing, and
the drift of two clocks does not add up, however long the recording is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: a phase is taken from so many periods at least, and from a second
PERIODS = 32
#: intervals this near to the median are single periods
NEAR = 0.2
#: a pulse this near to its place, in periods, is on time (or as late as the code makes it)
ON_TIME = 0.08


class Grid(NamedTuple):
    """A train of pulses, counted.

    Attributes
    ----------
    slot : ndarray (N,) int64
        The period that each pulse belongs to; 0 is that of the first.
    late : ndarray (N,) float64
        How far behind its place it is, in periods, -0.5 to 0.5.
    period_s : float
        Mean period.
    times_s, phase : ndarray (M,) float64
        Where the train's places are: place k is at the time t with ``t / period_s - phase = k``.
    """

    slot: Ints
    late: Floats
    period_s: float
    times_s: Floats
    phase: Floats

    def place(self, t_s: Floats) -> Floats:
        """Return times as fractional slots."""
        return np.asarray(t_s / self.period_s - np.interp(t_s, self.times_s, self.phase))

    @property
    def noise(self) -> float:
        """How much pulses scatter about their places, in periods (robust standard deviation)."""
        return float(1.4826 * np.median(np.abs(self.late)))


def period_of(t_s: Floats, near_s: float | None = None) -> float:
    """Return the mean period of a train, s; NaN if too few of its intervals are alike.

    Parameters
    ----------
    t_s : ndarray (N,)
        Times, rising.
    near_s : float, optional
        Look for a period about this long only.
    """
    gaps = np.diff(t_s)
    if not len(gaps):
        return float("nan")
    near_s = float(np.median(gaps)) if near_s is None else near_s
    alike = gaps[np.abs(gaps - near_s) < NEAR * near_s]
    return float(alike.mean()) if len(alike) >= 0.5 * len(gaps) else float("nan")


def count(t_s: Floats, period_s: float) -> Grid:
    """Return the slot of each pulse.

    The phase of each stretch is the middle of the pulses in it, so the few that are glitches, or
    late, do not move it; between stretches it may drift by less than half a period.

    Parameters
    ----------
    t_s : ndarray (N,), N > 0
        Times, rising, s.
    period_s : float
        From ``period_of``.
    """
    turns = t_s / period_s
    length_s = max(1.0, PERIODS * period_s)
    stretch = np.floor((t_s - t_s[0]) / length_s).astype(np.int64)
    starts = np.flatnonzero(np.diff(stretch, prepend=-1))
    about = np.add.reduceat(np.exp(2j * np.pi * turns), starts)
    phase = np.unwrap(np.angle(about)) / (2 * np.pi)
    lengths = np.diff(np.append(starts, len(t_s)))
    beside = turns - np.repeat(phase, lengths)
    beside -= np.round(beside)
    # the mean is off by what is late or a glitch; the median is not
    phase += _medians(beside, stretch, starts)
    middle = t_s[0] + (stretch[starts] + 0.5) * length_s
    if len(starts) > 1 and lengths[-1] < PERIODS // 2:  # too few for a phase of their own
        phase[-1] = phase[-2]
    raw = turns - np.interp(t_s, middle, phase)
    slot = np.round(raw).astype(np.int64)
    phase = phase + slot[0]
    return Grid(slot - slot[0], raw - slot, period_s, middle, phase)


def _medians(values: Floats, group: Ints, starts: Ints) -> Floats:
    """Return the median of each group of neighbours."""
    ordered = values[np.lexsort((values, group))]
    lengths = np.diff(np.append(starts, len(values)))
    return np.asarray(0.5 * (ordered[starts + (lengths - 1) // 2] + ordered[starts + lengths // 2]))


def best_of_each(grid: Grid, late: float) -> npt.NDArray[np.bool_]:
    """Return which pulses are on time, or as ``late`` as the code makes one; one per slot at most.

    Everything else is a glitch.
    """
    off = np.minimum(np.abs(grid.late), np.abs(grid.late - late) + ON_TIME / 4)
    order = np.lexsort((off, grid.slot))
    first = np.diff(grid.slot[order], prepend=grid.slot.min() - 1) > 0
    best = np.zeros(len(off), bool)
    best[order[first]] = True
    return best & (off < ON_TIME * 1.25)
