"""Which edge of a line marks the exposure, and whether a recording can be of this session.

Pure numpy.
"""

from __future__ import annotations

import math

import numpy as np

from rtface.sync.anchor import SILENCE_S, NoMatch
from rtface.sync.edges import Edges

#: a pulse that is this near to the exposure time is the exposure
WIDTH = 0.05


def oriented(edges: Edges, edge: str, exposure_s: float) -> Edges:
    """Return the edges so that the rising ones mark the beginning of pulses.

    Parameters
    ----------
    edge : {"auto", "rising", "falling"}
        ``auto`` looks at how the line rests, or how long its pulses are, and refuses a line that is
        upside down; the others are the caller's word.
    exposure_s : float
        0: not known.

    Raises
    ------
    NoMatch
        The line is inverted, or nobody can say.
    """
    if edge == "falling":
        if not edges.both:
            raise NoMatch("the file has one direction of edges only; --edge falling cannot be had")
        return edges._replace(rising_s=edges.falling_s, falling_s=edges.rising_s)
    if edge == "rising" or not edges.both or not len(edges.rising_s) or not len(edges.falling_s):
        return edges
    rests = rests_high(edges)
    high_s, low_s = _widths(edges)
    if rests is None and exposure_s:
        as_high = abs(high_s - exposure_s) < WIDTH * exposure_s
        as_low = abs(low_s - exposure_s) < WIDTH * exposure_s
        if as_high != as_low:
            rests = as_low
    if rests is None and high_s < low_s:
        rests = False
    if rests is None:
        raise NoMatch(
            f"the line is high for {high_s * 1e3:.2f} ms and low for {low_s * 1e3:.2f} ms: which "
            "edge begins a pulse? Say --edge rising or --edge falling"
        )
    if rests:
        raise NoMatch(
            "the line is inverted: it rests high, and its falling edges begin the pulses; say "
            "--edge falling"
        )
    return edges


def rests_high(edges: Edges) -> bool | None:
    """Return the level in the longest silence, None if there is no silence of 1 s."""
    t_s = np.concatenate((edges.rising_s, edges.falling_s))
    up = np.arange(len(t_s)) < len(edges.rising_s)
    order = np.argsort(t_s, kind="stable")
    t_s, up = t_s[order], up[order]
    around = np.concatenate(([edges.begin_s], t_s, [edges.end_s]))
    silence = np.nan_to_num(np.diff(around), nan=0.0)
    at = int(silence.argmax())
    if silence[at] < SILENCE_S:
        return None
    return bool(up[at - 1]) if at else not bool(up[0])


def _widths(edges: Edges) -> tuple[float, float]:
    """Return how long the line is high and low (medians), s."""
    after = np.searchsorted(edges.falling_s, edges.rising_s, "right")
    has = after < len(edges.falling_s)
    high = edges.falling_s[after[has]] - edges.rising_s[has]
    period = float(np.median(np.diff(edges.rising_s))) if len(edges.rising_s) > 1 else math.nan
    width = float(np.median(high)) if len(high) else math.nan
    return width, period - width


def check_day(edges: Edges, began_unix_s: float, lasts_s: float) -> None:
    """Raise NoMatch if the recording says a time of day that is not the session's."""
    if math.isnan(edges.began_unix_s):
        return
    lasts = 0.0 if math.isnan(edges.end_s) else max(0.0, edges.end_s - edges.begin_s)
    apart = max(
        edges.began_unix_s - (began_unix_s + lasts_s), began_unix_s - (edges.began_unix_s + lasts)
    )
    if apart > edges.began_err_s:
        raise NoMatch(
            f"another session's file: it was recorded {apart / 3600:.1f} h apart from the session"
        )


def check_extent(outside: int, frames: int, partial: bool) -> None:
    """Raise NoMatch if frames lie beyond the recording's pulses and nobody said that is right."""
    if outside and not partial:
        raise NoMatch(
            f"the recording has no pulses for {outside} of {frames} frames: it ends early, or "
            "begins late; --partial takes the others"
        )
