"""A TensorRT on the fake driver, which runs ONNX Runtime where a GPU would run the network."""

from __future__ import annotations

import ctypes
import enum
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
from fakecuda import ALIGNED, FakeDriver, Work

from rtface.engine.builder import Flavour, Library, library_of


class Flag(enum.IntEnum):
    STRONGLY_TYPED = 1
    TF32 = 4
    REQUIRE_USER_ALLOCATION = 20


class Target(enum.IntEnum):
    CURRENT = 1


class Strategy(enum.IntEnum):
    STATIC = 0
    USER_MANAGED = 2


class ILogger:
    def __init__(self) -> None:
        pass


class FakeTensorRt:
    """TensorRT's module, of one flavour and version, on a fake driver.

    ``fail`` holds names of calls that give None or False, or that the bindings refuse.
    """

    def __init__(
        self, driver: FakeDriver, flavour: Flavour = "tensorrt", version: str = "10.13.3.9"
    ) -> None:
        self.driver, self.flavour, self.version = driver, flavour, version
        self.fail: set[str] = set()
        self.built: list[bytes] = []
        self.alive: list[str] = []  # in the order in which they were made

    @property
    def library(self) -> Library:
        make = lambda kind: lambda *arguments: kind(self, *arguments)  # noqa: E731
        module = SimpleNamespace(
            __version__=self.version,
            ILogger=ILogger,
            Builder=make(Builder),
            OnnxParser=make(OnnxParser),
            Runtime=make(Runtime),
            BuilderFlag=Flag if self.flavour == "tensorrt_rtx" else SimpleNamespace(TF32=Flag.TF32),
            NetworkDefinitionCreationFlag=Flag,
            ExecutionContextAllocationStrategy=Strategy,
        )
        if self.flavour == "tensorrt_rtx":
            module.ComputeCapability = Target
        return library_of(self.flavour, module)

    @property
    def stamp(self) -> bytes:
        return f"{self.flavour} {self.version} {self.driver.gpus[0].name}\n".encode()

    def refuses(self, what: str, logger: Any = None) -> bool:
        if what in self.fail and logger is not None:
            logger.log("Severity.ERROR", f"Error Code 9: {what}\n refused")
        return what in self.fail


class Part:
    """Something of TensorRT's whose end must come after that of what was made from it."""

    def __init__(self, trt: FakeTensorRt, *parents: Any) -> None:
        self.trt, self._parents = trt, parents
        trt.alive.append(type(self).__name__)

    def __del__(self) -> None:
        if self.trt.alive.pop() != type(self).__name__:
            self.trt.driver.breach(f"{type(self).__name__} ended before what was made from it")


class Builder:
    def __init__(self, trt: FakeTensorRt, logger: Any) -> None:
        if trt.refuses("Builder", logger):
            raise TypeError("pybind11::init(): factory function returned nullptr")
        assert isinstance(logger, ILogger)
        self._trt, self._logger = trt, logger

    def create_network(self, flags: int) -> Any:
        assert flags == 1 << Flag.STRONGLY_TYPED
        return SimpleNamespace(model=b"", num_inputs=0)

    def create_builder_config(self) -> Any:
        flags = {Flag.TF32}
        return SimpleNamespace(
            flags=flags,
            set_flag=flags.add,
            clear_flag=flags.discard,
            set_compute_capability=lambda target, place: flags.add(target),
        )

    def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
        wanted = {Target.CURRENT, Flag.REQUIRE_USER_ALLOCATION}
        assert config.flags == (wanted if self._trt.flavour == "tensorrt_rtx" else set())
        if self._trt.refuses("build_serialized_network", self._logger):
            return None
        self._trt.built.append(network.model)
        return self._trt.stamp + network.model


class OnnxParser:
    num_errors = 1

    def __init__(self, trt: FakeTensorRt, network: Any, logger: Any) -> None:
        self._trt, self._network = trt, network

    def parse(self, model: bytes) -> bool:
        if self._trt.refuses("parse"):
            return False
        try:
            inputs = session_of(model).get_inputs()
        except Exception:  # noqa: BLE001 - whatever ONNX Runtime raises
            return False
        shapes = [[n if isinstance(n, int) else -1 for n in one.shape] for one in inputs]
        tensors = [
            SimpleNamespace(name=one.name, shape=shape)
            for one, shape in zip(inputs, shapes, strict=True)
        ]
        self._network.model, self._network.num_inputs = model, len(tensors)
        self._network.get_input = lambda i: tensors[i]
        return True

    def get_error(self, i: int) -> Any:
        return SimpleNamespace(desc=lambda: "No importer registered\nfor op: Sing")


def session_of(model: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class Runtime(Part):
    def __init__(self, trt: FakeTensorRt, logger: Any) -> None:
        super().__init__(trt)
        if trt.refuses("Runtime", logger):
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self.logger = logger

    def deserialize_cuda_engine(self, plan: bytes) -> CudaEngine | None:
        stamp = self.trt.stamp
        if self.trt.refuses("deserialize_cuda_engine", self.logger) or not plan.startswith(stamp):
            return None
        return CudaEngine(self.trt, self.logger, session_of(plan[len(stamp) :]))


class CudaEngine(Part):
    device_memory_size_v2 = 512

    def __init__(self, trt: FakeTensorRt, logger: Any, session: ort.InferenceSession) -> None:
        super().__init__(trt)
        self.logger, self.session = logger, session
        self.tensors = {one.name: one for one in (*session.get_inputs(), *session.get_outputs())}
        self.num_io_tensors = len(self.tensors)

    def get_tensor_name(self, i: int) -> str:
        return list(self.tensors)[i]

    def get_tensor_shape(self, name: str) -> list[int]:
        return list(self.tensors[name].shape)

    def create_execution_context(self, strategy: Strategy) -> ExecutionContext | None:
        assert strategy is Strategy.USER_MANAGED
        if self.trt.refuses("create_execution_context", self.logger):
            return None
        kind = CapturableContext if self.trt.flavour == "tensorrt_rtx" else ExecutionContext
        return kind(self.trt, self)


NUMPY = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}


class ExecutionContext(Part):
    def __init__(self, trt: FakeTensorRt, engine: CudaEngine) -> None:
        super().__init__(trt)
        # what the network needs to run, but not the engine: that may end too early
        self._logger, self._session, self._tensors = engine.logger, engine.session, engine.tensors
        self._addresses: dict[str, int] = {}
        self._scratch: tuple[int, int] = (0, 0)
        self._ran = False
        self._life = SimpleNamespace(ended=False)

    def __del__(self) -> None:
        self._life.ended = True
        super().__del__()

    def set_device_memory(self, memory: int, size: int) -> None:
        self._scratch = (memory, size)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if self.trt.refuses(f"set_tensor_address {name}", self._logger) or memory % ALIGNED:
            return False
        self._addresses[name] = memory
        return name in self._tensors

    def execute_async_v3(self, stream: int) -> bool:
        driver = self.trt.driver
        capturing = driver.streams[stream].captured is not None
        if self.trt.refuses("execute_async_v3", self._logger):
            return False
        if capturing and (not self._ran or self.trt.refuses("execute while captured")):
            driver.streams[stream].spoilt = True
            self._logger.log("Severity.ERROR", "work that cannot be captured")
            return False
        touches = [(self._addresses[name], self._bytes(name)) for name in self._tensors]
        if not all(driver.holds("device", *one) for one in (*touches, self._scratch)):
            return False
        life, session = self._life, self._session

        def do() -> None:
            if life.ended or not all(driver.holds("device", *one) for one in touches):
                driver.breach("a network runs after its end, or on memory that is gone")
                return
            feed = {one.name: self_array(one) for one in session.get_inputs()}
            for one, value in zip(session.get_outputs(), session.run(None, feed), strict=True):
                ctypes.memmove(addresses[one.name], value.ctypes.data, value.nbytes)

        addresses = dict(self._addresses)

        def self_array(one: Any) -> np.ndarray:
            kind = np.dtype(NUMPY[one.type])
            size = int(np.prod(one.shape)) * kind.itemsize
            content = ctypes.string_at(addresses[one.name], size)
            return np.frombuffer(content, kind).reshape(one.shape).copy()

        self._ran = True
        return not driver.put(stream, Work(do, (*touches, self._scratch)))

    def _bytes(self, name: str) -> int:
        one = self._tensors[name]
        return int(np.prod(one.shape)) * np.dtype(NUMPY[one.type]).itemsize


class CapturableContext(ExecutionContext):
    def is_stream_capturable(self, stream: int) -> bool:
        return not self.trt.refuses("is_stream_capturable")
