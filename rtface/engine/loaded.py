"""A plan that TensorRT has taken, ready to be enqueued: every None and False of it is checked."""

from __future__ import annotations

from pathlib import Path

from rtface.engine.builder import Library, Log
from rtface.engine.cuda import CudaError
from rtface.engine.enginecache import REMEDY
from rtface.types import UserError


class Loaded:
    """An engine of TensorRT's; it can be enqueued once its tensors have addresses.

    Parameters
    ----------
    library : Library
    path : Path
        Where the plan is from, for what is said.
    plan : bytes

    Attributes
    ----------
    scratch : int
        Bytes on the GPU that it works in.

    Raises
    ------
    UserError
        TensorRT does not take the plan.
    """

    def __init__(self, library: Library, path: Path, plan: bytes) -> None:
        self._log = Log(library)
        what = f"{path}: {library.flavour} {library.version} does not take this engine"
        mend = f"; remove it and {REMEDY}"
        try:
            self._runtime = library.Runtime(self._log.logger)
        except TypeError:  # the bindings' way of saying that there is none
            raise self._log.refused(f"{library.flavour} does not start") from None
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise UserError(f"{self._log.refused(what)}{mend}")
        # memory of ours and not the network's own: what TensorRT-RTX needs to be captured
        context = engine.create_execution_context(library.AllocationStrategy.USER_MANAGED)
        if context is None:
            raise UserError(f"{self._log.refused(what)}{mend}")
        self._engine, self._context = engine, context
        self.scratch = engine.device_memory_size_v2

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of every tensor that goes in or out, by name."""
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        return {name: tuple(self._engine.get_tensor_shape(name)) for name in names}

    def bind(self, addresses: dict[str, int], scratch: int) -> None:
        """Say where tensors and memory are on the GPU; they stay there."""
        self._context.set_device_memory(scratch, self.scratch)
        for name, address in addresses.items():
            if not self._context.set_tensor_address(name, address):
                raise self._log.refused(f"TensorRT does not take the address of {name}")

    def enqueue(self, stream: int) -> None:
        """Put the network on a stream; CudaError if TensorRT does not."""
        if not self._context.execute_async_v3(stream):
            raise CudaError(f"TensorRT: does not run: {self._log.fault or 'no reason given'}")

    def capturable(self, stream: int) -> bool:
        """Whether this can become part of a CUDA graph; only TensorRT-RTX can be asked."""
        ask = getattr(self._context, "is_stream_capturable", None)
        return ask is None or bool(ask(stream))

    def close(self) -> None:
        """Free it: what was made last goes first; the log outlives all that writes to it."""
        del self._context, self._engine, self._runtime
