"""One run on a GPU: copy in, work, copy out, on one stream, as one CUDA graph where that works.

Knows nothing of networks: what works is a function that puts its work on a stream.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable

from rtface.engine.cuda import NON_BLOCKING, THREAD_LOCAL, CudaError, Device


class Launch:
    """Buffers, a stream, and the way through them; belongs to the thread that made it.

    Parameters
    ----------
    device : Device
    n_in, n_out : int
        Bytes that are copied to the GPU before the work and back after it.
    n_scratch : int
        Bytes on the GPU for the work to use; may be 0.

    Attributes
    ----------
    input, output : ndarray (n,) uint8
        In memory that the GPU reads and writes; valid until ``close``.
    device_input, device_output, scratch : int
        Where they are on the GPU.
    stream : int
        The driver's handle.
    graph : int
        The driver's handle of the whole run; 0 while it is enqueued piece by piece.
    fault : str
        Why there is no graph.
    """

    def __init__(self, device: Device, n_in: int, n_out: int, n_scratch: int) -> None:
        self._device, self._driver = device, device.driver
        self._n_in, self._n_out = n_in, n_out
        self._work: Callable[[int], None] | None = None
        self.graph, self.fault = 0, ""
        self._close = contextlib.ExitStack()
        call, close = self._driver.call, self._close.callback
        try:
            # closed in the order of the stack: the stream first, then what it copies
            self.input = device.pinned(n_in)
            self._input: int = self.input.ctypes.data
            close(call, "cuMemFreeHost", self._input)
            self.output = device.pinned(n_out)
            self._output: int = self.output.ctypes.data
            close(call, "cuMemFreeHost", self._output)
            self.device_input = device.allocate(n_in)
            close(call, "cuMemFree_v2", self.device_input)
            self.device_output = device.allocate(n_out)
            close(call, "cuMemFree_v2", self.device_output)
            self.scratch = device.allocate(max(n_scratch, 1))
            close(call, "cuMemFree_v2", self.scratch)
            self.stream = self._driver.handle("cuStreamCreate", NON_BLOCKING)
            close(call, "cuStreamDestroy_v2", self.stream)
        except CudaError:
            self._close.close()
            raise

    def prepare(
        self, work: Callable[[int], None], capturable: Callable[[int], bool] = lambda _: True
    ) -> None:
        """Take the work, run it once, and capture it; what cannot be captured is enqueued.

        Parameters
        ----------
        work : callable
            Puts its work on the stream it is given; CudaError where that fails.
        capturable : callable
            False where work says of itself that it cannot be captured.

        Raises
        ------
        CudaError
            It does not run, captured or not.
        """
        self._work = work
        # a first run does what capturing forbids: allocations, loading of kernels
        self.enqueue()
        self.wait()
        if not capturable(self.stream):
            self.fault = "the network says that it cannot be captured"
            return
        try:
            self.graph = self._capture()
            self.run()
        except CudaError as error:
            self.fault = str(error)
            self.drop_graph()
            self.enqueue()  # fails if capturing has spoilt the stream
            self.wait()

    def enqueue(self) -> None:
        """Put copies and work on the stream; returns before they are done."""
        assert self._work is not None
        call, stream = self._driver.call, self.stream
        call("cuMemcpyHtoDAsync_v2", self.device_input, self._input, self._n_in, stream)
        self._work(stream)
        call("cuMemcpyDtoHAsync_v2", self._output, self.device_output, self._n_out, stream)

    def _capture(self) -> int:
        """Return the handle of a graph that does what ``enqueue`` does."""
        self.begin_capture()
        try:
            self.enqueue()
        except BaseException:
            with contextlib.suppress(CudaError):  # the first fault is the one to tell
                self._driver.call("cuGraphDestroy", self.end_capture())
            raise
        recorded = self.end_capture()
        try:
            return self._driver.handle("cuGraphInstantiateWithFlags", recorded, 0)
        finally:
            self._driver.call("cuGraphDestroy", recorded)

    def begin_capture(self) -> None:
        """Record from now on what this thread puts on the stream; other threads may use CUDA."""
        self._driver.call("cuStreamBeginCapture_v2", self.stream, THREAD_LOCAL)

    def end_capture(self) -> int:
        """Stop recording and return the recorded graph."""
        recorded = ctypes.c_void_p()
        self._driver.call("cuStreamEndCapture", self.stream, ctypes.byref(recorded))
        return recorded.value or 0

    def start(self) -> None:
        """Begin a run; what ``input`` holds by then goes to the GPU. Returns at once."""
        if self.graph:
            self._driver.call("cuGraphLaunch", self.graph, self.stream)
        else:
            self.enqueue()

    def wait(self) -> None:
        """Return when all that was begun is done; ``output`` then holds the last result."""
        self._driver.call("cuStreamSynchronize", self.stream)

    def run(self) -> None:
        """Run once, from ``input`` to ``output``."""
        self.start()
        self.wait()

    def drop_graph(self) -> None:
        """Finish what runs, and free the graph: before that which it was captured from."""
        with contextlib.suppress(CudaError):  # a fault of the run, which was told by then
            self.wait()
        if self.graph:
            graph, self.graph = self.graph, 0
            self._driver.call("cuGraphExecDestroy", graph)

    def close(self) -> None:
        """Free everything; ``input`` and ``output`` are gone. May be called twice."""
        try:
            self.drop_graph()
        finally:
            self._close.close()
