"""``.npy`` files with a pickled object inside, read without running anything that they name.

The only names that a pickle may use are numpy's array, its type and its scalars, and none of
numpy's own code is called for them: small stand-ins take what the pickle says, and arrays are made
from that when it is done.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from rtface.types import UserError

_KINDS = "fiubUS"
_ORDERS = {"<": "<", ">": ">", "=": "", "|": ""}


#: what numpy's files are made of (protocols 3 and 4)
_PLAIN_OPCODES = """
    PROTO FRAME STOP MARK GLOBAL STACK_GLOBAL REDUCE BUILD MEMOIZE BINPUT LONG_BINPUT BINGET
    LONG_BINGET EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM
    SETITEMS NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 LONG4 BINFLOAT BINBYTES BINBYTES8
    SHORT_BINBYTES BINUNICODE BINUNICODE8 SHORT_BINUNICODE
"""
_OPCODES = frozenset(_PLAIN_OPCODES.split())


class Refused(Exception):
    """The pickle asks for something that labels do not need."""


class _Dtype:
    """What a pickled ``numpy.dtype`` says: a code such as ``f4`` and the order of its bytes."""

    def __init__(self, code: str, align: object = False, copy: object = True) -> None:
        self.code = code
        self.order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if len(state) < 5 or any(part is not None for part in state[2:5]):
            raise Refused("an array of structures")
        self.order = state[1]

    def made(self) -> np.dtype[Any]:
        code = str(self.code)
        if code[:1] == "O":
            return np.dtype(object)
        if code[:1] not in _KINDS or not code[1:].isdigit() or self.order not in _ORDERS:
            raise Refused(f"an array of type {code!r}")
        return np.dtype(f"{_ORDERS[self.order]}{code}")


class _Array:
    """What a pickled ``numpy.ndarray`` says."""

    shape: tuple[int, ...] = ()
    dtype: _Dtype | None = None
    fortran = False
    raw: Any = b""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self.shape, self.dtype, self.fortran, self.raw = state

    def made(self, convert: Any) -> np.ndarray:
        assert isinstance(self.dtype, _Dtype)
        dtype = self.dtype.made()
        order: Any = "F" if self.fortran else "C"
        if not dtype.hasobject:
            flat = np.frombuffer(self.raw, dtype)
        else:
            flat = np.empty(len(self.raw), object)
            for i, value in enumerate(self.raw):
                flat[i] = convert(value)
        if math.prod(self.shape) != len(flat):
            raise Refused("an array of the wrong size")
        return flat.reshape(self.shape, order=order)


class _Scalar:
    """What a pickled number of numpy says."""

    def __init__(self, dtype: _Dtype, raw: Any = b"") -> None:
        self.dtype, self.raw = dtype, raw

    def made(self, convert: Any) -> Any:
        dtype = self.dtype.made()
        if dtype.hasobject:
            return convert(self.raw)
        return np.frombuffer(self.raw, dtype)[0].item()


def _reconstruct(*_: Any) -> _Array:
    return _Array()


_ALLOWED = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
} | {
    (f"{package}.{module}", name): stand_in
    for package in ("numpy.core", "numpy._core")
    for module, name, stand_in in (
        ("multiarray", "_reconstruct", _reconstruct),
        ("multiarray", "scalar", _Scalar),
    )
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise Refused(f"{module}.{name}") from None

    def persistent_load(self, pid: Any) -> NoReturn:
        raise Refused("a persistent id")


def _scan(data: bytes) -> None:
    """Raise for every instruction of a pickle that numpy's own files do without.

    Some others fill the memory, or break the unpickler, before a name is ever looked up.
    """
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name not in _OPCODES:
            raise Refused(f"the instruction {opcode.name}")
        if opcode.name == "LONG_BINPUT" and int(argument or 0) > len(data):
            raise Refused("a damaged object")


def loads(data: bytes) -> Any:
    """Return a pickled object made of arrays, lists, tuples, dicts, text and numbers.

    Raises ``Refused`` for anything else; nothing that the pickle names is imported or called.
    """
    done: dict[int, Any] = {}
    depth = 0

    def convert(value: Any) -> Any:
        nonlocal depth
        if isinstance(value, str | bytes | bool | int | float | None):
            return value
        if id(value) not in done:
            depth += 1
            if depth > 50:
                raise Refused("an object that is nested too deeply")
            done[id(value)] = _made(value, convert)
            depth -= 1
        return done[id(value)]

    try:
        _scan(data)
        return convert(_Unpickler(io.BytesIO(data)).load())
    except Refused:
        raise
    # a damaged or hostile pickle can raise anything, also from within pickle
    except Exception as error:
        raise Refused(f"a damaged object ({type(error).__name__})") from error


def _made(value: Any, convert: Any) -> Any:
    match value:
        case _Array() | _Scalar():
            return value.made(convert)
        case list() | tuple():
            return type(value)(convert(one) for one in value)
        case dict():
            return {convert(key): convert(one) for key, one in value.items()}
        case _:
            raise Refused(f"an object of type {type(value).__name__}")


def read_npy(path: Path) -> Any:
    """Return what ``np.save`` wrote of an object; every fault is one line, nothing is run."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, _, dtype = read(file)
            data = file.read()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (ValueError, KeyError) as error:
        raise UserError(f"{path}: is no .npy file that numpy wrote; save it again") from error
    if not dtype.hasobject or shape != ():
        raise UserError(f"{path}: holds a plain array, no labels; check that it is the right file")
    try:
        array = loads(data)
    except Refused as refused:
        raise UserError(
            f"{path}: holds {refused}, which labels do not need; nothing of it was run: save it "
            "again in Facemap, and ask where it came from"
        ) from refused
    return array.item() if isinstance(array, np.ndarray) and array.shape == () else array
