"""Facemap's ``_proc.npy``, read without running anything in it, and its masks."""

from __future__ import annotations

import hashlib
import re
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from rtface.motion.binning import MOST_BIN, Area
from rtface.motion.masks import FULL, AreaMasks, Basis, Masks, basis_fault
from rtface.pickles import Name, Refused, refusing, run
from rtface.types import Float32Array, UserError

Array = npt.NDArray[Any]
#: what ``rind`` of a ROI means
_PUPIL, _MOTION, _BLINK = 0, 1, 2

_CORES = ("numpy.core.multiarray", "numpy._core.multiarray")
_ARRAYS = {Name(core, "_reconstruct") for core in _CORES}
_SCALARS = {Name(core, "scalar") for core in _CORES}
_NDARRAY, _DTYPE = Name("numpy", "ndarray"), Name("numpy", "dtype")
_NAMES = {*_ARRAYS, *_SCALARS, _NDARRAY, _DTYPE}
#: plain numbers, text, and lists of things (O8)
_PLAIN = re.compile(r"b1|[iu][1248]|f[248]|c8|c16|U\d{1,4}|O8")


class Proc(NamedTuple):
    """Masks of a ``_proc.npy``, and what the user should know of it, one line each."""

    masks: Masks
    notes: list[str]


def read_proc(path: Path) -> dict[str, Any]:
    """Return the dict that ``numpy.save`` wrote: numbers, text, lists, dicts and arrays.

    Raises
    ------
    UserError
        The file cannot be read, is no such file, is damaged, or holds anything that would have to
        be run; names the file.
    """
    try:
        with refusing(path), path.open("rb") as file:
            if file.read(6) != b"\x93NUMPY":
                raise UserError(f"{path}: is no .npy file; name a _proc.npy of Facemap")
            file.seek(0)
            version = np.lib.format.read_magic(file)
            if version != (1, 0):
                raise ValueError(f"version {version} of the format")
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            if shape != () or dtype != np.dtype(object):
                raise UserError(f"{path}: holds an array, no dict; name a _proc.npy of Facemap")
            outer = run(file, "a file of Facemap", _NAMES, _made, _built)
            found = outer.item() if isinstance(outer, np.ndarray) and outer.shape == () else None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}; name a _proc.npy of Facemap") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds no dict; name a _proc.npy of Facemap")
    return found


def load_proc(path: Path, view: int | None = None) -> Proc:
    """Return the masks of a ``_proc.npy``, with their numbers as they stand there.

    Parameters
    ----------
    path : Path
    view : int, optional
        Which of several videos that were taken at once, from 0; needed if there are several. The
        masks of the whole frame are then this view's part: what the views give adds up to
        Facemap's components.

    Raises
    ------
    UserError
        As ``read_proc``; or there are no masks in it, or they do not fit together.
    """
    proc = read_proc(path)
    try:
        return _Proc(path, proc, view).load()
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        detail = " ".join(str(error).split())[:120]
        raise UserError(
            f"{path}: is not as Facemap 1.0 writes it ({detail}); process the video again"
        ) from None


class _Proc:
    """Takes Facemap's dict apart."""

    def __init__(self, path: Path, proc: dict[str, Any], view: int | None) -> None:
        self._path, self._proc = path, proc
        if isinstance(proc.get("motSVD"), bool):
            raise self._fault("motSVD", "holds settings, not results; process the video first")
        self._heights, self._widths = ([int(n) for n in self._get(key)] for key in ("Ly", "Lx"))
        views = len(self._heights)
        if view is None and views > 1:
            raise self._fault(
                "Ly", f"made of {views} views at once; choose one of them with --view"
            )
        self._view = view or 0
        if not 0 <= self._view < views:
            raise self._fault("Ly", f"there is no view {view}, only 0 to {views - 1}")
        self._bin = int(self._get("sbin"))
        if not 1 <= self._bin <= min(MOST_BIN, *self._heights, *self._widths):
            raise self._fault("sbin", f"{self._bin} px is not 1 to {MOST_BIN}")
        self._shapes = [
            (height // self._bin, width // self._bin)
            for height, width in zip(self._heights, self._widths, strict=True)
        ]
        self._rois = [dict(roi) for roi in proc.get("rois") or []]

    def load(self) -> Proc:
        """Return masks and notes."""
        frame, motion = self._average("avgframe"), self._average("avgmotion")
        kinds = self._bases("motMask", "motSv"), self._bases("movMask", "movSv")
        places = self._places()
        areas = []
        for name, area in places.items():
            made = AreaMasks(name, area, *(bases.get(name) for bases in kinds))
            if made.motion is None and made.movie is None:
                continue
            if fault := basis_fault(made):
                raise self._fault(name, fault)
            areas.append(made)
        if not areas:
            raise self._fault("motMask", "holds no masks of this view; process with motSVD on")
        masks = Masks(
            self._heights[self._view],
            self._widths[self._view],
            self._bin,
            frame,
            motion,
            tuple(areas),
            _sha256(self._path),
        )
        return Proc(masks, self._notes())

    def _notes(self) -> list[str]:
        notes = []
        here = [roi for roi in self._rois if int(roi.get("ivid", 0)) == self._view]
        if any(int(roi["rind"]) in (_PUPIL, _BLINK) for roi in here):
            notes.append(
                "it has pupil or blink ROIs: Facemap blanked the pixels around them before it "
                "computed motion, so live components will differ from the file's"
            )
        areas = [area for name, area in self._places().items() if name != FULL]
        if any(_overlap(one, two) for one, two in combinations(areas, 2)):
            notes.append(
                "motion ROIs overlap: Facemap subtracts the averages from the later one twice, so "
                "its components in the file are off by a constant, and its motion is too low"
            )
        if len(self._heights) > 1:
            notes.append("several views: components of 'full' are this view's part of the file's")
        return notes

    def _places(self) -> dict[str, Area]:
        """Return the areas of this view; names count all motion ROIs of the file."""
        rows, columns = self._shapes[self._view]
        found = {FULL: Area(0, rows, 0, columns)}
        for i, roi in enumerate(self._motion_rois(), 1):
            if int(roi.get("ivid", 0)) == self._view:
                y, x = np.asarray(roi["yrange_bin"]), np.asarray(roi["xrange_bin"])
                area = Area(int(y[0]), int(y[-1]) + 1, int(x[0]), int(x[-1]) + 1)
                if min(area) < 0 or area.y1 > rows or area.x1 > columns:
                    raise self._fault("rois", f"motion ROI {i} is outside the frame")
                found[f"roi{i}"] = area
        return found

    def _motion_rois(self) -> list[dict[str, Any]]:
        return [roi for roi in self._rois if int(roi["rind"]) == _MOTION]

    def _bases(self, masks_key: str, values_key: str) -> dict[str, Basis]:
        """Return the masks of one kind by area."""
        listed = [np.asarray(masks) for masks in self._get(masks_key)]
        n_rois = len(self._motion_rois())
        if len(listed) < 1 + n_rois:
            return {}  # this kind was off: at most zeros for ROIs, and nothing for the frame
        sizes = [rows * columns for rows, columns in self._shapes]
        start = sum(sizes[: self._view])
        found = {}
        for i, masks in enumerate(listed[: 1 + n_rois]):
            if masks.ndim != 2 or not masks.any():
                continue
            # of few frames Facemap makes fewer components than it has columns for
            masks = masks[:, : int(np.flatnonzero(masks.any(0))[-1]) + 1]
            if i == 0:
                if len(masks) != sum(sizes):
                    raise self._fault(masks_key, f"{len(masks)} rows for {sum(sizes)} bins")
                masks = masks[start : start + sizes[self._view]]
            # the file keeps the values of the last area only, and zeros of a short video
            values = np.asarray(self._proc.get(values_key, ()), np.float32)
            last = i == n_rois and values.any() and len(values) >= masks.shape[1]
            nothing = np.full(masks.shape[1], np.nan, np.float32)
            singular = values[: masks.shape[1]].copy() if last else nothing
            name = f"roi{i}" if i else FULL
            found[name] = Basis(np.ascontiguousarray(masks, np.float32), singular, nothing)
        return found

    def _average(self, key: str) -> Float32Array:
        """Return one of the average pictures (h, w) of this view."""
        found = np.asarray(self._get(key)[self._view], np.float32)
        shape = self._shapes[self._view]
        if found.size != shape[0] * shape[1]:
            raise self._fault(key, f"{found.size} bins, not {shape[0]}x{shape[1]}")
        if not np.isfinite(found).all():
            raise self._fault(key, "holds NaN or infinity")
        return np.ascontiguousarray(found.reshape(shape))

    def _get(self, key: str) -> Any:
        if key not in self._proc:
            raise self._fault(key, "is missing")
        return self._proc[key]

    def _fault(self, key: str, what: str) -> UserError:
        return UserError(f"{self._path}: {key}: {what}; name a _proc.npy that Facemap 1.0 wrote")


def _overlap(one: Area, two: Area) -> bool:
    rows = max(one.y0, two.y0) < min(one.y1, two.y1)
    return rows and max(one.x0, two.x0) < min(one.x1, two.x1)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _made(maker: Any, arguments: Any) -> Any:
    """Return what one of numpy's three makers makes: an array yet empty, a type, a number."""
    if maker in _ARRAYS and arguments[0] == _NDARRAY:
        return np.empty(0, np.uint8)
    if maker == _DTYPE and isinstance(arguments[0], str) and _PLAIN.fullmatch(arguments[0]):
        return np.dtype(arguments[0])
    if maker in _SCALARS:
        dtype, content = arguments
        return _numbers(dtype, content, 1)[0]
    raise Refused(f"it calls {str(maker)[:80]!r} with {str(arguments)[:40]!r}")


def _built(target: Any, state: Any) -> None:
    """Fill an array, after checking that what it is filled with fits; types are made whole."""
    if isinstance(target, np.dtype):
        if state[1] not in ("<", "|", "="):
            raise Refused(f"numbers in the order {str(state[1])[:8]!r}")
        return
    if type(target) is not np.ndarray:
        raise Refused("it sets the state of something other than an array")
    _, shape, dtype, columns_first, content = state
    n = int(np.prod(shape, dtype=object))
    if not isinstance(dtype, np.dtype) or min(shape, default=0) < 0:
        raise ValueError("an array without a shape")
    if dtype != np.dtype(object):
        _numbers(dtype, content, n)
    elif type(content) is not list or len(content) != n:
        raise ValueError("an array of other things than it says")
    checked: Any = (1, tuple(shape), dtype, bool(columns_first), content)
    target.__setstate__(checked)


def _numbers(dtype: Any, content: Any, n: int) -> Array:
    """Return exactly ``n`` numbers from their bytes."""
    if not isinstance(dtype, np.dtype) or dtype == np.dtype(object) or not dtype.itemsize:
        raise ValueError("numbers of no type")
    if not isinstance(content, bytes) or len(content) != n * dtype.itemsize:
        raise ValueError(f"not the bytes of {n} numbers")
    return np.frombuffer(content, dtype)
