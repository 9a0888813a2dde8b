"""Columns of records as datasets that are written piece by piece: memory does not grow with them.

All datasets of a file are written in turns, a piece of each, so that pieces read once serve all.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from hdmf.backends.hdf5.h5_utils import H5DataIO
from hdmf.data_utils import AbstractDataChunkIterator, DataChunk

from rtface.session.records import RecordFile, Records

Array = npt.NDArray[Any]
#: of one chunk of a dataset, about
_CHUNK_BYTES = 1 << 17
#: rows that are read at a time
_ROWS = 4096


class Pieces:
    """Reads a file of records in order; who asks for the piece read last gets it again.

    Parameters
    ----------
    file : RecordFile
    on_progress : callable
        Told rows read and their number.
    """

    def __init__(self, file: RecordFile, on_progress: Callable[[int, int], None]) -> None:
        self.file, self._on_progress = file, on_progress
        self.n = len(file)
        self.rows = min(_ROWS, file.chunk)
        self._kept: tuple[int, Records] = (-1, file[0:0])

    def __getitem__(self, start: int) -> Records:
        """Return the piece that begins with record ``start``."""
        if self._kept[0] != start:
            self._kept = start, self.file[start : min(self.n, start + self.rows)]
            self._on_progress(start + len(self._kept[1]), self.n)
        return self._kept[1]

    def column(self, take: Callable[[Records], Array]) -> Any:
        """Return a dataset of what ``take`` makes of records (M,), of any further axes."""
        return packed(_Column(self, take))


class _Column(AbstractDataChunkIterator):  # type: ignore[misc]
    def __init__(self, pieces: Pieces, take: Callable[[Records], Array]) -> None:
        self._pieces, self._take = pieces, take
        like = take(pieces.file[0:0])
        self._shape, self._type = like.shape[1:], like.dtype
        self._next = 0

    def __iter__(self) -> _Column:
        return self

    def __next__(self) -> Any:
        start = self._next
        if start >= self._pieces.n:
            raise StopIteration
        values = np.ascontiguousarray(self._take(self._pieces[start]))
        self._next = start + len(values)
        where = (slice(start, self._next), *(slice(0, n) for n in self._shape))
        return DataChunk(values, where)

    def recommended_chunk_shape(self) -> tuple[int, ...]:
        row = max(1, self._type.itemsize * int(np.prod(self._shape)))
        return (max(1, min(self._pieces.n, _CHUNK_BYTES // row)), *self._shape)

    def recommended_data_shape(self) -> tuple[int, ...]:
        return (self._pieces.n, *self._shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._type

    @property
    def maxshape(self) -> tuple[int, ...]:
        return (self._pieces.n, *self._shape)


def new_file(path: Path) -> Any:
    """Return a new HDF5 file that keeps two chunks of each dataset; by default it is 8 MB."""
    return h5py.File(path, "w", rdcc_nbytes=2 * _CHUNK_BYTES)


def packed(data: Any) -> Any:
    """Return a dataset that is compressed without loss."""
    return H5DataIO(data, compression="gzip", compression_opts=3, shuffle=True)
