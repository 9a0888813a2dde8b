"""What a synthetic camera shows, exactly: the answer to every frame, without a pixel."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from rtface.camera.anatomy import KEYPOINTS, Anatomy
from rtface.camera.outline import paw_cover
from rtface.camera.script import Event, Script, State
from rtface.types import Float32Array


class Truth(NamedTuple):
    """Everything there is to know about one frame.

    Attributes
    ----------
    keypoints : ndarray (K, 2) float32
        px of the frame, pixel centres at integers, in the order of ``KEYPOINTS``.
    visible : ndarray (K,) bool
        Whether nothing is in front of it: no lid, paw, spout or edge of the picture. What is
        hidden still has its place in ``keypoints``.
    pupil_area_px2 : float
        Area of the whole pupil, also of what lids cover.
    pupil_px : ndarray (2,) float32
        Its centre.
    state : State
        What the face and the light do: whisk, lids, gaze, gain, scan ...
    """

    keypoints: Float32Array
    visible: npt.NDArray[np.bool_]
    pupil_area_px2: float
    pupil_px: Float32Array
    state: State


class SyntheticTruth:
    """The truth of the ``SyntheticCamera`` of the same arguments; draws nothing.

    Parameters
    ----------
    width, height : int
        Size of the frames, px.
    rate_hz : float
        Frames per second.
    seed : int
        The animal; see ``Anatomy``.
    nuisances : bool
        What rigs do to a face; see ``Script``.

    Attributes
    ----------
    names : tuple of str
        Names of the keypoints, in order.
    eye_width_px : float
        From the front corner of the eye to the back one.
    """

    names = KEYPOINTS

    def __init__(
        self, width: int, height: int, rate_hz: float, seed: int, nuisances: bool = True
    ) -> None:
        self.rate_hz = rate_hz
        self._anatomy = Anatomy(seed, height, width, nuisances=nuisances)
        self._script = Script(seed, nuisances)
        self.eye_width_px = 2 * self._anatomy.eye_width * self._anatomy.px

    def time_s(self, frame_id: int) -> float:
        """Return when frame ``frame_id`` was exposed, s after the start of the script."""
        return frame_id / self.rate_hz

    def state(self, frame_id: int) -> State:
        """Return the state of the face that frame ``frame_id`` shows."""
        return self._anatomy.snap(self._script.at(self.time_s(frame_id)))

    def points(self, frame_id: int) -> Float32Array:
        """Return the keypoints (K, 2) float32 of that frame, px."""
        return self._anatomy.points(self.state(frame_id))

    def at(self, frame_id: int) -> Truth:
        """Return everything about that frame."""
        state = self.state(frame_id)
        xy = self._anatomy.points(state)
        back, bottom, front, top = (xy[i] for i in range(len(xy) - 4, len(xy)))
        across, along = np.hypot(*(front - back)), np.hypot(*(top - bottom))
        return Truth(
            xy,
            visible(self._anatomy, state),
            float(np.pi / 4 * across * along),
            (back + front) / 2,
            state,
        )

    def events(self, first_id: int, end_id: int) -> list[Event]:
        """Return what begins in frames ``first_id`` to ``end_id - 1``; times in s as ``time_s``."""
        return self._script.events_between(self.time_s(first_id), self.time_s(end_id))


def visible(face: Anatomy, state: State) -> npt.NDArray[np.bool_]:
    """Return which keypoints (K,) nothing hides, for a snapped state."""
    xy = face.points(state)
    seen = np.all((xy >= 0) & (xy <= [face.width - 1, face.height - 1]), axis=1)
    # back to where they are on the face: facing left, before the camera was knocked
    x = face.width - 1 - xy[:, 0] if face.facing == "right" else xy[:, 0]
    u, v = face.to_head(x - state.shift_x * face.width, xy[:, 1] - state.shift_y * face.width)
    paw = KEYPOINTS.index("paw")
    paw_seen = bool(seen[paw])
    if face.spout:
        along, across = face.spout.place(u, v)
        seen &= (along < 0) | (np.abs(across) > face.spout.radius)
    seen &= paw_cover(u - state.paw_u, v - state.paw_v) <= 0
    seen[paw] = paw_seen  # it is before everything
    upper, lower = face.lid_heights(state.lids)
    across_eye, along_eye = _pupil_in_eye(state)
    half = np.sqrt(np.maximum(0, 1 - across_eye**2))
    seen[-4:] &= (along_eye > -upper * half) & (along_eye < lower * half)
    return np.asarray(seen, np.bool_)


def _pupil_in_eye(state: State) -> tuple[np.ndarray, np.ndarray]:
    """Return where the four pupil points are in the eye's own axes, half eye widths."""
    r = state.pupil
    return (
        state.gaze_x + np.array([r, 0, -r, 0]),
        state.gaze_y + np.array([0, r, 0, -r]),
    )
