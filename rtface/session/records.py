"""Append-only files of checksummed records of one size.

A file is a header of 16384 bytes (magic, length and CRC-32 of a JSON text, that text, zeros) and
records. The text names every column of a record, its type, shape and unit; the last four bytes of
each record are the CRC-32 of the others. So a file can be read while it grows, a torn end is cut
off by arithmetic, a flipped bit costs one record, and a reader needs no library.
"""

from __future__ import annotations

import json
import os
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from rtface.types import UserError

MAGIC = b"RTFACE\r\n"  # as in PNG: a copy in text mode breaks it visibly
VERSION = 1
HEADER_BYTES = 16384
MAX_RECORD_BYTES = 1 << 20
#: read at a time
CHUNK_BYTES = 4 << 20
_START = struct.Struct("<8sII")
_CRC = struct.Struct("<I")
_DTYPES = ("<i8", "<i4", "<f8", "<f4")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")

Records = npt.NDArray[np.void]


class Column(NamedTuple):
    """One column: numpy type (``<i8``, ``<i4``, ``<f8`` or ``<f4``), shape of one value, unit."""

    name: str
    dtype: str
    shape: tuple[int, ...] = ()
    unit: str = ""


def row_dtype(columns: Sequence[Column]) -> np.dtype[np.void]:
    """Return the packed numpy type of a record, with its ``crc`` at the end."""
    fields: list[Any] = [(c.name, c.dtype, c.shape) for c in columns]
    return np.dtype([*fields, ("crc", "<u4")])


def encode_header(kind: str, about: dict[str, Any], columns: Sequence[Column]) -> bytes:
    """Return the header of a file; ``about`` is JSON-able and for people."""
    told = {"version": VERSION, "kind": kind, **about, "columns": [list(c) for c in columns]}
    text = json.dumps(told).encode()
    if _START.size + len(text) > HEADER_BYTES:
        raise ValueError(f"the header of {kind} is {len(text)} bytes, too long")
    start = _START.pack(MAGIC, len(text), zlib.crc32(text))
    return (start + text).ljust(HEADER_BYTES, b"\0")


def decode_header(head: bytes) -> tuple[dict[str, Any], tuple[Column, ...]]:
    """Return what a header says, and its columns.

    Raises
    ------
    ValueError
        Not such a header, or damaged; the message says what is wrong with it.
    """
    if len(head) < HEADER_BYTES:
        raise ValueError(f"is cut short after {len(head)} bytes")
    magic, length, crc = _START.unpack_from(head)
    if magic != MAGIC:
        raise ValueError("is not a file of rtface records")
    text = head[_START.size : _START.size + length]
    if length > HEADER_BYTES - _START.size or zlib.crc32(text) != crc:
        raise ValueError("has a damaged header")
    try:
        told = json.loads(text)
        if told["version"] != VERSION:
            raise ValueError(f"has version {told['version']}; this rtface reads {VERSION}")
        columns = tuple(_column(*column) for column in told["columns"])
        size = row_dtype(columns).itemsize
    except (KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ValueError(f"has a header that makes no sense ({error!r})") from None
    if size > MAX_RECORD_BYTES:
        raise ValueError(f"has records of {size} bytes, more than {MAX_RECORD_BYTES}")
    return told, columns


def _column(name: str, dtype: str, shape: Sequence[int], unit: str) -> Column:
    lengths = tuple(int(length) for length in shape)
    sane = len(lengths) <= 4 and all(0 < length <= MAX_RECORD_BYTES for length in lengths)
    if not _NAME.fullmatch(name) or dtype not in _DTYPES or not sane:
        raise ValueError(f"has a column {name!r} of {dtype!r} {lengths} that makes no sense")
    return Column(name, dtype, lengths, str(unit))


def seal(record: bytes) -> bytes:
    """Return a record with its CRC-32 behind it."""
    return record + _CRC.pack(zlib.crc32(record))


def intact(raw: bytes, size: int) -> npt.NDArray[np.bool_]:
    """Return (N,) whether each of the N records of ``size`` bytes in ``raw`` is undamaged."""
    view, body = memoryview(raw), size - _CRC.size
    return np.array(
        [
            zlib.crc32(view[at : at + body]) == _CRC.unpack_from(view, at + body)[0]
            for at in range(0, len(raw) // size * size, size)
        ],
        bool,
    )


class RecordWriter:
    """Appends records to a new file. Belongs to one thread.

    What ``append`` takes waits in memory until ``flush``, which makes one write of it.

    Raises
    ------
    OSError
        From the constructor and from ``flush``, which then leaves whole records only.
    """

    def __init__(
        self, path: Path, kind: str, about: dict[str, Any], columns: Sequence[Column]
    ) -> None:
        self._body = row_dtype(columns).itemsize - _CRC.size
        self._waiting: list[bytes] = []
        self._file = path.open("xb", buffering=0)
        self._size = self._file.write(encode_header(kind, about, columns))
        #: records in the file and waiting
        self.n = 0

    def append(self, record: bytes) -> None:
        """Take one record, without its CRC."""
        if len(record) != self._body:
            raise ValueError(f"a record has {self._body} bytes, not {len(record)}")
        self._waiting.append(seal(record))
        self.n += 1

    def flush(self) -> None:
        """Hand what was taken to the operating system."""
        if not self._waiting:
            return
        raw = memoryview(b"".join(self._waiting))
        done = 0
        try:
            while done < len(raw):
                done += self._file.write(raw[done:]) or 0
        except OSError:
            size = self._body + _CRC.size
            whole = done // size
            self._file.truncate(self._size + whole * size)
            self._file.seek(0, os.SEEK_END)
            del self._waiting[:whole]
            self._size += whole * size
            raise
        self._size += done
        self._waiting.clear()

    def fileno(self) -> int:
        """Return the descriptor, for ``os.fsync``."""
        return self._file.fileno()

    def close(self) -> None:
        """Close the file; what was not flushed is given up. May be called twice."""
        self._file.close()


class RecordFile:
    """Reads a file of records, also while it grows. May be used by one thread at a time.

    Attributes
    ----------
    about : dict
        What its header says.
    columns : tuple of Column
    dtype : numpy dtype
        Of what slices return; its last field is the CRC.

    Raises
    ------
    UserError
        The file cannot be read, or is no such file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            if path.exists() and not path.is_file():  # a pipe would wait for ever
                raise UserError(f"{path}: is not a file")
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
        try:
            self.about, self.columns = decode_header(self._file.read(HEADER_BYTES))
        except ValueError as error:
            self._file.close()
            raise UserError(f"{path}: {error}; see 'rtface session verify'") from None
        except OSError as error:
            self._file.close()
            raise UserError(f"{path}: cannot be read ({error.strerror})") from None
        self.dtype = row_dtype(self.columns)

    def __len__(self) -> int:
        """Return how many whole records the file has now."""
        size = os.fstat(self._file.fileno()).st_size
        return max(0, size - HEADER_BYTES) // self.dtype.itemsize

    def raw(self, start: int, stop: int) -> bytes:
        """Return the bytes of the records from ``start`` to before ``stop``, as far as there."""
        size = self.dtype.itemsize
        self._file.seek(HEADER_BYTES + start * size)
        wanted = max(0, min(stop, len(self)) - start) * size
        pieces = []
        while wanted > 0 and (piece := self._file.read(wanted)):  # 2 GB is the most at a time
            pieces.append(piece)
            wanted -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def __getitem__(self, which: slice) -> Records:
        """Return records as a structured array, read and checked now.

        Raises
        ------
        UserError
            Some of them are damaged.
        """
        start, stop, step = which.indices(len(self))
        if step != 1:
            raise ValueError("slices of records have step 1; take a step of the array")
        raw = self.raw(start, stop)
        good = intact(raw, self.dtype.itemsize)
        if not good.all():
            bad = np.flatnonzero(~good) + start
            raise UserError(
                f"{self.path}: {len(bad)} records are damaged, the first is number {bad[0]}; "
                "'rtface session repair' sets them aside"
            )
        return np.frombuffer(raw, self.dtype, len(good))

    @property
    def chunk(self) -> int:
        """How many records to read at a time."""
        return max(1, CHUNK_BYTES // self.dtype.itemsize)

    def chunks(self) -> Iterator[Records]:
        """Yield all records of an undamaged file, some at a time."""
        for start in range(0, len(self), self.chunk):
            yield self[start : start + self.chunk]

    def damaged(self) -> list[int]:
        """Return the numbers of all damaged records, reading the whole file in pieces."""
        bad: list[int] = []
        chunk = self.chunk
        for start in range(0, len(self), chunk):
            good = intact(self.raw(start, start + chunk), self.dtype.itemsize)
            bad += (np.flatnonzero(~good) + start).tolist()
        return bad

    def torn_bytes(self) -> int:
        """Return how many bytes stand behind the last whole record."""
        size = os.fstat(self._file.fileno()).st_size
        return max(0, size - HEADER_BYTES) % self.dtype.itemsize

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._file.close()

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()


def expect(file: RecordFile, columns: Sequence[Column]) -> None:
    """Raise UserError unless a file has these columns; it may have others too."""
    found = {(c.name, c.dtype, c.shape) for c in file.columns}
    for column in columns:
        if (column.name, column.dtype, column.shape) not in found:
            raise UserError(
                f"{file.path}: the column '{column.name}' is missing or of another kind"
            )
