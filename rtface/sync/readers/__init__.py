"""Edges of one line out of a recording, whatever made it: one file per kind.

Only what was written is read; a file that ends early, or that says two things, is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

from rtface.sync.edges import Edges
from rtface.types import UserError

KINDS = (
    "SpikeGLX (.meta, .bin), Open Ephys binary (its folder), CSV, HDF5, ScanImage TIFF, Harp (.bin)"
)


def read(path: Path, line: str) -> Edges:
    """Return the edges of one line.

    Parameters
    ----------
    path : Path
        A file, or the folder of an Open Ephys recording or of a ScanImage acquisition.
    line : str
        The line: its number, or its name where the kind has names (``docs/sync.md``).

    Raises
    ------
    UserError
        No such file or line, a kind that is not known, or a file that is not whole.
    """
    if not path.exists():
        raise UserError(f"{path}: does not exist")
    try:
        found = _reader(path)(path, line)
    except (OSError, ValueError, KeyError, IndexError, EOFError, struct.error) as error:
        raise UserError(f"{path}: cannot be read ({error!r})") from None
    for t_s in (found.rising_s, found.falling_s):
        if len(t_s) > 1 and (t_s[1:] < t_s[:-1]).any():
            raise UserError(f"{path}: the times of line '{line}' run backwards")
    return found


def _reader(path: Path) -> Callable[[Path, str], Edges]:
    from rtface.sync.readers import harp, open_ephys, scanimage, spikeglx, tables

    ending = path.suffix.lower()
    if path.is_dir():
        if any(path.rglob("structure.oebin")):
            return open_ephys.read
        if any(path.glob("*.tif*")):
            return scanimage.read
        raise UserError(f"{path}: neither an Open Ephys recording nor a folder of TIFFs is in it")
    if ending == ".bin":
        return spikeglx.read if path.with_suffix(".meta").exists() else harp.read
    by_ending = {
        ".meta": spikeglx.read,
        ".oebin": open_ephys.read,
        **dict.fromkeys((".csv", ".txt"), tables.read_csv),
        **dict.fromkeys((".h5", ".hdf5", ".mat", ".nwb"), tables.read_hdf5),
        **dict.fromkeys((".tif", ".tiff"), scanimage.read),
    }
    if ending not in by_ending:
        why = (
            "is compressed (mtscomp decompresses it)"
            if ending == ".cbin"
            else "is of no known kind"
        )
        raise UserError(f"{path}: {why}; rtface reads {KINDS}")
    return by_ending[ending]


def number(path: Path, line: str, least: int, most: int) -> int:
    """Return a line's number; UserError unless it is one from ``least`` to ``most``."""
    if line.isdecimal() and least <= int(line) <= most:
        return int(line)
    raise UserError(f"{path}: has lines {least} to {most}, not '{line}'")
