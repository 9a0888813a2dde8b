"""NVIDIA's driver through ctypes: a GPU, memory, a stream, graphs; nothing of any network.

The driver's own library is there wherever a GPU works, under one name per system, so this needs no
further package. Functions and numbers are those of NVIDIA's ``cuda.h`` (CUDA driver API).
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rtface.types import UserError

_INT, _HANDLE, _ADDRESS = POINTER(c_int), POINTER(c_void_p), c_uint64
#: every function that is called, and its parameters; all return a CUresult
FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "cuInit": (c_uint,),
    "cuGetErrorString": (c_int, POINTER(c_char_p)),
    "cuDriverGetVersion": (_INT,),
    "cuDeviceGetCount": (_INT,),
    "cuDeviceGet": (_INT, c_int),
    "cuDeviceGetName": (c_char_p, c_int, c_int),
    "cuDeviceGetAttribute": (_INT, c_int, c_int),
    "cuDevicePrimaryCtxRetain": (_HANDLE, c_int),
    "cuDevicePrimaryCtxRelease_v2": (c_int,),
    "cuCtxSetCurrent": (c_void_p,),
    "cuMemAlloc_v2": (POINTER(_ADDRESS), c_size_t),
    "cuMemFree_v2": (_ADDRESS,),
    "cuMemHostAlloc": (_HANDLE, c_size_t, c_uint),
    "cuMemFreeHost": (c_void_p,),
    "cuMemcpyHtoDAsync_v2": (_ADDRESS, c_void_p, c_size_t, c_void_p),
    "cuMemcpyDtoHAsync_v2": (c_void_p, _ADDRESS, c_size_t, c_void_p),
    "cuStreamCreate": (_HANDLE, c_uint),
    "cuStreamDestroy_v2": (c_void_p,),
    "cuStreamSynchronize": (c_void_p,),
    "cuStreamBeginCapture_v2": (c_void_p, c_int),
    "cuStreamEndCapture": (c_void_p, _HANDLE),
    "cuGraphInstantiateWithFlags": (_HANDLE, c_void_p, c_uint64),
    "cuGraphLaunch": (c_void_p, c_void_p),
    "cuGraphExecDestroy": (c_void_p,),
    "cuGraphDestroy": (c_void_p,),
}
#: values of CUdevice_attribute; of CUstream_flags and CUstreamCaptureMode
KERNEL_TIMEOUT, MAJOR, MINOR = 17, 75, 76
NON_BLOCKING, THREAD_LOCAL = 1, 1
#: what goes wrong most often, by CUresult, and what helps
_HELP = {
    100: "no NVIDIA GPU is seen; look with nvidia-smi, and at CUDA_VISIBLE_DEVICES",
    802: "the GPU is not ready yet; try again, or restart the machine",
    803: "the driver was updated while it ran; restart the machine",
}


class Functions(Protocol):
    """A library with the functions of ``FUNCTIONS``: the driver's, or one for tests."""

    def __getattr__(self, name: str) -> Callable[..., int]: ...


class CudaError(UserError):
    """The driver refused a call."""


class Gpu(NamedTuple):
    """One GPU, as the driver describes it.

    Attributes
    ----------
    number : int
        As nvidia-smi counts.
    capability : (major, minor)
        Of its architecture: 8.6 is GeForce RTX 30, 8.7 Jetson Orin.
    display : bool
        It stops work that takes long, because a display hangs on it.
    """

    number: int
    name: str
    capability: tuple[int, int]
    display: bool


def load_driver() -> Functions:
    """Return the driver's library.

    Raises
    ------
    UserError
        There is none.
    """
    # numbers of GPUs are then nvidia-smi's; read once, when the driver starts
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        library = ctypes.CDLL(name)
    except OSError:
        raise UserError(
            f"no NVIDIA driver: {name} is not there; install it (docs/gpu.md), or set "
            "engine.runtime to one for the CPU"
        ) from None
    for name, parameters in FUNCTIONS.items():
        try:
            function = getattr(library, name)
        except AttributeError:
            raise UserError(
                f"the NVIDIA driver is too old: it has no {name}; install 525 or newer"
            ) from None
        function.argtypes, function.restype = parameters, c_int
    return library


class Driver:
    """The driver, started; every call is checked.

    Raises
    ------
    UserError
        It does not start.
    """

    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        self.call("cuInit", 0)

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function of ``FUNCTIONS``; CudaError if it refuses."""
        if code := getattr(self._functions, name)(*arguments):
            raise CudaError(f"CUDA: {name}: {self._meaning(code)}")

    def _meaning(self, code: int) -> str:
        if code in _HELP:
            return f"{_HELP[code]} ({code})"
        text = c_char_p()
        self._functions.cuGetErrorString(code, ctypes.byref(text))
        return f"{(text.value or b'unknown error').decode()} ({code})"

    def number(self, name: str, *arguments: Any) -> int:
        """Return the int that a function writes to its first parameter."""
        value = c_int()
        self.call(name, ctypes.byref(value), *arguments)
        return value.value

    def handle(self, name: str, *arguments: Any) -> int:
        """Return the pointer that a function writes to its first parameter."""
        value = c_void_p()
        self.call(name, ctypes.byref(value), *arguments)
        return value.value or 0

    @property
    def version(self) -> int:
        """Newest CUDA that the driver knows: 12040 is 12.4."""
        return self.number("cuDriverGetVersion")

    def gpus(self) -> list[Gpu]:
        """Return every GPU, in nvidia-smi's order."""
        return [self._gpu(index) for index in range(self.number("cuDeviceGetCount"))]

    def _gpu(self, index: int) -> Gpu:
        device = self.number("cuDeviceGet", index)
        name = ctypes.create_string_buffer(256)
        self.call("cuDeviceGetName", name, len(name), device)
        timeout, major, minor = (
            self.number("cuDeviceGetAttribute", what, device)
            for what in (KERNEL_TIMEOUT, MAJOR, MINOR)
        )
        text = name.value.decode(errors="replace")
        return Gpu(index, text, (major, minor), bool(timeout))


def choose_gpu(gpus: list[Gpu], named: int | None) -> Gpu:
    """Return the GPU to use: the one that is named, else the first without a display.

    Raises
    ------
    UserError
        There is none such.
    """
    there = ", ".join(f"{one.number}: {one.name}" for one in gpus) or "none"
    if named is not None:
        if not 0 <= named < len(gpus):
            raise UserError(f"engine.gpu: {named}: there is no such GPU; there are {there}")
        return gpus[named]
    for one in gpus:
        if not one.display:
            return one
    if not gpus:
        raise UserError("no NVIDIA GPU is seen; look with nvidia-smi, and at CUDA_VISIBLE_DEVICES")
    raise UserError(
        f"every GPU drives a display, which makes frames wait ({there}); take one all the same "
        f"with engine.gpu = {gpus[0].number}"
    )


class Device:
    """A GPU in use by this thread: its context is current here until ``close``.

    Parameters
    ----------
    driver : Driver
    gpu : Gpu
    """

    def __init__(self, driver: Driver, gpu: Gpu) -> None:
        self.driver, self.gpu = driver, gpu
        self._device = driver.number("cuDeviceGet", gpu.number)
        # the primary context is the one that TensorRT's own CUDA takes
        self._context = driver.handle("cuDevicePrimaryCtxRetain", self._device)
        self._open = True
        self.enter()

    def enter(self) -> None:
        """Make it current in the calling thread."""
        self.driver.call("cuCtxSetCurrent", self._context)

    def close(self) -> None:
        """Give the context back; may be called twice."""
        if self._open:
            self._open = False
            self.driver.call("cuDevicePrimaryCtxRelease_v2", self._device)

    def allocate(self, size: int) -> int:
        """Return the address of ``size`` bytes on the GPU (aligned to 256)."""
        address = c_uint64()
        self.driver.call("cuMemAlloc_v2", ctypes.byref(address), size)
        return address.value

    def pinned(self, size: int) -> NDArray[np.uint8]:
        """Return (size,) uint8 of the host that the GPU copies from without a detour.

        It is freed with ``cuMemFreeHost``, and must not be looked at afterwards.
        """
        address = self.driver.handle("cuMemHostAlloc", size, 0)
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
