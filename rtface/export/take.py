"""What a session has of a camera, taken out for exporters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rtface.export.recorded import BoolArray, Motion, Pupil, Recorded, Roi, Rows, Trace
from rtface.export.results import results_file
from rtface.motion.binning import Area, binned_shape
from rtface.motion.masks import AreaMasks, Masks, load_masks
from rtface.pupil.facemap import facemap_axes, facemap_smooth
from rtface.session import CameraSession, layout
from rtface.session.records import RecordFile, Records
from rtface.types import Float32Array, UserError

FrameSeq = npt.NDArray[np.int64]
#: what Facemap's files have of a pupil is made of these
_PUPIL = ("area_px2", "x_px", "y_px", "long_px", "short_px", "angle_rad", "saturation", "blink")
#: rows of components that are in memory at a time, at most
_ROWS = 20_000
#: a box that keypoints placed is not on record: it reaches so many radii around where the pupil was
_REACH = 1.5


def recorded(
    folder: Path, camera: CameraSession, frame_seq: FrameSeq, filled: bool = False
) -> Recorded:
    """Return what a session has of these frames. The one place that says what is exported.

    Components, of which there may be hundreds, are read from the session whenever they are asked
    for; all else is in memory.

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
    with results_file(folder, camera, filled) as file:
        results = _Results(file)
        keypoints, tracked = placed(frame_seq, results, len(camera.names))
        pupil = pupil_of(camera, frame_seq, results)
        return Recorded(
            *camera.about.shape,
            frame_seq,
            tuple(camera.names),
            keypoints,
            tracked,
            _tracks_per_s(results),
            motion_of(folder, camera, frame_seq, results, filled),
            (pupil[0],) if pupil else (),
            (pupil[1],) if pupil else (),
            running_of(camera, frame_seq, results),
        )


class _Results:
    """Records of a file, some at a time, as often as they are gone through."""

    def __init__(self, file: RecordFile) -> None:
        self._file = file

    def __iter__(self) -> Iterator[Records]:
        return self._file.chunks()


def placed(
    frame_seq: FrameSeq, results: Iterable[Records], n_keypoints: int
) -> tuple[Float32Array, BoolArray]:
    """Return keypoints (N, K, 3) of frames, and which of them (N,) have any.

    Those without a result are NaN, NaN, 0. ``results`` are gone through twice.
    """
    keypoints = placed_signal(frame_seq, results, "keypoints", (n_keypoints, 3))
    # copies: a view would keep all of the records
    with_result = [records["frame_seq"].copy() for records in results]
    tracked = np.isin(frame_seq, np.concatenate([np.zeros(0, np.int64), *with_result]))
    keypoints[~tracked, :, 2] = 0
    return keypoints, tracked


def placed_signal(
    frame_seq: FrameSeq, results: Iterable[Records], name: str, shape: tuple[int, ...]
) -> Float32Array:
    """Return a column of results (N, *shape) of frames; NaN in those without a result.

    Parameters
    ----------
    frame_seq : ndarray (N,) int64
        Grows.
    results : iterable of structured arrays
        Records of results; those of other frames are passed over.
    """
    values = np.full((len(frame_seq), *shape), np.nan, np.float32)
    if not len(frame_seq):
        return values
    for records in results:
        wanted = records["frame_seq"]
        at = np.minimum(np.searchsorted(frame_seq, wanted), len(frame_seq) - 1)
        here = frame_seq[at] == wanted
        values[at[here]] = records[name][here]
    return values


def motion_of(
    folder: Path,
    camera: CameraSession,
    frame_seq: FrameSeq,
    results: Iterable[Records],
    filled: bool = False,
) -> Motion | None:
    """Return motion of frames; None if there is none.

    Where no masks came, or they are gone, there is energy alone.
    """
    lengths, path = camera.about.signals, folder / layout.masks_name(camera.name)
    if "motion_energy" not in lengths:
        return None
    areas = camera.about.meta["motion"]["areas"]
    masks = load_masks(path, camera.about.shape) if path.exists() else _no_masks(camera)
    if [area["name"] for area in areas] != [area.name for area in masks.areas]:
        raise UserError(f"{path}: is of other areas than the session's motion")

    def per_area(name: str) -> tuple[Float32Array | Rows, ...]:
        found = [area.motion if name == "motion" else area.movie for area in masks.areas]
        made: list[Float32Array | Rows] = []
        first = 0
        for area, basis in zip(areas, found, strict=True):
            # where fewer came of it than there was room for
            n = min(int(area[name]), basis.masks.shape[1]) if basis else 0
            part = slice(first, first + n)
            pieces = partial(_components, folder, camera, frame_seq, filled, name, part)
            shape = len(frame_seq), n
            made.append(Rows(shape, pieces) if n else np.empty(shape, np.float32))
            first += int(area[name])
        return tuple(made)

    energy = placed_signal(frame_seq, results, "motion_energy", (lengths["motion_energy"],))
    return Motion(masks, energy, per_area("motion"), per_area("movie"))


def _no_masks(camera: CameraSession) -> Masks:
    """Return the areas of a camera's motion without any masks."""
    told = camera.about.meta["motion"]
    nothing = np.zeros(binned_shape(*camera.about.shape, told["bin_px"]), np.float32)
    areas = (AreaMasks(one["name"], Area(*one["bins"]), None, None) for one in told["areas"])
    return Masks(*camera.about.shape, told["bin_px"], nothing, nothing, tuple(areas), "")


def _components(
    folder: Path, camera: CameraSession, frame_seq: FrameSeq, filled: bool, name: str, part: slice
) -> Iterator[Float32Array]:
    """Yield some components (M, C) of frames, in order, as the session is read."""
    length, done = camera.about.signals[name], 0
    with results_file(folder, camera, filled) as file:
        for records in file.chunks():
            # frames without a result stand with those of the next that has one
            last = int(np.searchsorted(frame_seq, records["frame_seq"][-1], "right"))
            for start in range(done, last, _ROWS):
                seqs = frame_seq[start : min(start + _ROWS, last)]
                yield placed_signal(seqs, [records], name, (length,))[:, part]
            done = max(done, last)
    for start in range(done, len(frame_seq), _ROWS):
        yield placed_signal(frame_seq[start : start + _ROWS], (), name, (length,))[:, part]


def pupil_of(
    camera: CameraSession, frame_seq: FrameSeq, results: Iterable[Records]
) -> tuple[Pupil, Trace] | None:
    """Return pupil and blink of frames as Facemap describes them; None if there are none."""
    if "pupil" not in camera.about.signals:
        return None
    fields = [str(name) for name in camera.about.meta["pupil"]["fields"]]
    values = placed_signal(frame_seq, results, "pupil", (len(fields),))
    of = {name: values[:, i].astype(float) for i, name in enumerate(fields) if name in _PUPIL}
    area, x, y = of["area_px2"], of["x_px"], of["y_px"]
    roi = _roi(camera, of)
    centre = np.stack([y - roi.y, x - roi.x], 1)
    axes = np.full((len(values), 2, 2), np.nan)
    squared = np.full((len(values), 2), np.nan)
    for i in np.flatnonzero(np.isfinite(area)):
        squared[i], axes[i] = facemap_axes(
            *(float(of[name][i]) for name in ("long_px", "short_px", "angle_rad"))
        )
    smooth = facemap_smooth(area, centre)
    pupil = Pupil(roi, area, centre, axes, squared, *smooth)
    return pupil, Trace(roi._replace(kind="blink"), of["blink"])


def running_of(
    camera: CameraSession, frame_seq: FrameSeq, results: Iterable[Records]
) -> tuple[Trace, ...]:
    """Return how far the treadmill moved, in whole px as Facemap has it; empty if not recorded."""
    if "running" not in camera.about.signals:
        return ()
    told = camera.about.meta["running"]
    values = placed_signal(frame_seq, results, "running", (len(told["fields"]),))
    axes = [told["fields"].index(name) for name in ("dy_whole", "dx_whole")]
    x, y, width, height = (int(n) for n in told["box"])
    return (Trace(Roi("running", x, y, width, height), values[:, axes].astype(float)),)


def _roi(camera: CameraSession, of: dict[str, npt.NDArray[np.float64]]) -> Roi:
    """Return the rectangle that the pupil was looked for in, as well as the session says."""
    rig, (height, width) = camera.about.meta.get("pupil", {}), camera.about.shape
    known = np.isfinite(of["area_px2"]) & np.isfinite(of["long_px"])
    saturation = of["saturation"][np.isfinite(of["saturation"])]
    level = float(np.median(saturation)) if saturation.size else 255.0
    if box := rig.get("box"):
        x, y, w, h = (int(n) for n in box)
        return Roi("pupil", x, y, w, h, level, float(rig["sigma"]))
    if not known.any():
        return Roi("pupil", 0, 0, width, height, level)
    far = _REACH * float(np.median(of["long_px"][known]))
    left, right = (float(f(of["x_px"][known])) for f in (np.min, np.max))
    top, bottom = (float(f(of["y_px"][known])) for f in (np.min, np.max))
    x0, y0 = max(0, int(left - far)), max(0, int(top - far))
    x1, y1 = min(width, int(right + far) + 1), min(height, int(bottom + far) + 1)
    return Roi("pupil", x0, y0, x1 - x0, y1 - y0, level, float(rig.get("sigma", 2.0)))


def _tracks_per_s(results: Iterable[Records]) -> float:
    spent_ns: Any = 0
    n = 0
    for records in results:
        live = records["t_read_ns"] != 0  # results that were filled in have no times
        spent_ns += int((records["t_rules_ns"] - records["t_read_ns"])[live].sum())
        n += int(live.sum())
    return n * 1e9 / spent_ns if spent_ns > 0 else float("nan")
