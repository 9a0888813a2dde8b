"""By how many slots the camera's count is behind the recording's: three ways to know it.

Pure numpy. Each way returns an ``Anchor`` or raises ``NoMatch`` with the reason and the runner-up.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rtface.sync.code import LATE, STRETCH_S
from rtface.sync.edges import Edges
from rtface.sync.grid import ON_TIME, Floats, Grid, Ints, best_of_each
from rtface.types import UserError

#: so many marks of the code have to agree, and so many more than of any other offset
LEAST_MARKS, RUNNER_UP = 4, 1 / 3
#: of the marks that both could see
AGREE = 0.6
#: of an irregular signal nearly all changes have to agree, and it may look like itself elsewhere
LINE_AGREE, LINE_RUNNER_UP = 0.9, 0.6
SILENCE_S = 1.0
#: a camera reads its lines at the beginning of an exposure: this many periods after the pulse
READ_FROM, READ_TO = -0.05, 0.3


class NoMatch(UserError):
    """Frames and pulses cannot be matched beyond doubt; the text says why."""


class NoCode(NoMatch):
    """Neither side carries a code: another anchor may be looked for."""


class Anchor(NamedTuple):
    """What fixed the offset.

    Attributes
    ----------
    offset : int
        Slot in the recording minus slot of the camera.
    kind : str
        ``code``, ``line`` or ``start``.
    votes, runner_up : int
        Marks that agree with this offset, and with the next best.
    """

    offset: int
    kind: str
    votes: int
    runner_up: int


def late_marks(grid: Grid) -> Ints:
    """Return the slots (N,) whose pulse is as late as the code makes one."""
    late = np.abs(grid.late - LATE) < ON_TIME
    return np.unique(grid.slot[late])


def left_out(slots: Ints, known: Ints) -> Ints:
    """Return slots (N,) without a pulse, between two with one, that are not ``known`` losses."""
    slots = np.unique(slots)
    alone = slots[:-1][np.diff(slots) == 2] + 1
    return np.setdiff1d(alone, known)


def by_code(pulses: Grid, frames: Grid, lost: Ints) -> Anchor:
    """Match the marks of the code.

    Parameters
    ----------
    pulses, frames : Grid
        The line's train without glitches, and the camera's times, each counted by itself.
    lost : ndarray (N,) int64
        Slots of frames that the camera is known to have lost.

    Raises
    ------
    NoMatch
        No code is seen, or more than one offset, or none, agrees with it.
    """
    good = best_of_each(frames, LATE)  # no frame that a camera made by itself
    kept = frames._replace(slot=frames.slot[good], late=frames.late[good])
    kinds = [
        (late_marks(pulses), late_marks(kept)),
        (left_out(pulses.slot, np.zeros(0, np.int64)), left_out(frames.slot, lost)),
    ]
    ends = (pulses.slot[[0, -1]], frames.slot[[0, -1]])
    votes: dict[int, int] = {}
    seen: list[tuple[Ints, Ints]] = []
    for on_line, on_camera in kinds:
        if not _is_code(on_line, pulses) or not _is_code(on_camera, frames):
            continue
        seen.append((on_line, on_camera))
        offsets = (on_line[:, None] - on_camera[None, :]).ravel()
        found, n = np.unique(offsets, return_counts=True)
        for offset, count in zip(found[n > 1].tolist(), n[n > 1].tolist(), strict=True):
            votes[offset] = votes.get(offset, 0) + count
    if not seen:
        timed = bool(frames.late.any())  # a camera without a clock of its own cannot show a code
        if timed and _is_code(kinds[0][0], pulses) != _is_code(kinds[0][1], frames):
            raise NoMatch("another line? Only one of pulses and frames carries a code")
        raise NoCode("no code: neither late triggers nor left out ones are seen on both sides")
    ranked = sorted(votes.items(), key=lambda item: -item[1])[:2] + [(0, 0)] * 2
    (best, n), (second, n_second) = ranked[:2]
    # marks that both sides could see if the offset is this one
    both = sum(
        min(_within(line - best, ends[1]), _within(camera + best, ends[0]))
        for line, camera in seen
        if len(np.intersect1d(line - best, camera)) > 1
    )
    told = f"{n} marks agree at frame {-best:+d}, {n_second} at {-second:+d}"
    if n < LEAST_MARKS or n_second > RUNNER_UP * n:
        raise NoMatch(
            f"the code does not fix the match: {told} (at least {LEAST_MARKS} have to, "
            "and three times as many as anywhere else)"
        )
    if n < AGREE * both:
        raise NoMatch(f"another recording? {told}, but {both} marks could")
    for line, camera in seen:
        here = camera[(camera + best >= ends[0][0]) & (camera + best <= ends[0][1])]
        agree = np.isin(here + best, line)
        wrong = np.flatnonzero(~agree[1:] & ~agree[:-1])
        if np.count_nonzero(agree) > 1 and len(wrong):
            raise NoMatch(
                f"{told}, but not those from period {here[wrong[0]]} on: one side slips or lost "
                "a stretch"
            )
    return Anchor(best, "code", n, n_second)


def _is_code(marks: Ints, grid: Grid) -> bool:
    """Return whether so many marks are seen as a code has, and not many more."""
    n = int(grid.slot[-1] - grid.slot[0]) + 1
    due = n * grid.period_s / STRETCH_S
    return max(2, 0.3 * due) <= len(marks) <= max(4, 3 * due)


def _within(marks: Ints, ends: Ints) -> int:
    return int(np.count_nonzero((marks >= ends[0]) & (marks <= ends[1])))


def by_start(pulses: Grid, t_s: Floats, edges: Edges, n_slots: int, vouched: bool) -> Anchor:
    """Match the first frame with the first pulse after a silence.

    Only if the train ends after just as many slots, and silence again: then no pulse is missing at
    either end. Who vouches for the first pulse needs no end.

    Parameters
    ----------
    t_s : ndarray (N,)
        The pulses that ``pulses`` counts, s.
    n_slots : int
        From the camera's first frame to its last, both counted.
    """
    begin, end = edges.begin_s, edges.end_s
    cuts = np.flatnonzero(np.diff(t_s) >= SILENCE_S) + 1
    starts, stops = np.r_[0, cuts], np.r_[cuts, len(t_s)]
    found, nearest = [], 0
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        quiet = start > 0 or t_s[0] - begin >= SILENCE_S or vouched
        over = stop < len(t_s) or end - t_s[-1] >= SILENCE_S
        length = int(pulses.slot[stop - 1] - pulses.slot[start]) + 1
        if quiet and (length >= n_slots if vouched else over and length == n_slots):
            found.append(int(pulses.slot[start]))
        elif abs(length - n_slots) < abs(nearest - n_slots):
            nearest = length
    if len(found) == 1:
        return Anchor(found[0], "start", 1, 0)
    if len(found) > 1:
        raise NoMatch(f"{len(found)} trains of pulses, apart by silence, fit the frames as well")
    if vouched:
        raise NoMatch(f"no train of {n_slots} pulses, as there were frames; the nearest: {nearest}")
    unknown = np.isnan(begin) or np.isnan(end)
    why = " (the file does not say from when to when it recorded)" if unknown else ""
    raise NoMatch(
        f"no anchor: no code is seen, and no train of {n_slots} pulses, as many as frames, stands "
        f"between silences of 1 s{why}; the nearest has {nearest}"
    )


def by_line(
    pulses: Grid, frames: Grid, high: npt.NDArray[np.bool_], line: Edges, span: tuple[float, float]
) -> Anchor:
    """Match an irregular signal that the camera read with each frame and the recording saw too.

    A barcode, a trial's TTL, one pulse by hand. A regular signal matches everywhere and is refused.

    Parameters
    ----------
    high : ndarray (N,) bool
        The camera's input at each frame.
    line : Edges
        The same signal in the recording.
    span : (float, float)
        First and last pulse, s.
    """
    step = np.flatnonzero((high[1:] != high[:-1]) & (np.diff(frames.slot) == 1)) + 1
    if len(step) < 2:
        raise NoMatch(f"the camera's line changed {len(step)} times; two changes are needed")
    found: list[Floats] = []
    n_line = 0
    for up, t_s in ((True, line.rising_s), (False, line.falling_s)):
        inside = t_s[(t_s >= span[0]) & (t_s <= span[1])]
        n_line += len(inside)
        if len(inside):
            slots = frames.slot[step[high[step] == up]]
            found.append((slots[:, None] - pulses.place(inside)[None, :]).ravel())
    if not found:
        raise NoMatch("the recording's line did not change while there were pulses")
    ahead = np.sort(np.concatenate(found))
    # frames ahead by one and the same offset spread over one period, for the signal is not in step
    n = np.searchsorted(ahead, ahead + 1.02, "right") - np.arange(len(ahead))
    best = int(n.argmax())
    inside = ahead[best : best + n[best]]
    low, high_end = float(inside[0]), float(inside[-1])
    apart = (ahead < low - 1.02) | (ahead > high_end + 1.02)
    second = int(n[apart].max()) if apart.any() else 0
    least, most = high_end - 1 - READ_TO, low - READ_FROM
    ways = np.arange(np.ceil(least), np.floor(most) + 1)
    here = frames.slot[step] - low  # of the camera's changes, those that the recording could see
    n_camera = int(np.count_nonzero((here > pulses.slot[0]) & (here < pulses.slot[-1])))
    told = f"{n[best]} of the camera's {n_camera} changes agree, {second} elsewhere"
    if n[best] < max(2, LINE_AGREE * min(n_camera, n_line)) or second > LINE_RUNNER_UP * n[best]:
        raise NoMatch(f"the line that the camera read does not fix the match: {told}")
    if len(ways) != 1:
        raise NoMatch(
            f"the line fixes the match to within {max(len(ways), 2)} frames only: it "
            "changed too seldom, or the camera reads it at another time"
        )
    return Anchor(-int(ways[0]), "line", int(n[best]), second)
