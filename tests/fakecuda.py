"""A driver that keeps its rules strictly, and whose GPU is this computer's memory.

Written against what rtface calls, no more. Work waits in its stream until the stream is waited for,
memory holds rubbish until it is written, and what a real driver leaves undefined is a breach.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rtface.engine.cuda import FUNCTIONS, KERNEL_TIMEOUT, MAJOR, MINOR, THREAD_LOCAL

#: CUresult
INVALID, NO_CONTEXT, BAD_HANDLE, CAPTURING, SPOILT = 1, 201, 400, 900, 901
ALIGNED = 256


class FakeGpu(NamedTuple):
    name: str = "NVIDIA GeForce RTX 3060"
    capability: tuple[int, int] = (8, 6)
    display: int = 0


class Work(NamedTuple):
    """What waits in a stream or a graph, and the memory it will touch."""

    do: Callable[[], None]
    touches: tuple[tuple[int, int], ...]


class Stream:
    def __init__(self) -> None:
        self.waiting: list[Work] = []
        self.captured: list[Work] | None = None
        self.spoilt = False


class FakeDriver:
    """The functions of ``cuda.FUNCTIONS``, called through ctypes as the driver's are.

    Attributes
    ----------
    calls : list of str
        Every call, in order.
    breaches : list of str
        What a real driver would have crashed on, or worse.
    fail : dict
        Functions that refuse, and the code they return.
    """

    def __init__(self, gpus: Sequence[FakeGpu] = (FakeGpu(),), version: int = 12040) -> None:
        self.gpus, self.version = list(gpus), version
        self.calls: list[str] = []
        self.breaches: list[str] = []
        self.fail: dict[str, int] = {}
        self.memory: dict[str, dict[int, int]] = {"host": {}, "device": {}}
        self.streams: dict[int, Stream] = {}
        self.graphs: dict[int, list[Work]] = {}
        self.launchable: dict[int, list[Work]] = {}
        self._buffers: list[Any] = []  # kept: what is used after its end must not crash the test
        self._handles = itertools.count(0x1000, 16)
        self._contexts = 0
        self._current = threading.local()
        self._thunks: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name not in FUNCTIONS:
            raise AttributeError(name)
        if name not in self._thunks:
            # text that is written to arrives as an address
            kinds = [ctypes.c_void_p if k is ctypes.c_char_p else k for k in FUNCTIONS[name]]
            body = getattr(self, f"_{name}")

            def call(*arguments: Any) -> int:
                self.calls.append(name)
                if name in self.fail:
                    return self.fail[name]
                try:
                    return int(body(*arguments) or 0)
                except Exception as error:  # noqa: BLE001 - none may leave a callback of C
                    self.breaches.append(f"{name}: {error!r}")
                    return INVALID

            self._thunks[name] = ctypes.CFUNCTYPE(ctypes.c_int, *kinds)(call)
        return self._thunks[name]

    def breach(self, what: str) -> int:
        self.breaches.append(what)
        return INVALID

    # the driver and its GPUs

    def _cuInit(self, flags: int) -> int:
        return 0 if self.gpus else 100

    def _cuGetErrorString(self, code: int, text: Any) -> None:
        text[0] = b"out of memory" if code == 2 else b"some error"

    def _cuDriverGetVersion(self, out: Any) -> None:
        out[0] = self.version

    def _cuDeviceGetCount(self, out: Any) -> None:
        out[0] = len(self.gpus)

    def _cuDeviceGet(self, out: Any, number: int) -> int:
        out[0] = 100 + number  # a device is not its number
        return 0 if number < len(self.gpus) else 101

    def _cuDeviceGetName(self, address: int, size: int, device: int) -> None:
        name = self.gpus[device - 100].name.encode() + b"\0"
        assert len(name) <= size
        ctypes.memmove(address, name, len(name))

    def _cuDeviceGetAttribute(self, out: Any, what: int, device: int) -> None:
        gpu = self.gpus[device - 100]
        out[0] = {
            KERNEL_TIMEOUT: gpu.display,
            MAJOR: gpu.capability[0],
            MINOR: gpu.capability[1],
        }[what]

    def _cuDevicePrimaryCtxRetain(self, out: Any, device: int) -> None:
        self._contexts += 1
        out[0] = device * 7

    def _cuDevicePrimaryCtxRelease_v2(self, device: int) -> None:
        self._contexts -= 1
        left = {
            "memory": self.memory["host"] or self.memory["device"],
            "streams": self.streams,
            "graphs": self.graphs or self.launchable,
            "context": self._contexts,
        }
        for what, there in left.items():
            if there:
                self.breach(f"{what} left when the GPU is given back")

    def _cuCtxSetCurrent(self, context: int) -> None:
        self._current.context = context

    def _no_context(self) -> bool:
        return not getattr(self._current, "context", None)

    # memory

    def _allocate(self, kind: str, size: int) -> int:
        buffer = ctypes.create_string_buffer(b"\xaa" * size, size + ALIGNED)
        self._buffers.append(buffer)
        address = -(-ctypes.addressof(buffer) // ALIGNED) * ALIGNED
        ctypes.memset(address, 0xAA, size)
        self.memory[kind][address] = size
        return address

    def _free(self, kind: str, address: int) -> int:
        if self._capturing():
            return CAPTURING
        if address not in self.memory[kind]:
            return self.breach(f"{kind} memory freed that is not there")
        size = self.memory[kind].pop(address)
        pending = [*self.launchable.values(), *(one.waiting for one in self.streams.values())]
        for work in itertools.chain(*pending):
            if any(address <= at < address + size for at, _ in work.touches):
                self.breach(f"{kind} memory freed that waiting work or a graph uses")
        ctypes.memset(address, 0xDD, size)
        return 0

    def holds(self, kind: str, address: int, size: int) -> bool:
        return any(a <= address and address + size <= a + n for a, n in self.memory[kind].items())

    def _capturing(self) -> bool:
        """Whether this is forbidden because a stream records; it then records no more."""
        recording = [one for one in self.streams.values() if one.captured is not None]
        for one in recording:
            one.spoilt = True
        return bool(recording)

    def _cuMemAlloc_v2(self, out: Any, size: int) -> int:
        if self._no_context():
            return NO_CONTEXT
        if self._capturing():
            return CAPTURING
        out[0] = self._allocate("device", size)
        return 0

    def _cuMemFree_v2(self, address: int) -> int:
        return self._free("device", address)

    def _cuMemHostAlloc(self, out: Any, size: int, flags: int) -> int:
        if self._no_context():
            return NO_CONTEXT
        if self._capturing():
            return CAPTURING
        out[0] = self._allocate("host", size)
        return 0

    def _cuMemFreeHost(self, address: int) -> int:
        return self._free("host", address)

    # streams

    def _cuStreamCreate(self, out: Any, flags: int) -> int:
        if self._no_context():
            return NO_CONTEXT
        out[0] = next(self._handles)
        self.streams[out[0]] = Stream()
        return 0

    def _cuStreamDestroy_v2(self, stream: int) -> int:
        if self.streams.pop(stream).waiting:
            return self.breach("a stream destroyed while work waits in it")
        return 0

    def put(self, stream: int, work: Work) -> int:
        """Put work on a stream, or into what it records."""
        if stream not in self.streams:
            return BAD_HANDLE
        there = self.streams[stream]
        (there.waiting if there.captured is None else there.captured).append(work)
        return 0

    def _copy(self, to: tuple[str, int], source: tuple[str, int], size: int, stream: int) -> int:
        def do() -> None:
            for kind, address in (to, source):
                if not self.holds(kind, address, size):
                    self.breach(f"a copy of {size} bytes outside {kind} memory")
                    return
            ctypes.memmove(to[1], source[1], size)

        for kind, address in (to, source):
            if not self.holds(kind, address, size):
                return self.breach(f"a copy of {size} bytes outside {kind} memory")
        return self.put(stream, Work(do, ((to[1], size), (source[1], size))))

    def _cuMemcpyHtoDAsync_v2(self, device: int, host: int, size: int, stream: int) -> int:
        return self._copy(("device", device), ("host", host), size, stream)

    def _cuMemcpyDtoHAsync_v2(self, host: int, device: int, size: int, stream: int) -> int:
        return self._copy(("host", host), ("device", device), size, stream)

    def _cuStreamSynchronize(self, stream: int) -> int:
        if stream not in self.streams:
            return BAD_HANDLE
        if self._capturing():
            return CAPTURING
        waiting, self.streams[stream].waiting = self.streams[stream].waiting, []
        for work in waiting:
            work.do()
        return 0

    # graphs

    def _cuStreamBeginCapture_v2(self, stream: int, mode: int) -> int:
        if mode != THREAD_LOCAL:
            self.breach("a capture that other threads' CUDA breaks")
        if self.streams[stream].captured is not None:
            return INVALID
        self.streams[stream].captured = []
        return 0

    def _cuStreamEndCapture(self, stream: int, out: Any) -> int:
        there = self.streams[stream]
        if there.captured is None:
            return INVALID
        work, spoilt = there.captured, there.spoilt
        there.captured, there.spoilt = None, False
        if spoilt:
            out[0] = None
            return SPOILT
        out[0] = next(self._handles)
        self.graphs[out[0]] = work
        return 0

    def _cuGraphInstantiateWithFlags(self, out: Any, graph: int, flags: int) -> int:
        out[0] = next(self._handles)
        self.launchable[out[0]] = self.graphs[graph]
        return 0

    def _cuGraphLaunch(self, graph: int, stream: int) -> int:
        if graph not in self.launchable:
            return BAD_HANDLE
        if self._capturing():
            return CAPTURING
        self.streams[stream].waiting += self.launchable[graph]
        return 0

    def _cuGraphDestroy(self, graph: int) -> int:
        return 0 if self.graphs.pop(graph, None) is not None else BAD_HANDLE

    def _cuGraphExecDestroy(self, graph: int) -> int:
        if any(one.waiting for one in self.streams.values()):
            self.breach("a graph destroyed while it runs")
        return 0 if self.launchable.pop(graph, None) is not None else BAD_HANDLE
