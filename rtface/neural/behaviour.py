"""What a recorded camera saw, frame by frame, with both of its clocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from rtface.neural.activity import Activity, Floats, Ints
from rtface.neural.columns import Column, Gather, Place
from rtface.types import Float32Array, UserError


class Recording(Protocol):
    """A camera of a session (``rtface.session.CameraSession``)."""

    @property
    def names(self) -> Sequence[str]:
        """Its keypoints."""

    @property
    def results(self) -> Any:
        """Records of results."""

    @property
    def frames(self) -> Any:
        """Records of frames."""

    def daq_s(self, start: int = 0, stop: int | None = None) -> Any:
        """Exposures in the clock of the neural recording, s."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Numbers of every tracked frame.

    Attributes
    ----------
    t_ns : ndarray (T,) int64
        Exposure's midpoint, ns of the host's clock: intervals are of this one, as they are live.
    times_s : ndarray (T,) float64
        The same moments in the clock of the neural recording; NaN: it did not see the frame.
    values : ndarray (T, F) float32
        NaN is what is not known.
    columns : tuple of Column
    """

    t_ns: Ints
    times_s: Floats
    values: Float32Array
    columns: tuple[Column, ...]

    @property
    def names(self) -> list[str]:
        """Of the columns."""
        return [column.name for column in self.columns]

    @property
    def groups(self) -> list[str]:
        """Of the columns."""
        return [column.group for column in self.columns]

    @property
    def period_s(self) -> float:
        """Of the frames, median."""
        return float(np.median(np.diff(self.t_ns))) * 1e-9


def make_behaviour(
    t_ns: Ints, times_s: Floats, values: Float32Array, columns: Sequence[Column]
) -> Behaviour:
    """Return what was seen, without frames that are not later than all before them."""
    rising = np.diff(np.maximum.accumulate(t_ns), prepend=t_ns[:1] - 1) > 0
    if rising.sum() < 2:
        raise UserError("the camera has fewer than two frames; nothing can be fitted to that")
    seen = times_s[rising & np.isfinite(times_s)]
    if (np.diff(seen) <= 0).any():
        raise UserError("the times of the frames in the neural clock do not rise; are they sorted?")
    return Behaviour(t_ns[rising], times_s[rising], values[rising], tuple(columns))


def read_behaviour(
    recording: Recording,
    columns: Sequence[Column],
    layout: Mapping[str, Place],
    name: str,
    given_s: Floats | None = None,
) -> Behaviour:
    """Return what a camera of a session saw.

    Parameters
    ----------
    recording : Recording
    columns : sequence of Column
    layout : mapping
        Where they stand.
    name : str
        For errors.
    given_s : ndarray, optional
        Times of its results, or of all its frames, s of the neural clock; else those of the sync.

    Raises
    ------
    UserError
        No sync and no times; other times than frames.
    """
    gather = Gather([column.name for column in columns], recording.names, layout)
    rows = recording.results[:]
    signals = {one: np.asarray(rows[one], np.float32) for one in gather.signals}
    values = gather(np.asarray(rows["keypoints"], np.float32), signals)
    if given_s is None:
        try:
            times_s = np.array(recording.daq_s(), np.float64)
        except UserError as error:
            raise UserError(f"{error}; or give frame_times") from None
    elif len(given_s) == len(rows):
        times_s = given_s.copy()
    elif len(given_s) == len(recording.frames):
        seq = recording.frames[:]["frame_seq"]
        times_s = given_s[np.searchsorted(seq, rows["frame_seq"])]
    else:
        raise UserError(
            f"frame_times: holds {len(given_s)} times; {name} has {len(recording.frames)} frames "
            f"and {len(rows)} results"
        )
    motion = [column.group == "motion" for column in columns]
    times_s[: _first_known(values[:, motion])] = np.nan  # masks may have come during the run
    return make_behaviour(np.asarray(rows["exposure_ns"], np.int64), times_s, values, columns)


def _first_known(values: Float32Array) -> int:
    """Return the first row (of T) by which every column (F of them, or none) was known once.

    Those that never are do not count: ``scaling`` names them.
    """
    return int(np.isfinite(values).argmax(0).max(initial=0))


def check_overlap(behaviour: Behaviour, activity: Activity) -> None:
    """Raise UserError unless both clocks have time in common."""
    seen = behaviour.times_s[np.isfinite(behaviour.times_s)]
    if not len(seen):
        raise UserError(f"no frame has a time in the clock of {activity.name}; see 'rtface sync'")
    if seen.max() < activity.times_s[0] or seen.min() > activity.times_s[-1]:
        raise UserError(
            f"{activity.name}: its samples are from {activity.times_s[0]:.1f} to "
            f"{activity.times_s[-1]:.1f} s and the frames from {seen.min():.1f} to "
            f"{seen.max():.1f} s: no time in common; are both in the same clock?"
        )
