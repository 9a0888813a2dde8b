"""What a session has of one camera, one row per frame of its video: what exporters write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from rtface.motion.masks import Masks
from rtface.session import CameraSession, layout
from rtface.session.records import RecordFile, Records
from rtface.types import Float32Array, UserError

Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


class Motion(NamedTuple):
    """Motion and movie components; A areas in the order of the masks.

    Attributes
    ----------
    masks : Masks
    energy : ndarray (N, A) float32
        Sum of |difference| over the bins of the area, grey levels; NaN where it is not known.
    motion, movie : tuple of ndarray (N, C) float32
        One per area, C at most that of its masks; (N, 0) where there are no such masks. NaN in all
        of a row where it is not known.
    """

    masks: Masks
    energy: Float32Array
    motion: tuple[Float32Array, ...]
    movie: tuple[Float32Array, ...]


class Roi(NamedTuple):
    """A part of the frame that pupil, blink or running are taken from.

    Attributes
    ----------
    kind : "pupil", "blink" or "running"
    x, y, width, height : int
        px.
    saturation : float
        Grey level; what is brighter does not count.
    sigma : float
        Of the pupil's fit, standard deviations.
    inside : ndarray (height, width) bool, optional
        Which pixels count; those of the largest ellipse by default.
    reflection : ndarray (height, width) bool, optional
        Pixels of corneal reflections.
    """

    kind: Literal["pupil", "blink", "running"]
    x: int
    y: int
    width: int
    height: int
    saturation: float = 255.0
    sigma: float = 2.0
    inside: BoolArray | None = None
    reflection: BoolArray | None = None


class Pupil(NamedTuple):
    """A pupil as Facemap describes it; NaN in frames without one, or that were not tracked.

    Attributes
    ----------
    roi : Roi
    area : ndarray (N,) float64
        px².
    centre : ndarray (N, 2) float64
        Row and column in the ROI, px.
    axes : ndarray (N, 2, 2) float64
        Eigenvectors of the ellipse.
    squared_radii : ndarray (N, 2) float64
        Squared semi-axes, px² (Facemap's ``axlen``).
    area_smooth, centre_smooth : ndarray, optional
        As ``area`` and ``centre``, smoothed; by default those with gaps filled along a line.
    """

    roi: Roi
    area: Float64Array
    centre: Float64Array
    axes: Float64Array
    squared_radii: Float64Array
    area_smooth: Float64Array | None = None
    centre_smooth: Float64Array | None = None


class Trace(NamedTuple):
    """Blink (N,) or running (N, 2: down and right, px per frame), float64; NaN where not known."""

    roi: Roi
    values: Float64Array


class Recorded(NamedTuple):
    """One camera of a session; N frames, all that its video has, in order.

    Attributes
    ----------
    height, width : int
        Of the frames, px.
    frame_seq : ndarray (N,) int64
        Of the frames; grows, with gaps where frames have no pixels.
    names : tuple of str
        The keypoints.
    keypoints : ndarray (N, K, 3) float32
        x, y (px), score; NaN, NaN, 0 in frames that were not tracked.
    tracked : ndarray (N,) bool
    tracks_per_s : float
        1 / mean time of tracking a frame, from reading it to its finished keypoints; NaN if no
        result says.
    motion : Motion, optional
    pupils, blinks, running : tuple
        One for each ROI.
    """

    height: int
    width: int
    frame_seq: npt.NDArray[np.int64]
    names: tuple[str, ...]
    keypoints: Float32Array
    tracked: BoolArray
    tracks_per_s: float = float("nan")
    motion: Motion | None = None
    pupils: tuple[Pupil, ...] = ()
    blinks: tuple[Trace, ...] = ()
    running: tuple[Trace, ...] = ()


def recorded(
    folder: Path, camera: CameraSession, frame_seq: npt.NDArray[np.int64], filled: bool = False
) -> Recorded:
    """Return what a session has of these frames. The one place that says what is exported.

    Parameters
    ----------
    folder : Path
        Of the session.
    camera : CameraSession
    frame_seq : ndarray (N,) int64
        Of the frames wanted; grows.
    filled : bool
        Take the results that ``rtface replay --recompute --fill`` wrote, not those of the run.

    Raises
    ------
    UserError
        Records are damaged, or there are no filled results.
    """
    if filled:
        path = folder / f"{camera.name}.filled.rec"
        if not path.is_file():
            raise UserError(
                f"{path}: is not there; 'rtface replay {folder} --recompute --fill' makes it"
            )
        with RecordFile(path) as file:
            chunks = list(file.chunks())
    else:
        chunks = list(camera.results.chunks())
    keypoints, tracked = placed(frame_seq, chunks, len(camera.names))
    return Recorded(
        *camera.about.shape,
        frame_seq,
        tuple(camera.names),
        keypoints,
        tracked,
        _tracks_per_s(chunks),
    )


def placed(
    frame_seq: npt.NDArray[np.int64], results: Sequence[Records], n_keypoints: int
) -> tuple[Float32Array, BoolArray]:
    """Return keypoints (N, K, 3) of frames, and which of them have any.

    Parameters
    ----------
    frame_seq : ndarray (N,) int64
        Grows.
    results : sequence of structured arrays
        Records with ``frame_seq`` and ``keypoints``; those of other frames are passed over.
    n_keypoints : int
    """
    keypoints = np.full((len(frame_seq), n_keypoints, 3), np.nan, np.float32)
    keypoints[:, :, 2] = 0
    tracked = np.zeros(len(frame_seq), bool)
    if not len(frame_seq):
        return keypoints, tracked
    for records in results:
        wanted = records["frame_seq"]
        at = np.minimum(np.searchsorted(frame_seq, wanted), len(frame_seq) - 1)
        here = frame_seq[at] == wanted
        keypoints[at[here]] = layout.keypoints_of(records[here])
        tracked[at[here]] = True
    return keypoints, tracked


def _tracks_per_s(results: Sequence[Records]) -> float:
    spent_ns: Any = 0
    n = 0
    for records in results:
        live = records["t_read_ns"] != 0  # results that were filled in have no times
        spent_ns += int((records["t_rules_ns"] - records["t_read_ns"])[live].sum())
        n += int(live.sum())
    return n * 1e9 / spent_ns if spent_ns > 0 else float("nan")
