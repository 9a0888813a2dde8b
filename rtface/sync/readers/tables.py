"""Edges as a table: CSV, as the NI example writes it, and HDF5."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from rtface.sync.edges import NO_TIMES, Edges, of_levels
from rtface.sync.grid import Floats
from rtface.types import UserError

_UNITS = {"_s": 1.0, "_ms": 1e-3, "_us": 1e-6, "_ns": 1e-9}


def _scale(name: str) -> float:
    return next((scale for ending, scale in _UNITS.items() if name.endswith(ending)), 1.0)


def read_csv(path: Path, line: str) -> Edges:
    """Return the edges of a line out of a CSV with a header.

    Either a row per edge with the columns ``time_s``, ``line`` and ``state`` (1 up, 0 down), and
    ``line`` is its number; or a column of times per line, and ``line`` is the column's name. Times
    are s unless the name ends in ``_ms``, ``_us`` or ``_ns``. A row of line ``end`` says how far
    the recording reaches.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.reader(file))
    if len(rows) < 2:
        raise UserError(f"{path}: has no rows")
    names = [name.strip() for name in rows[0]]
    ragged = [i for i, row in enumerate(rows) if len(row) != len(names)]
    if ragged:
        raise UserError(
            f"{path}: row {ragged[0] + 1} has {len(rows[ragged[0]])} columns, not {len(names)}: "
            "the file ends early, or is damaged"
        )
    columns = {name: [row[i].strip() for row in rows[1:]] for i, name in enumerate(names)}
    nan = float("nan")
    if {"line", "state"} <= set(names):
        when = next((name for name in names if name.startswith("time")), "")
        if not when:
            raise UserError(f"{path}: has no column time_s")
        t_s = np.array(columns[when], float) * _scale(when)
        of = np.array(columns["line"])
        ends = t_s[np.isin(of, ("begin", "end"))]
        mine = of == line
        if not mine.any():
            has = ", ".join(sorted(set(of) - {"begin", "end"}))
            raise UserError(f"{path}: no edges of line '{line}'; there are {has}")
        up = mine & (np.array(columns["state"]) == "1")
        begin, end = (ends.min(), ends.max()) if len(ends) > 1 else (nan, nan)
        return Edges(
            t_s[up],
            t_s[mine & ~up],
            float(begin),
            float(end),
            f"s, as {when} of {path.name}",
            "edges in CSV",
            bool((mine & ~up).any()),
        )
    if line not in names:
        raise UserError(f"{path}: no column '{line}'; there are {', '.join(names)}")
    t_s = np.array([x for x in columns[line] if x], float) * _scale(line)
    return Edges(t_s, NO_TIMES, nan, nan, f"s, as {line} of {path.name}", "edges in CSV", False)


def read_hdf5(path: Path, line: str) -> Edges:
    """Return the edges of a dataset.

    ``line`` is its path: floats are times of rising edges, s; integers are samples of the line, at
    the dataset's attribute ``rate_hz``. ``path:3`` is bit 3 of integers.
    """
    try:
        import h5py
    except ImportError:
        raise UserError("HDF5 needs h5py; pip install 'rtface[sync]'") from None
    name, _, bit = line.partition(":")
    with h5py.File(path, "r") as file:
        if name not in file or not isinstance(file[name], h5py.Dataset):
            found: list[str] = []
            file.visititems(lambda k, v: found.append(k) if hasattr(v, "shape") else None)
            raise UserError(f"{path}: no dataset '{name}'; there are {', '.join(found)}")
        dataset: Any = file[name]
        rate = dataset.attrs.get("rate_hz")
        values = np.asarray(dataset[...])
    if values.ndim != 1:
        raise UserError(f"{path}: '{name}' has {values.ndim} dimensions, not 1")
    about = f"s, as {name} of {path.name}"
    if values.dtype.kind == "f":
        nan = float("nan")
        times: Floats = values.astype(np.float64)
        return Edges(times, NO_TIMES, nan, nan, about, "edges in HDF5", False)
    if rate is None:
        raise UserError(f"{path}: '{name}' holds samples and has no attribute rate_hz")
    levels = (values >> int(bit)) & 1 > 0 if bit else values > 0
    up, down = of_levels(levels, float(rate))
    return Edges(up, down, 0.0, len(values) / float(rate), about, "samples in HDF5")
