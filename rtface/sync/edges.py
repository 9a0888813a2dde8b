"""What a reader of a recording takes out of it: the edges of one line, and how far it reaches."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rtface.sync.grid import Floats

NO_TIMES: Floats = np.zeros(0)


class Edges(NamedTuple):
    """One line of a recording.

    Attributes
    ----------
    rising_s, falling_s : ndarray (N,), (M,) float64
        When it went up and down, in the recording's own clock, s, rising in time.
    begin_s, end_s : float
        From when to when the recording saw the line. NaN: the file does not say.
    clock : str
        What 0 s is, for people.
    kind : str
        What the file is, for people.
    both : bool
        Whether the file has both directions; if not all edges are in ``rising_s``.
    began_unix_s, began_err_s : float
        When the recording began by a wall clock, and how far that may be off; NaN: not said.
    """

    rising_s: Floats
    falling_s: Floats
    begin_s: float
    end_s: float
    clock: str
    kind: str
    both: bool = True
    began_unix_s: float = float("nan")
    began_err_s: float = 3600.0


def of_levels(levels: np.ndarray, rate_hz: float, first: int = 0) -> tuple[Floats, Floats]:
    """Return when sampled levels (N,) bool go up and down, s: the first sample of the new level.

    ``first`` is the number of the first sample.
    """
    steps = np.flatnonzero(levels[1:] != levels[:-1]) + 1
    up = levels[steps]
    t_s = (first + steps) / rate_hz
    return t_s[up], t_s[~up]
