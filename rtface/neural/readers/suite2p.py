"""Folders of Suite2p: one plane, or several of a volume with their own times."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rtface.neural.activity import Activity, Ints, make_activity
from rtface.neural.readers.arrays import Floats, table
from rtface.types import UserError


class Rows:
    """Rows of several tables, one below the other: read when they are asked for, never before.

    Parameters
    ----------
    parts : list of (ndarray (N, T), ndarray (n,) int64)
        Tables, mostly mapped from files, and which of their rows.
    """

    ndim = 2

    def __init__(self, parts: list[tuple[Any, Ints]]) -> None:
        self._parts = parts
        self._table = np.repeat(np.arange(len(parts)), [len(rows) for _, rows in parts])
        self._row = np.concatenate([rows for _, rows in parts])
        self.shape = len(self._row), parts[0][0].shape[1]
        self.dtype = parts[0][0].dtype

    def __getitem__(self, key: Any) -> Any:
        """Return rows (n, T) as an array, or these rows in some columns (a pair of indices)."""
        if isinstance(key, tuple):
            return Rows([(traces[:, key[1]], rows) for traces, rows in self._parts])
        which = np.arange(self.shape[0])[key]
        out = np.empty((len(which), self.shape[1]), self.dtype)
        for i, (traces, _) in enumerate(self._parts):
            mine = self._table[which] == i
            out[mine] = traces[self._row[which[mine]]]
        return out


def read(
    folder: Path,
    signal: str,
    times_s: Floats | None,
    edges_s: Floats | None,
    regions: Sequence[str] | None,
) -> Activity:
    """Return the cells of a folder of Suite2p.

    Parameters
    ----------
    folder : Path
        With ``spks.npy`` in it, or with ``plane0``, ``plane1`` ... of one volume.
    signal : str
        ``spks`` or ``F``.
    times_s : ndarray (T,), optional
        Of each frame (of each volume), s.
    edges_s : ndarray, optional
        When the microscope began each frame of any plane, s; instead of ``times_s``.
    regions : sequence of str, optional
        One per cell that is kept.

    Raises
    ------
    UserError
        Files are missing, or times and frames do not agree in number.
    """
    folders = [folder]
    if not (folder / f"{signal}.npy").exists():
        folders = sorted(
            (one for one in folder.glob("plane*") if one.name.removeprefix("plane").isdecimal()),
            key=lambda one: int(one.name.removeprefix("plane")),
        )
    if not folders:
        raise UserError(f"{folder}: has neither {signal}.npy nor plane0; is no folder of Suite2p")
    planes = [_plane(one, signal) for one in folders]
    n_planes, t = len(planes), min(values.shape[1] for values, _ in planes)
    if max(values.shape[1] for values, _ in planes) - t > 1:
        raise UserError(f"{folder}: its planes differ by more than one frame")
    late_s: Floats
    if edges_s is not None:
        times_s, late_s = _of_edges(folder, edges_s, t, n_planes)
    elif times_s is None:
        raise UserError(f"{folder}: has no times; give times, or frame_clock and line")
    else:
        period_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0
        late_s = np.arange(n_planes) * period_s / n_planes
    values = Rows([(traces[:, :t], np.flatnonzero(cell)) for traces, cell in planes])
    units = [
        f"{i}" if n_planes == 1 else f"plane{p}.{i}"
        for p, (_, cell) in enumerate(planes)
        for i in np.flatnonzero(cell)
    ]
    offsets = np.concatenate(
        [np.full(int(cell.sum()), late_s[p]) for p, (_, cell) in enumerate(planes)]
    )
    width_s = float(np.median(np.diff(times_s))) / n_planes if len(times_s) > 1 else None
    return make_activity(values, times_s, str(folder), units, regions, offsets, width_s)


def _plane(folder: Path, signal: str) -> tuple[Any, npt.NDArray[np.bool_]]:
    """Return the traces of a plane, mapped, and which of them are cells."""
    values = table(folder / f"{signal}.npy")
    path = folder / "iscell.npy"
    if not path.exists():
        return values, np.ones(len(values), bool)
    told = table(path)
    if told.ndim == 0 or len(told) != len(values):
        raise UserError(f"{path}: is not of the {len(values)} ROIs of {signal}.npy")
    cell = np.asarray(told[:, 0] if told.ndim == 2 else told) > 0.5
    if not cell.any():
        raise UserError(f"{path}: says that no ROI is a cell")
    return values, cell


def _of_edges(folder: Path, edges_s: Floats, t: int, n_planes: int) -> tuple[Floats, Floats]:
    """Return times of volumes, and how late each plane is; the counts have to agree."""
    expected, found = t * n_planes, len(edges_s)
    # the clock may tick on while the last volume is not saved, and no longer
    if not expected <= found <= expected + n_planes:
        raise UserError(
            f"{folder}: has {t} frames of {n_planes} planes, and the frame clock {found} edges, "
            f"not {expected}; is it the clock of this recording?"
        )
    begins = edges_s[:expected].reshape(t, n_planes)
    frame_s = float(np.median(np.diff(edges_s)))
    late_s = np.median(begins - begins[:, :1], axis=0)
    return begins[:, 0] + frame_s / 2, late_s
