"""Facemap's ``_proc.npy``: the dict in it, made of what a session has. Pure functions.

Every key that Facemap 1.0 writes is there, and ``interpolated`` (N,) bool: rows of which motion
components, or whatever else has no NaN in Facemap's files, were not known and were put on a line
between their neighbours. A NaN would make all of a trace disappear in Facemap's window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rtface.export.facemap_rois import motion_roi, roi_dict
from rtface.export.recorded import BoolArray, Motion, Pupil, Recorded
from rtface.motion.masks import FULL, Basis
from rtface.types import Float32Array

Array = npt.NDArray[Any]
#: frames that Facemap works on at once; its ``motion`` of the first of them comes a frame early
CHUNK = 500
#: px, of a file without masks: what Facemap's window has when it opens
NO_MASKS_BIN = 4


def proc_dict(
    recorded: Recorded, filenames: Sequence[Sequence[str]], as_facemap: bool = False
) -> dict[str, Any]:
    """Return what stands in ``_proc.npy``.

    Parameters
    ----------
    recorded : Recorded
    filenames : sequence of sequence of str
        One after the other, files of one view each: ``[["a.mp4"], ["b.mp4"]]``.
    as_facemap : bool
        Repeat what Facemap gets wrong: ``motion`` of the first 500 frames comes a frame early and
        ends with 0, and ``movSVD`` begins with its second row twice. By default each row is of its
        own frame; only the first of ``motion`` and ``motSVD``, which has no frame before, is that
        of the second.
    """
    motion, n = recorded.motion, len(recorded.frame_seq)
    bin_px = motion.masks.bin_px if motion else NO_MASKS_BIN
    shape = recorded.height // bin_px, recorded.width // bin_px
    rois = _rois(recorded)
    proc: dict[str, Any] = {
        "filenames": [[str(name) for name in at_once] for at_once in filenames],
        "save_path": None,
        "Ly": [recorded.height],
        "Lx": [recorded.width],
        "sbin": bin_px,
        "fullSVD": _has_full(motion),
        "save_mat": False,
        "Lybin": np.array(shape[:1], np.int32),
        "Lxbin": np.array(shape[1:], np.int32),
        "sybin": np.zeros(1, np.int64),
        "sxbin": np.zeros(1, np.int64),
        "LYbin": shape[0],
        "LXbin": shape[1],
        **_averages(motion, shape),
        "motion": _energy(motion, n, as_facemap),
        **_components("mot", motion, shape, n, as_facemap),
        **_components("mov", motion, shape, n, as_facemap),
        "pupil": [_pupil(pupil) for pupil in recorded.pupils],
        "running": [filled(trace.values) for trace in recorded.running],
        "blink": [filled(trace.values) for trace in recorded.blinks],
        "rois": rois or None,
        "sy": 0,
        "sx": 0,
    }
    return {**proc, "interpolated": _unknown(recorded)}


def filled(values: Array) -> Array:
    """Return values (N, ...) in which rows with NaN lie on a line between their neighbours.

    Before the first row that is known and after the last they stay as that is; 0 if none is.
    """
    n = len(values)
    known = _known(values)
    at = np.flatnonzero(known)
    if len(at) == n:
        return values
    if not len(at):
        return np.zeros_like(values)
    missing = np.flatnonzero(~known)
    after = np.searchsorted(at, missing)
    low, high = at[np.maximum(after - 1, 0)], at[np.minimum(after, len(at) - 1)]
    share = (missing - low) / np.maximum(high - low, 1)
    share = share.reshape(-1, *[1] * (values.ndim - 1)).astype(values.dtype)
    result = values.copy()
    result[missing] = values[low] + share * (values[high] - values[low])
    return result


def _known(values: Array) -> BoolArray:
    return np.asarray(np.isfinite(values).all(axis=tuple(range(1, values.ndim))))


def _unknown(recorded: Recorded) -> BoolArray:
    """Return (N,) which rows have something that was put on a line; the first needs no saying."""
    traces: list[Array] = [trace.values for trace in recorded.blinks + recorded.running]
    if recorded.motion:
        traces += [recorded.motion.energy, *recorded.motion.motion, *recorded.motion.movie]
    unknown = np.zeros(len(recorded.frame_seq), bool)
    for values in traces:
        np.logical_or(unknown, ~_known(values), out=unknown)
    return unknown


def _has_full(motion: Motion | None) -> bool:
    return motion is not None and any(area.name == FULL for area in motion.masks.areas)


def _rois(recorded: Recorded) -> list[dict[str, Any]]:
    """Return Facemap's list of ROIs: of motion, then of pupils, blinks and running."""
    made: list[dict[str, Any]] = []
    if motion := recorded.motion:
        for area in motion.masks.areas:
            if area.name != FULL:
                made.append(motion_roi(area.area, motion.masks.bin_px, len(made)))
    for pupil in recorded.pupils:
        made.append(roi_dict(pupil.roi, len(made)))
    for trace in recorded.blinks + recorded.running:
        made.append(roi_dict(trace.roi, len(made)))
    return made


def _averages(motion: Motion | None, shape: tuple[int, int]) -> dict[str, Any]:
    """Return average pictures; zeros if none was made."""
    masks = motion.masks if motion else None
    flat = masks is None or all(area.name == FULL for area in masks.areas)
    made: dict[str, Any] = {}
    for key in ("frame", "motion"):
        picture = getattr(masks, f"average_{key}") if masks else np.zeros(shape, np.float32)
        # Facemap leaves them as pictures once it has cut a ROI out of them
        made[f"avg{key}"] = [picture.reshape(-1) if flat else picture]
        made[f"avg{key}_reshape"] = picture
    return made


def _energy(motion: Motion | None, n: int, as_facemap: bool) -> list[Float32Array]:
    if motion is None:
        return [np.zeros(0, np.float32)]
    made = [] if _has_full(motion) else [np.zeros(0, np.float32)]
    for i in range(len(motion.masks.areas)):
        values: Float32Array = filled(motion.energy[:, i]).copy()
        if as_facemap and n:
            first = min(n, CHUNK)
            values[: first - 1] = values[1:first].copy()
            values[first - 1] = 0
        made.append(values)
    return made


def _components(
    kind: str, motion: Motion | None, shape: tuple[int, int], n: int, as_facemap: bool
) -> dict[str, Any]:
    """Return masks, singular values and traces of motion (``mot``) or movie (``mov``)."""
    masks: list[Float32Array] = []
    pictures: list[Float32Array] = []
    traces: list[Float32Array] = []
    singular = np.zeros(CHUNK, np.float32)
    areas = motion.masks.areas if motion else ()
    bases = [area.motion if kind == "mot" else area.movie for area in areas]
    if motion and any(bases):
        if not _has_full(motion):
            masks.append(np.zeros((0, 1), np.float32))
            pictures.append(np.zeros((0, 1), np.float32))
            traces.append(np.zeros((0, 1), np.float32))
        found = motion.motion if kind == "mot" else motion.movie
        for area, basis, values in zip(areas, bases, found, strict=True):
            size = area.area.y1 - area.area.y0, area.area.x1 - area.area.x0
            mask, trace = _of_area(basis, values, area.area.pixels, n)
            if as_facemap and kind == "mov" and n > 1:
                trace = np.concatenate((trace[1:2], trace[1:]))
            masks.append(mask)
            pictures.append(mask.reshape(*size, -1))
            traces.append(trace)
        # Facemap keeps those of the last area only, and zeros where it has none
        last = bases[-1]
        if last is not None and np.isfinite(last.singular).all():
            singular = last.singular[: masks[-1].shape[1]]
    return {
        f"{kind}Sv": singular,
        f"{kind}Mask": masks,
        f"{kind}Mask_reshape": pictures,
        f"{kind}SVD": traces,
    }


def _of_area(
    basis: Basis | None, values: Float32Array, pixels: int, n: int
) -> tuple[Float32Array, Float32Array]:
    """Return masks and trace of one area; one component of zeros where it has none of this kind."""
    if basis is None or not values.shape[1]:
        return np.zeros((pixels, 1), np.float32), np.zeros((n, 1), np.float32)
    return np.ascontiguousarray(basis.masks[:, : values.shape[1]]), filled(values)


def _pupil(pupil: Pupil) -> dict[str, Array]:
    area, centre = pupil.area_smooth, pupil.centre_smooth
    return {
        "area": pupil.area,
        "com": pupil.centre,
        "axdir": pupil.axes,
        "axlen": pupil.squared_radii,
        "area_smooth": filled(pupil.area if area is None else area),
        "com_smooth": filled(pupil.centre if centre is None else centre),
    }
