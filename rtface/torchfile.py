"""Tables of tensors in files of ``torch.save``, read without torch and without running anything.

Such a file is a zip archive with ``data.pkl``, a pickle, beside the bytes of each storage.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from rtface.pickles import Name, Refused, refusing, run
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


_DICT = Name("collections", "OrderedDict")
_TENSOR = Name("torch._utils", "_rebuild_tensor_v2")
_PARAMETER = Name("torch._utils", "_rebuild_parameter")
_NAMES = {_DICT, _TENSOR, _PARAMETER, *(Name("torch", name) for name in _TYPES)}


def read_tensors(path: Path) -> Any:
    """Return what ``torch.save`` wrote: dicts, lists and tuples, with tensors as arrays.

    Raises
    ------
    UserError
        The file cannot be read, is of another kind, is damaged, or holds anything that would have
        to be run; names the file.
    """
    try:
        with refusing(path), zipfile.ZipFile(path) as archive:
            return _read(archive)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except zipfile.BadZipFile:
        raise UserError(
            f"{path}: is damaged, or is no file of PyTorch 1.6 or later (a zip archive); "
            "get it again, or save it again in PyTorch"
        ) from None


def _read(archive: zipfile.ZipFile) -> Any:
    if sum(entry.file_size for entry in archive.infolist()) > MOST_BYTES:
        raise Refused(f"it holds more than {MOST_BYTES >> 30} GiB")
    found = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(found) != 1:
        raise Refused("it is a zip archive, but not one of torch.save")
    folder = found[0].removesuffix("data.pkl")
    if archive.getinfo(found[0]).file_size > MOST_PICKLE_BYTES:
        raise Refused("its table of contents is too long for a network")
    order = "<"
    if f"{folder}byteorder" in archive.namelist():
        order = ">" if archive.read(f"{folder}byteorder") == b"big" else "<"

    def storage(key: str, kind: str) -> np.ndarray:
        return np.frombuffer(archive.read(f"{folder}data/{key}"), order + _TYPES[kind])

    def persistent(identity: Any) -> np.ndarray:
        what, kind, key, _device, n = identity
        if what != "storage" or not isinstance(kind, Name) or kind.name not in _TYPES:
            raise Refused(f"it refers to {str(what)[:40]!r} outside itself")
        numbers = storage(str(key), kind.name)
        if len(numbers) != n:
            raise ValueError(f"storage {key} has {len(numbers)} numbers, not {n}")
        return numbers

    program = archive.read(found[0])
    return run(program, "a table of tensors", _NAMES, _made, _built, persistent)


def _made(maker: Any, arguments: Any) -> Any:
    """Return what one of the three known makers makes of its arguments."""
    if maker == _DICT and arguments in ((), ([],)):
        return {}
    if maker == _TENSOR:
        storage, offset, shape, strides = arguments[:4]
        return _tensor(storage, offset, tuple(shape), tuple(strides))
    if maker == _PARAMETER and isinstance(arguments[0], np.ndarray):
        return arguments[0]
    raise Refused(f"it calls {str(maker)[:80]!r}")


def _built(target: Any, _state: Any) -> None:
    # a dict's own attributes: torch keeps versions there
    if type(target) is not dict:
        raise Refused("it sets the state of something other than a dict")


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
