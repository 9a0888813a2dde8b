"""A dict in a ``.npy`` file, as ``numpy.load(..., allow_pickle=True).item()`` gives it back.

``numpy.save`` would name the modules of the numpy that runs: what numpy 2 writes, numpy below 1.26
cannot read. Here the pickle is written by hand, with the names that every numpy knows. Arrays go
from memory to the file without a copy, and ``Rows`` piece by piece.
"""

from __future__ import annotations

import struct
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from rtface.export.recorded import Rows

# instructions of the pickle machine, protocol 4; pickletools of the standard library explains each
_PROTO_4, _STOP, _MARK = b"\x80\x04", b".", b"("
_DICT, _LIST, _ITEMS, _APPENDS, _TUPLE = b"}", b"]", b"u", b"e", b"t"
_NONE, _TRUE, _FALSE = b"N", b"\x88", b"\x89"
_INT, _LONG, _FLOAT, _TEXT, _BYTES = b"J", b"\x8a", b"G", b"X", b"\x8e"
_CALL, _BUILD = b"R", b"b"
_ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n"
_NDARRAY, _DTYPE = b"cnumpy\nndarray\n", b"cnumpy\ndtype\n"


def write_dict(file: IO[bytes], content: dict[str, Any]) -> None:
    """Write a whole ``.npy`` file.

    Parameters
    ----------
    file : binary file, open for writing
    content : dict
        Of None, bool, int, float, text, arrays of numbers, ``Rows``, and tuples, lists and dicts of
        these.

    Raises
    ------
    TypeError
        There is something else in it.
    ValueError
        ``Rows`` are more or fewer than they say.
    """
    header = {"descr": "|O", "fortran_order": False, "shape": ()}
    np.lib.format.write_array_header_1_0(file, header)
    file.write(_PROTO_4)
    # the file holds an array without axes, whose one element is the dict
    _begin_array(file, (), "O8", "|", 63)
    _put(file, [content])
    file.write(_TUPLE + _BUILD + _STOP)


def _put(file: IO[bytes], value: Any) -> None:
    """Write what puts a value on the machine's stack."""
    if isinstance(value, np.ndarray):
        _put_array(file, value)
    elif isinstance(value, Rows):
        _put_rows(file, value)
    elif isinstance(value, dict):
        file.write(_DICT + _MARK)
        for key, item in value.items():
            _put(file, key)
            _put(file, item)
        file.write(_ITEMS)
    elif isinstance(value, list):
        file.write(_LIST + _MARK)
        for item in value:
            _put(file, item)
        file.write(_APPENDS)
    elif isinstance(value, tuple):
        file.write(_MARK)
        for item in value:
            _put(file, item)
        file.write(_TUPLE)
    else:
        file.write(_plain(value))


def _plain(value: Any) -> bytes:
    """Return what puts a text, a number, True, False or None on the stack."""
    if value is None:
        return _NONE
    if value is True or value is False:
        return _TRUE if value else _FALSE
    if isinstance(value, str):
        text = value.encode("utf-8", "surrogatepass")
        return _TEXT + struct.pack("<I", len(text)) + text
    if isinstance(value, int):
        if -(2**31) <= value < 2**31:
            return _INT + struct.pack("<i", value)
        return _LONG + b"\x09" + value.to_bytes(9, "little", signed=True)
    if isinstance(value, float):
        return _FLOAT + struct.pack(">d", value)
    raise TypeError(f"{type(value).__name__} has no place in such a file")


def _put_array(file: IO[bytes], array: npt.NDArray[Any]) -> None:
    order, kind = array.dtype.str[0], array.dtype.str[1:]
    if array.dtype.kind not in "biuf" or order not in "<|":
        raise TypeError(f"an array of {array.dtype} has no place in such a file")
    _begin_array(file, array.shape, kind, order, 0)
    content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    file.write(_BYTES + struct.pack("<Q", content.nbytes))
    file.write(content.data)
    file.write(_TUPLE + _BUILD)


def _put_rows(file: IO[bytes], rows: Rows) -> None:
    _begin_array(file, rows.shape, "f4", "<", 0)
    wanted = 4 * rows.shape[0] * rows.shape[1]
    file.write(_BYTES + struct.pack("<Q", wanted))
    for piece in rows.pieces():
        content = np.ascontiguousarray(piece, "<f4").reshape(-1).view(np.uint8)
        wanted -= content.nbytes
        file.write(content.data)
    if wanted:
        raise ValueError(f"rows of {rows.shape} are {wanted} bytes short")
    file.write(_TUPLE + _BUILD)


def _begin_array(
    file: IO[bytes], shape: tuple[int, ...], kind: str, order: str, flags: int
) -> None:
    """Make an array without content and begin its state, whose last item is the content."""
    file.write(_ARRAY + _MARK + _NDARRAY + _MARK + _plain(0) + _TUPLE)
    file.write(_BYTES + struct.pack("<Q", 1) + b"b" + _TUPLE + _CALL)
    file.write(_MARK + _plain(1))
    _put(file, shape)
    file.write(_DTYPE)
    _put(file, (kind, False, True))
    file.write(_CALL)
    _put(file, (3, order, None, None, None, -1, -1, flags))
    file.write(_BUILD + _FALSE)
