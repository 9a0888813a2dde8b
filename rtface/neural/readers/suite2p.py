"""Folders of Suite2p: one plane, or several of a volume with their own times."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rtface.neural.activity import Activity, Ints, make_activity
from rtface.neural.readers.arrays import Floats, table
from rtface.neural.readers.frames import Clock, volumes
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
    clock: Clock,
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
    clock : Clock
        Of its frames, instead of ``times_s``.
    regions : sequence of str, optional
        One per cell that is kept.

    Raises
    ------
    UserError
        Files are missing, or times and frames do not agree in number.
    """
    numbered = {0: folder}
    if not (folder / f"{signal}.npy").exists():
        names = {one: one.name.removeprefix("plane") for one in folder.glob("plane*")}
        numbered = {int(name): one for one, name in names.items() if name.isdecimal()}
    # a plane that has no cells (that of the flyback) takes its time nevertheless
    n_planes = max(numbered, default=-1) + 1
    numbers = [p for p in sorted(numbered) if (numbered[p] / f"{signal}.npy").exists()]
    if not numbers:
        raise UserError(f"{folder}: has neither {signal}.npy nor plane0; is no folder of Suite2p")
    planes = [_plane(numbered[p], signal) for p in numbers]
    t = min(values.shape[1] for values, _ in planes)
    if max(values.shape[1] for values, _ in planes) - t > 1:
        raise UserError(f"{folder}: its planes differ by more than one frame")
    late_s: Floats
    if clock:
        of_clock, late_s = volumes(str(folder), clock, t, n_planes)
        when_s = of_clock if times_s is None else times_s
    elif times_s is not None:
        when_s = times_s
        period_s = float(np.median(np.diff(when_s))) if len(when_s) > 1 else 0.0
        late_s = np.arange(n_planes) * period_s / n_planes
    else:
        raise UserError(f"{folder}: has no times; give times, frame_clock and line, or tiff")
    values = Rows([(traces[:, :t], np.flatnonzero(cell)) for traces, cell in planes])
    units = [
        f"{i}" if n_planes == 1 else f"plane{p}.{i}"
        for p, (_, cell) in zip(numbers, planes, strict=True)
        for i in np.flatnonzero(cell)
    ]
    offsets = np.concatenate(
        [np.full(int(cell.sum()), late_s[p]) for p, (_, cell) in zip(numbers, planes, strict=True)]
    )
    width_s = float(np.median(np.diff(when_s))) / n_planes if len(when_s) > 1 else None
    return make_activity(values, when_s, str(folder), units, regions, offsets, width_s)


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
