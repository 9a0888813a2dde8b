"""Facemap's ``_proc.npy``: the dict in it, made of what a session has. Pure functions.

Every key that Facemap 1.0 writes is there, and ``interpolated`` (N,) bool: rows of which motion
components, or whatever else has no NaN in Facemap's files, were not known and were put on a line
between their neighbours. A NaN would make all of a trace disappear in Facemap's window.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from rtface.export.facemap_rois import motion_roi, roi_dict
from rtface.export.recorded import BoolArray, Motion, Pupil, Recorded, Rows, pieces_of
from rtface.motion.masks import FULL, Basis
from rtface.types import Float32Array

Array = npt.NDArray[Any]
#: frames that Facemap works on at once; its ``motion`` of the first of them comes a frame early
CHUNK = 500
#: px, of a file without masks: what Facemap's window has when it opens
NO_MASKS_BIN = 4
#: rows on a line that are made at a time
_LINE_ROWS = 4096


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
    return np.concatenate([values[:0], *filled_pieces([values])])


def filled_pieces(pieces: Iterable[Array]) -> Iterator[Array]:
    """Yield values (M, ...) as ``filled`` has them, in pieces; lines cross from one to the next.

    Rows that wait for the next that is known are counted, not kept.
    """
    before: Array | None = None  # the last row that is known
    empty: Array | None = None
    waiting = 0
    for piece in pieces:
        empty = piece[:0]
        at = np.flatnonzero(_known(piece))
        if not len(at):
            waiting += len(piece)
            continue
        yield from _line(before, piece[at[0]], waiting + int(at[0]))
        yield _between(piece[at[0] : at[-1] + 1], at - at[0])
        before, waiting = piece[at[-1]].copy(), len(piece) - 1 - int(at[-1])
    if empty is not None:
        last = np.zeros(empty.shape[1:], empty.dtype) if before is None else before
        yield from _line(last, last, waiting)


def _between(values: Array, at: Array) -> Array:
    """Return values (M, ...) of which rows ``at`` are known, the first and the last among them."""
    if len(at) == len(values):
        return values
    unknown = np.ones(len(values), bool)
    unknown[at] = False
    missing = np.flatnonzero(unknown)
    after = np.searchsorted(at, missing)
    low, high = at[after - 1], at[after]
    share = ((missing - low) / (high - low)).reshape(-1, *[1] * (values.ndim - 1))
    result = values.copy()
    result[missing] = values[low] + share.astype(values.dtype) * (values[high] - values[low])
    return result


def _line(before: Array | None, after: Array, n: int) -> Iterator[Array]:
    """Yield n rows on the line between two; those of ``after`` if there is none before."""
    for start in range(1, n + 1, _LINE_ROWS):
        i = np.arange(start, min(start + _LINE_ROWS, n + 1))
        share = (i / (n + 1)).reshape(-1, *[1] * after.ndim).astype(after.dtype)
        low = after if before is None else before
        yield low + share * (after - low)


def _known(values: Array) -> BoolArray:
    return np.asarray(np.isfinite(values).all(axis=tuple(range(1, values.ndim))))


def _unknown(recorded: Recorded) -> BoolArray:
    """Return (N,) which rows have something that was put on a line; the first needs no saying."""
    traces: list[Array | Rows] = [trace.values for trace in recorded.blinks + recorded.running]
    if recorded.motion:
        traces += [recorded.motion.energy, *recorded.motion.motion, *recorded.motion.movie]
    unknown = np.zeros(len(recorded.frame_seq), bool)
    for values in traces:
        at = 0
        for piece in pieces_of(values):
            unknown[at : at + len(piece)] |= ~_known(piece)
            at += len(piece)
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
    traces: list[Float32Array | Rows] = []
    singular = np.zeros(CHUNK, np.float32)
    areas = motion.masks.areas if motion else ()
    bases = [area.motion if kind == "mot" else area.movie for area in areas]
    # its window needs components where it knows areas: zeros where there is energy alone
    alone = kind == "mot" and not any(area.motion or area.movie for area in areas)
    if motion and (any(bases) or alone):
        if not _has_full(motion):
            masks.append(np.zeros((0, 1), np.float32))
            pictures.append(np.zeros((0, 1), np.float32))
            traces.append(np.zeros((0, 1), np.float32))
        found = motion.motion if kind == "mot" else motion.movie
        for area, basis, values in zip(areas, bases, found, strict=True):
            size = area.area.y1 - area.area.y0, area.area.x1 - area.area.x0
            second_twice = as_facemap and kind == "mov" and n > 1
            mask, trace = _of_area(basis, values, area.area.pixels, n, second_twice)
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
    basis: Basis | None, values: Float32Array | Rows, pixels: int, n: int, second_twice: bool
) -> tuple[Float32Array, Float32Array | Rows]:
    """Return masks and trace of one area; one component of zeros where it has none of this kind.

    A trace that is in memory comes back in memory, one that is not is made as it is written.
    """
    if basis is None or not values.shape[1]:
        return np.zeros((pixels, 1), np.float32), np.zeros((n, 1), np.float32)

    def pieces() -> Iterator[Float32Array]:
        made = filled_pieces(pieces_of(values))
        return _second_twice(made) if second_twice else made

    masks = np.ascontiguousarray(basis.masks[:, : values.shape[1]])
    if isinstance(values, Rows):
        return masks, Rows(values.shape, pieces)
    return masks, np.concatenate([values[:0], *pieces()])


def _second_twice(pieces: Iterable[Float32Array]) -> Iterator[Float32Array]:
    """Yield rows with the second in place of the first."""
    skipped = repeated = False
    for piece in pieces:
        rows = piece
        if not skipped and len(rows):
            rows, skipped = rows[1:], True
        if not repeated and len(rows):
            yield rows[:1]
            repeated = True
        yield rows


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
