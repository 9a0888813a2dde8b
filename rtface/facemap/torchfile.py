"""Tables of tensors in files of ``torch.save``, read without torch and without running anything.

Such a file is a zip archive with ``data.pkl``, a pickle, beside the bytes of each storage. A pickle
is a program for a machine with a stack; the machine here knows the instructions that a table of
tensors needs and makes dicts, lists, tuples, numbers, text and arrays. It never imports and never
calls what a file names: a name that it does not know is refused.
"""

from __future__ import annotations

import pickletools
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rtface.types import UserError

#: larger files are no keypoint networks, bytes
MOST_BYTES = 2 << 30
#: more instructions than any table of tensors has
MOST_PICKLE_BYTES = 16 << 20

_TYPES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


class _Refused(Exception):
    """What a file asks for is no part of a table of tensors."""


class _Name(NamedTuple):
    """Something that a pickle names; never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


_DICT = _Name("collections", "OrderedDict")
_TENSOR = _Name("torch._utils", "_rebuild_tensor_v2")
_PARAMETER = _Name("torch._utils", "_rebuild_parameter")
_NAMES = {_DICT, _TENSOR, _PARAMETER, *(_Name("torch", name) for name in _TYPES)}


def read_tensors(path: Path) -> Any:
    """Return what ``torch.save`` wrote: dicts, lists and tuples, with tensors as arrays.

    Raises
    ------
    UserError
        The file cannot be read, is of another kind, is damaged, or holds anything that would have
        to be run; names the file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(archive)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except zipfile.BadZipFile:
        raise UserError(
            f"{path}: is damaged, or is no file of PyTorch 1.6 or later (a zip archive); "
            "get it again, or save it again in PyTorch"
        ) from None
    except _Refused as error:
        raise UserError(f"{path}: refused: {error}; nothing in it was run") from None
    except (
        *(ValueError, TypeError, LookupError, ArithmeticError, AttributeError),
        *(zlib.error, EOFError, RuntimeError, NotImplementedError, MemoryError),
    ) as error:
        detail = " ".join(str(error).split())[:120]
        raise UserError(f"{path}: is damaged ({detail}); get it again") from None


def _read(archive: zipfile.ZipFile) -> Any:
    if sum(entry.file_size for entry in archive.infolist()) > MOST_BYTES:
        raise _Refused(f"it holds more than {MOST_BYTES >> 30} GiB")
    found = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(found) != 1:
        raise _Refused("it is a zip archive, but not one of torch.save")
    folder = found[0].removesuffix("data.pkl")
    if archive.getinfo(found[0]).file_size > MOST_PICKLE_BYTES:
        raise _Refused("its table of contents is too long for a network")
    order = "<"
    if f"{folder}byteorder" in archive.namelist():
        order = ">" if archive.read(f"{folder}byteorder") == b"big" else "<"

    def storage(key: str, kind: str) -> np.ndarray:
        return np.frombuffer(archive.read(f"{folder}data/{key}"), order + _TYPES[kind])

    return _Machine(storage).run(archive.read(found[0]))


class _Machine:
    """Follows a pickle's instructions, as far as tables of tensors have them.

    Parameters
    ----------
    storage : callable
        Returns the numbers of the storage of a key and a type.
    """

    def __init__(self, storage: Callable[[str, str], np.ndarray]) -> None:
        self._storage = storage
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._steps: dict[str, Callable[[Any], None]] = {
            "GLOBAL": lambda names: self._name(*names.split(" ", 1)),
            "STACK_GLOBAL": lambda _: self._name(*self._pop(2)),
            "BINPERSID": lambda _: self._push(self._persistent(*self._pop(1))),
            "REDUCE": lambda _: self._push(_made(*self._pop(2))),
            "BUILD": lambda _: self._build(*self._pop(2)),
            "MARK": lambda _: self._mark(),
            "EMPTY_TUPLE": lambda _: self._push(()),
            "EMPTY_LIST": lambda _: self._push([]),
            "EMPTY_DICT": lambda _: self._push({}),
            "TUPLE": lambda _: self._push(tuple(self._since_mark())),
            "TUPLE1": lambda _: self._push(tuple(self._pop(1))),
            "TUPLE2": lambda _: self._push(tuple(self._pop(2))),
            "TUPLE3": lambda _: self._push(tuple(self._pop(3))),
            "SETITEM": lambda _: self._set(self._pop(2)),
            "SETITEMS": lambda _: self._set(self._since_mark()),
            "APPEND": lambda _: self._extend(self._pop(1)),
            "APPENDS": lambda _: self._extend(self._since_mark()),
            "NONE": lambda _: self._push(None),
            "NEWTRUE": lambda _: self._push(True),
            "NEWFALSE": lambda _: self._push(False),
            "MEMOIZE": lambda _: self._keep(len(self._memo)),
            "PROTO": lambda _: None,
            "FRAME": lambda _: None,
        }
        for name in ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"):
            self._steps[name] = self._push
        for name in ("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"):
            self._steps[name] = self._push
        for name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._steps[name] = self._keep
        for name in ("GET", "BINGET", "LONG_BINGET"):
            self._steps[name] = lambda key: self._push(self._memo[key])

    def run(self, program: bytes) -> Any:
        """Return what the pickle describes."""
        for code, argument, _ in pickletools.genops(program):
            if code.name == "STOP":
                (result,) = self._stack
                return result
            step = self._steps.get(code.name)
            if step is None:
                raise _Refused(f"its pickle uses {code.name}, which a table of tensors does not")
            step(argument)
        raise ValueError("it ends early")

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self, n: int) -> list[Any]:
        if len(self._stack) < n:
            raise ValueError("nothing left on its stack")
        taken = self._stack[-n:]
        del self._stack[-n:]
        return taken

    def _mark(self) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._below.pop()
        return items

    def _keep(self, key: int) -> None:
        self._memo[key] = self._stack[-1]

    def _name(self, module: str, name: str) -> None:
        named = _Name(str(module), str(name))
        if named not in _NAMES:
            raise _Refused(f"it asks for {str(named)[:80]!r}, which a table of tensors does not")
        self._push(named)

    def _set(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not dict:
            raise _Refused("it sets items of something other than a dict")
        target.update(zip(items[0::2], items[1::2], strict=True))

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not list:
            raise _Refused("it appends to something other than a list")
        target.extend(items)

    def _build(self, target: Any, _state: Any) -> None:
        # a dict's own attributes: torch keeps versions there
        if type(target) is not dict:
            raise _Refused("it sets the state of something other than a dict")
        self._push(target)

    def _persistent(self, identity: Any) -> np.ndarray:
        what, kind, key, _device, n = identity
        if what != "storage" or not isinstance(kind, _Name) or kind.name not in _TYPES:
            raise _Refused(f"it refers to {str(what)[:40]!r} outside itself")
        numbers = self._storage(str(key), kind.name)
        if len(numbers) != n:
            raise ValueError(f"storage {key} has {len(numbers)} numbers, not {n}")
        return numbers


def _made(maker: Any, arguments: Any) -> Any:
    """Return what one of the three known makers makes of its arguments."""
    if maker == _DICT and arguments in ((), ([],)):
        return {}
    if maker == _TENSOR:
        storage, offset, shape, strides = arguments[:4]
        return _tensor(storage, offset, tuple(shape), tuple(strides))
    if maker == _PARAMETER and isinstance(arguments[0], np.ndarray):
        return arguments[0]
    raise _Refused(f"it calls {str(maker)[:80]!r}")


def _tensor(
    storage: Any, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> np.ndarray:
    """Return the array that lies in ``storage`` as offset, shape and strides say."""
    if not isinstance(storage, np.ndarray) or len(shape) != len(strides):
        raise ValueError("a tensor without a storage")
    if min(offset, *shape, *strides, 0) < 0:
        raise ValueError("a tensor with negative sizes")
    n = int(np.prod(shape, dtype=object))
    last = offset + sum((s - 1) * stride for s, stride in zip(shape, strides, strict=True))
    if n > len(storage) or (n and last >= len(storage)):
        raise ValueError("a tensor reaches beyond its storage")
    if not n:
        return np.zeros(shape, storage.dtype)
    steps = [stride * storage.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps).copy()
