"""Frames and the pulses of a neural recording: which belongs to which, or why nobody can say.

Pure numpy. Each side is counted by itself (``grid``), an anchor says by how many slots the counts
differ (``anchor``), and then every frame takes the pulse that comes when the camera's clock says.
Whatever does not add up ends in ``NoMatch``: nothing is guessed.
"""

from __future__ import annotations

from enum import IntFlag
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rtface.sync import anchor as anchors
from rtface.sync.anchor import Anchor, NoCode, NoMatch
from rtface.sync.code import LATE
from rtface.sync.edges import Edges
from rtface.sync.fit import FEWEST, MAX_PPM, expected_times
from rtface.sync.grid import NEAR, Floats, Grid, Ints, best_of_each, count, period_of

#: 95 % of pulses have to be this near to where the camera's clock puts them
RESIDUAL_S = 0.3e-3
#: a pulse this near belongs to the frame, however little others scatter
NEAREST_S = 0.1e-3
#: of the frames between the first and the last pulse, this part needs a pulse
WITH_PULSE = 0.9
#: so many slots may be at odds with the camera's frame ids: missed triggers, frames by themselves
AT_ODDS, AT_ODDS_PART = 3, 0.01
#: of the edges, this part has to be in the train
IN_TRAIN = 0.8
#: so many pulses may be missing at the ends of the train
AT_ENDS = 3
#: noise of the camera's times, in periods, beyond which its ids are counted instead
TIMED, NOISY = 0.1, 0.06


class SyncFlag(IntFlag):
    """What is to be known of a frame's time in the recording's clock."""

    NO_PULSE = 1  # no pulse is seen where it has to be: the time is that of the fit
    OUTSIDE = 2  # before the recording's first pulse or after its last: no time
    NO_STAMP = 4  # nothing is known of the frame: no time
    EDGE = 8  # the exposure time is not known: the time is the pulse's edge, not the midpoint


class Frames(NamedTuple):
    """The frames of one camera, in order.

    Attributes
    ----------
    t_s : ndarray (N,) float64
        The camera's time, or the best estimate of the exposure in the host's clock, s, rising.
    frame_id, segment : ndarray (N,) int64
        The camera's counter, and its restarts.
    from_first : bool
        Whether the first is the first that the camera made.
    err_s : float
        Bound on the random error of ``t_s``.
    exposure_s : float
        How long a frame is exposed; 0: not known.
    high : ndarray (N,) bool, optional
        An input line of the camera at each frame.
    """

    t_s: Floats
    frame_id: Ints
    segment: Ints
    from_first: bool = False
    err_s: float = 0.0
    exposure_s: float = 0.0
    high: npt.NDArray[np.bool_] | None = None


class Match(NamedTuple):
    """Frames in the recording's clock.

    Attributes
    ----------
    pulse_s : ndarray (N,) float64
        Each frame's pulse, s; where there is none the time of the fit; NaN outside.
    residual_s : ndarray (N,) float64
        Pulse minus fit; NaN without a pulse.
    flags : ndarray (N,) int64
        ``SyncFlag``.
    anchor : Anchor
    period_s : float
        Of the train, in the recording's clock.
    drift_ppm : float
        How much the recording's clock gains on the camera's.
    n_pulses, n_glitches, n_lost, n_at_odds : int
        Pulses between the first and the last frame; edges that belong to no train; frames known to
        be lost; slots that the camera's ids do not explain.
    """

    pulse_s: Floats
    residual_s: Floats
    flags: Ints
    anchor: Anchor
    period_s: float
    drift_ppm: float
    n_pulses: int
    n_glitches: int
    n_lost: int
    n_at_odds: int

    @property
    def p95_s(self) -> float:
        """Residual that 95 % of the pulses keep to, s."""
        return float(np.nanquantile(np.abs(self.residual_s), 0.95))


def match(frames: Frames, edges: Edges, anchor: str = "auto", line: Edges | None = None) -> Match:
    """Return the frames' times in the clock of a recording.

    Parameters
    ----------
    frames : Frames
    edges : Edges
        Of the line that carries the camera's pulses; the rising ones count.
    anchor : {"auto", "code", "start", "line"}
        ``auto``: the code, or else a train with silence at both ends. ``start``: the caller vouches
        that the first pulse after the silence is the first frame. ``line``: ``frames.high`` is the
        same signal as ``line``.

    Raises
    ------
    NoMatch
        With the reason, and the runner-up where there is one.
    """
    t_s = edges.rising_s
    camera, lost, at_odds = _count_frames(frames)
    pulses = _count_pulses(t_s, camera.period_s)
    good = best_of_each(pulses, LATE)
    train = pulses._replace(slot=pulses.slot[good], late=pulses.late[good])
    if anchor == "line":
        if line is None or frames.high is None:
            raise ValueError("a line is needed on both sides")
        span = float(t_s[good][0]), float(t_s[good][-1])
        found = anchors.by_line(train, camera, frames.high, line, span)
    elif anchor == "start" or anchor == "auto":
        found = _by_code_or_start(frames, edges, camera, train, lost, anchor == "start", good)
    else:
        found = anchors.by_code(pulses, camera, lost)
    return _paired(frames, edges, camera, train, t_s[good], found, len(lost), at_odds)


def _by_code_or_start(
    frames: Frames,
    edges: Edges,
    camera: Grid,
    train: Grid,
    lost: Ints,
    vouched: bool,
    good: npt.NDArray[np.bool_],
) -> Anchor:
    no_code = ""
    if not vouched:
        try:
            return anchors.by_code(train, camera, lost)
        except NoCode as error:
            no_code = str(error)
    if not frames.from_first:
        reason = "the session does not begin with the camera's first frame"
        raise NoMatch(f"{no_code}; {reason}" if no_code else reason)
    n_slots = int(camera.slot[-1] - camera.slot[0]) + 1
    return anchors.by_start(train, edges.rising_s[good], edges, n_slots, vouched)


def _count_frames(frames: Frames) -> tuple[Grid, Ints, int]:
    """Return the frames counted, the slots of known losses, and slots at odds with the ids."""
    if len(frames.t_s) < FEWEST:
        raise NoMatch(f"{len(frames.t_s)} frames are too few to be matched")
    steps = np.diff(frames.frame_id)
    same = np.diff(frames.segment) == 0
    period = period_of(frames.t_s)
    gaps = np.diff(frames.t_s)
    alike = np.abs(gaps - period) < NEAR * period
    if not alike.any() or float(np.std(gaps[alike])) > NOISY * period:
        # the times scatter; what the camera counted does not
        period = float(gaps[same].sum() / max(1, steps[same].sum()))
    if not period > 0:
        raise NoMatch("the frames' times have no period")
    grid = count(frames.t_s, period)
    if grid.noise > TIMED or np.any(np.diff(grid.slot) < 0):
        if not same.all():
            raise NoMatch(
                f"the camera's times scatter by {grid.noise * period * 1e3:.2f} ms, too much to "
                "count across its restart"
            )
        slot = frames.frame_id - frames.frame_id[0]
        grid = grid._replace(slot=slot, late=np.zeros(len(slot)))
    moved = np.diff(grid.slot)
    at_odds = int(np.abs(moved - steps)[same].sum())
    holes = np.flatnonzero(same & (steps > 1))
    lost = [np.arange(grid.slot[i] + 1, grid.slot[i + 1]) for i in holes]
    across = np.flatnonzero(~same)
    lost += [np.arange(grid.slot[i] + 1, grid.slot[i + 1]) for i in across]
    known = np.concatenate(lost) if lost else np.zeros(0, np.int64)
    if at_odds > max(AT_ODDS, AT_ODDS_PART * len(frames.t_s)):
        raise NoMatch(
            f"the camera's times and its frame ids disagree about {at_odds} frames: it missed "
            "triggers, or runs at a varying rate"
        )
    return grid, known, at_odds


def _count_pulses(t_s: Floats, period_s: float) -> Grid:
    if len(t_s) < FEWEST:
        raise NoMatch(f"the line has {len(t_s)} pulses; is it the right one?")
    period = period_of(t_s, period_s)
    if np.isnan(period):
        typical = float(np.median(np.diff(t_s)))
        raise NoMatch(
            f"pulses come every {typical * 1e3:.3f} ms and frames every {period_s * 1e3:.3f} ms: "
            "another line, or two cameras on one"
        )
    if abs(period / period_s - 1) > MAX_PPM * 1e-6 + 2e-4:
        raise NoMatch(
            f"pulses come every {period * 1e3:.4f} ms and frames every {period_s * 1e3:.4f} ms: "
            "another line"
        )
    grid = count(t_s, period)
    good = int(np.count_nonzero(best_of_each(grid, LATE)))
    if good < IN_TRAIN * len(t_s):
        raise NoMatch(
            f"{len(t_s) - good} of {len(t_s)} edges lie beside the train: noise, or two cameras on "
            "one line"
        )
    return grid


def _paired(
    frames: Frames,
    edges: Edges,
    camera: Grid,
    train: Grid,
    t_s: Floats,
    found: Anchor,
    n_lost: int,
    at_odds: int,
) -> Match:
    """Give each frame its pulse, and check that everything adds up."""
    wanted = camera.slot + found.offset
    at = np.searchsorted(train.slot, wanted)
    at[at == len(train.slot)] = 0
    has = train.slot[at] == wanted
    if np.count_nonzero(has) < FEWEST:
        raise NoMatch(f"only {np.count_nonzero(has)} frames meet a pulse")
    period = train.period_s
    # the clocks, stretch by stretch: a rough line first, so that numbers stay small
    x = frames.t_s - frames.t_s[0]
    expected, ppm = expected_times(x, t_s[at], has, frames.segment, period)
    all_s = edges.rising_s
    inside = (wanted >= train.slot[0] - AT_ENDS) & (wanted <= train.slot[-1] + AT_ENDS)
    limit = max(RESIDUAL_S, frames.err_s)
    if camera.late.any():
        # the pulse nearest to where the clock puts the frame; a glitch in its slot may be farther
        right = np.searchsorted(all_s, expected).clip(1, len(all_s) - 1)
        nearer = expected - all_s[right - 1] < all_s[right] - expected
        near = np.where(nearer, all_s[right - 1], all_s[right])
        limit = min(limit, 0.25 * period)
        # a glitch where a pulse was missed is no pulse: no farther than pulses of this file scatter
        scatter = float(np.median(np.abs(near - expected)[inside])) if inside.any() else 0.0
        seen = inside & (np.abs(near - expected) < min(2 * limit, max(NEAREST_S, 10 * scatter)))
    else:  # frames were counted, and their times are too rough to choose by
        near = np.asarray(t_s[at], np.float64)
        seen = inside & has
    residual = near - expected
    n_inside, n_seen = int(inside.sum()), int(seen.sum())
    if n_seen < WITH_PULSE * n_inside:
        raise NoMatch(
            f"{n_inside - n_seen} of {n_inside} frames have no pulse within {2e3 * limit:.2f} ms"
        )
    p95 = float(np.quantile(np.abs(residual[seen]), 0.95))
    if p95 > limit:
        raise NoMatch(
            f"pulses are {p95 * 1e3:.3f} ms (95 %) from where the camera's clock puts them; "
            f"{limit * 1e3:.3f} ms is the limit"
        )
    flags = np.where(inside, np.where(seen, 0, SyncFlag.NO_PULSE), SyncFlag.OUTSIDE)
    pulse = np.where(seen, near, expected)
    pulse[~inside] = np.nan
    in_span = (train.slot >= wanted[0]) & (train.slot <= wanted[-1])
    without = np.setdiff1d(train.slot[in_span], wanted)
    return Match(
        pulse,
        np.where(seen, residual, np.nan),
        flags.astype(np.int64),
        found,
        period,
        ppm,
        int(in_span.sum()),
        len(all_s) - len(t_s),
        n_lost,
        at_odds,
    )._replace(n_at_odds=at_odds + max(0, len(without) - n_lost - at_odds))
