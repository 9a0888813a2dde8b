"""The TensorRT engine on a strict fake of the driver and TensorRT that runs ONNX Runtime inside."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from conftest import make_bundle
from fakegpu import FakeDriver, FakeGpu, FakeTensorRt
from onnx import TensorProto

from rtface.engine import builder, cuda, enginecache, launch, tensorrt
from rtface.engine.bundle import Bundle, load_bundle
from rtface.engine.half import to_half
from rtface.engine.onnx import OnnxEngine
from rtface.engine.tensorrt import TensorRtEngine
from rtface.types import UserError


class Rig:
    """A machine with a GPU and TensorRT, both fake, and a folder for engines."""

    def __init__(self, folder: Path, flavour: builder.Flavour = "tensorrt") -> None:
        self.driver = FakeDriver()
        self.trt = FakeTensorRt(
            self.driver, flavour, "1.7.1.116" if flavour == "tensorrt_rtx" else "10.13.3.9"
        )
        self.folder = folder

    def engine(self, bundle: Bundle, **options: Any) -> TensorRtEngine:
        options = {"precision": "fp32", "build": True, **options}
        return TensorRtEngine(
            bundle,
            flavour=self.trt.flavour,
            folder=self.folder,
            library=self.trt.library,
            functions=self.driver,
            **options,
        )


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return load_bundle(tiny_bundle)


@pytest.fixture(params=["tensorrt", "tensorrt_rtx"])
def rig(tmp_path: Path, request: pytest.FixtureRequest) -> Rig:
    return Rig(tmp_path / "engines", request.param)


def frames(bundle: Bundle, n: int = 5) -> list[tuple[np.ndarray, float, float]]:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (n, *bundle.input_shape)).astype(bundle.input_dtype)
    # each darker than the last, so that a result of the frame before is another
    return [(image // (i + 1), 0.01 * (i + 1), 0.3 - i) for i, image in enumerate(images)]


def same_as_onnx(engine: TensorRtEngine, bundle: Bundle) -> bool:
    reference = OnnxEngine(bundle)
    return all(np.array_equal(engine.infer(*one), reference.infer(*one)) for one in frames(bundle))


def test_keypoints_are_onnx_runtime_s_in_two_calls_a_frame(rig: Rig, bundle: Bundle) -> None:
    engine = rig.engine(bundle)
    assert (engine.captured, engine.fault) == (True, "")
    assert engine.gpu.name == "NVIDIA GeForce RTX 3060"
    assert same_as_onnx(engine, bundle)
    rig.driver.calls.clear()
    engine.infer(*frames(bundle)[0])
    assert rig.driver.calls == ["cuGraphLaunch", "cuStreamSynchronize"]
    engine.keep_warm()
    assert same_as_onnx(engine, bundle)
    bundle.check(engine)
    del engine
    assert rig.driver.breaches == []
    assert not any(rig.driver.memory.values())
    assert not rig.trt.alive


def test_the_shipped_network_in_half_precision(rig: Rig) -> None:
    bundle = load_bundle("default")
    engine = rig.engine(bundle, precision="fp16")
    bundle.check(engine)
    types = {one.data_type for one in onnx.load_from_string(rig.trt.built[0]).graph.initializer}
    assert TensorProto.FLOAT16 in types
    images, scales, shifts, expected = bundle.reference()
    for image, scale, shift, keypoints in zip(images, scales, shifts, expected, strict=True):
        found = engine.infer(image, float(scale), float(shift))
        assert np.abs(found[:, :2] - keypoints[:, :2]).max() < 0.05
        assert np.abs(found - keypoints).max() > 1e-5  # it is another network


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (lambda rig: rig.driver.fail.update(cuStreamBeginCapture_v2=1), "cuStreamBeginCapture_v2"),
        (lambda rig: rig.driver.fail.update(cuGraphInstantiateWithFlags=1), "cuGraphInstantiate"),
        (lambda rig: rig.driver.fail.update(cuGraphLaunch=1), "cuGraphLaunch"),
        (lambda rig: rig.trt.fail.add("execute while captured"), "cannot be captured"),
    ],
)
def test_what_cannot_be_captured_is_enqueued(
    rig: Rig, bundle: Bundle, breaks: Callable[[Rig], object], says: str
) -> None:
    breaks(rig)
    engine = rig.engine(bundle)
    assert not engine.captured
    assert says in engine.fault
    assert same_as_onnx(engine, bundle)
    del engine
    assert rig.driver.breaches == []
    assert not rig.driver.launchable
    assert not rig.driver.graphs


def test_tensorrt_rtx_may_say_that_it_cannot_be_captured(tmp_path: Path, bundle: Bundle) -> None:
    rig = Rig(tmp_path, "tensorrt_rtx")
    rig.trt.fail.add("is_stream_capturable")
    engine = rig.engine(bundle)
    assert "cannot be captured" in engine.fault
    assert "cuStreamBeginCapture_v2" not in rig.driver.calls
    assert same_as_onnx(engine, bundle)


def one_line(error: pytest.ExceptionInfo[UserError], *parts: str) -> None:
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("Builder", "does not start"),
        ("parse", "No importer registered for op: Sing"),
        ("build_serialized_network", "cannot build it: Error Code 9"),
        ("Runtime", "does not start"),
        ("deserialize_cuda_engine", "does not take this engine: Error Code 9"),
        ("create_execution_context", "does not take this engine: Error Code 9"),
        ("set_tensor_address shift", "address of shift"),
        ("execute_async_v3", "TensorRT: does not run: Error Code 9"),
    ],
)
def test_every_none_and_false_is_one_line(rig: Rig, bundle: Bundle, call: str, says: str) -> None:
    rig.trt.fail.add(call)
    with pytest.raises(UserError) as caught:
        rig.engine(bundle)
    one_line(caught, says)
    del caught
    assert not any(rig.driver.memory.values())


REFUSABLE = [name for name in cuda.FUNCTIONS if name != "cuGetErrorString"]
FORGIVEN = {
    *("cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags"),
    *("cuGraphLaunch", "cuGraphDestroy", "cuGraphExecDestroy"),
}


@pytest.mark.parametrize("name", [name for name in REFUSABLE if name not in FORGIVEN])
def test_a_driver_that_refuses_any_call_is_one_line(rig: Rig, bundle: Bundle, name: str) -> None:
    if name in ("cuMemFree_v2", "cuMemFreeHost", "cuStreamDestroy_v2"):
        rig.driver.fail["cuStreamSynchronize"] = 700  # so that it ends at all
    if name == "cuDevicePrimaryCtxRelease_v2":
        rig.trt.fail.add("Builder")
    rig.driver.fail[name] = 2
    with pytest.raises(UserError) as caught:
        rig.engine(bundle)
    one_line(caught, "CUDA" if name != "cuInit" else "out of memory")


class Swapped(launch.Launch):
    def enqueue(self) -> None:
        assert self._work is not None
        call = self._driver.call
        self._work(self.stream)
        call("cuMemcpyHtoDAsync_v2", self.device_input, self._input, self._n_in, self.stream)
        call("cuMemcpyDtoHAsync_v2", self._output, self.device_output, self._n_out, self.stream)


class BackTooEarly(launch.Launch):
    def enqueue(self) -> None:
        assert self._work is not None
        call = self._driver.call
        call("cuMemcpyHtoDAsync_v2", self.device_input, self._input, self._n_in, self.stream)
        call("cuMemcpyDtoHAsync_v2", self._output, self.device_output, self._n_out, self.stream)
        self._work(self.stream)


class Pageable(launch.Launch):
    def enqueue(self) -> None:
        there, self._input = self._input, self.input.copy().ctypes.data
        super().enqueue()
        self._input = there


class NotWaiting(launch.Launch):
    def run(self) -> None:
        self.start()


class NoFirstRun(launch.Launch):
    def prepare(self, work: Any, capturable: Any = None) -> None:
        self._work = work
        self.graph = self._capture()


class EndBeforeBegin(launch.Launch):
    def begin_capture(self) -> None:
        super().end_capture()
        super().begin_capture()


class NoEnd(launch.Launch):
    def end_capture(self) -> int:
        return 4096


class NothingCaptured(launch.Launch):
    def _capture(self) -> int:
        self.begin_capture()
        recorded = self.end_capture()
        self.enqueue()
        try:
            return self._driver.handle("cuGraphInstantiateWithFlags", recorded, 0)
        finally:
            self._driver.call("cuGraphDestroy", recorded)


class WaitsInCapture(launch.Launch):
    def _capture(self) -> int:
        self.begin_capture()
        self.enqueue()
        try:
            self.wait()
        finally:
            recorded = self.end_capture()
        return recorded


class GraphOutlivesMemory(launch.Launch):
    def drop_graph(self) -> None:
        pass


class LeavesTheGraph(launch.Launch):
    def end_capture(self) -> int:
        recorded = super().end_capture()
        return self._driver.handle("cuGraphInstantiateWithFlags", recorded, 0) and recorded


MUTANTS = [
    *(Swapped, BackTooEarly, Pageable, NotWaiting, NoFirstRun, EndBeforeBegin, NoEnd),
    *(NothingCaptured, WaitsInCapture, GraphOutlivesMemory, LeavesTheGraph),
]


def faults(rig: Rig, bundle: Bundle) -> list[str]:
    """What is wrong with an engine: errors, no graph, other keypoints, breaches."""
    found = []
    try:
        engine = rig.engine(bundle)
        if not engine.captured:
            found.append(f"not captured: {engine.fault}")
        if not same_as_onnx(engine, bundle):
            found.append("other keypoints")
        engine.close()
    except UserError as error:
        found.append(str(error))
    return found + rig.driver.breaches


def test_the_order_as_it_is_has_no_fault(rig: Rig, bundle: Bundle) -> None:
    assert faults(rig, bundle) == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.__name__)
def test_any_other_order_is_found(
    rig: Rig, bundle: Bundle, mutant: type[launch.Launch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt, "Launch", mutant)
    assert faults(rig, bundle) != []


def test_memory_that_ends_before_its_network_is_found(
    rig: Rig, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Engineless(tensorrt.Loaded):
        def close(self) -> None:
            del self._runtime, self._engine, self._context

    monkeypatch.setattr(tensorrt, "Loaded", Engineless)
    assert any("ended before" in one for one in faults(rig, bundle))


def test_an_engine_is_built_once(rig: Rig, bundle: Bundle) -> None:
    for _ in range(2):
        engine = rig.engine(bundle)
        assert same_as_onnx(engine, bundle)
        engine.close()
    assert len(rig.trt.built) == 1
    rig.engine(bundle, precision="fp16").close()
    assert len(rig.trt.built) == 2


def test_without_an_engine_a_run_says_how_to_make_one(rig: Rig, bundle: Bundle) -> None:
    with pytest.raises(UserError) as caught:
        rig.engine(bundle, build=False)
    one_line(caught, "no engine for NVIDIA GeForce RTX 3060 (8.6)", "calibration/engine.py")
    place = tensorrt.open_place(rig.trt.flavour, None, rig.trt.library, rig.driver)
    path = tensorrt.prepare(bundle, "fp32", place, rig.folder)
    assert path.parent == rig.folder
    assert rig.engine(bundle, build=False).captured


def test_an_engine_of_another_rig_is_named(rig: Rig, bundle: Bundle) -> None:
    rig.engine(bundle).close()
    (path,) = rig.folder.glob("*.engine")
    rig.driver.gpus[0] = FakeGpu("NVIDIA RTX 4090", (8, 9))
    with pytest.raises(UserError) as caught:
        rig.engine(bundle, build=False)
    one_line(
        caught,
        "no engine for NVIDIA RTX 4090",
        "there is one for gpu NVIDIA GeForce RTX 3060 instead of NVIDIA RTX 4090",
    )
    rig.engine(bundle).close()
    (other,) = {*rig.folder.glob("*.engine")} - {path}
    other.write_bytes(path.read_bytes())  # somebody copied it
    with pytest.raises(UserError) as caught:
        rig.engine(bundle)
    one_line(caught, str(other), "was built for gpu NVIDIA GeForce RTX 3060", "remove it")


def test_an_engine_of_another_version_is_named(rig: Rig, bundle: Bundle) -> None:
    rig.engine(bundle).close()
    old = rig.trt.version
    rig.trt.version = old.replace("7.1", "9.9").replace("10.13", "11.4")
    with pytest.raises(UserError) as caught:
        rig.engine(bundle, build=False)
    one_line(caught, f"version {old} instead of {rig.trt.version}")
    # the key agrees and TensorRT refuses all the same
    rig.trt.version = old
    (path,) = rig.folder.glob("*.engine")
    line, plan = path.read_bytes().split(b"\n", 1)
    key = enginecache.EngineKey(
        **{k: v for k, v in __import__("json").loads(line).items() if k != "sha256"}
    )
    enginecache.write_plan(rig.folder, key, b"stale" + plan)
    with pytest.raises(UserError) as caught:
        rig.engine(bundle)
    one_line(caught, str(path), "does not take this engine", "remove it")


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b"", lambda b: b"{}\n" + b[5:]])
def test_a_damaged_engine_is_not_run(
    rig: Rig, bundle: Bundle, damage: Callable[[bytes], bytes]
) -> None:
    rig.engine(bundle).close()
    (path,) = rig.folder.glob("*.engine")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError) as caught:
        rig.engine(bundle)
    one_line(caught, str(path), "is damaged")


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, bundle: Bundle) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError) as caught:
        Rig(tmp_path / "file" / "engines").engine(bundle)
    one_line(caught, "cannot", "engines")


KEY = enginecache.EngineKey("ab", "fp16", "tensorrt", "10.3", "Orin", "8.7", 12060, "Linux", 1)
WRITES = """
import sys
from pathlib import Path
from rtface.engine.enginecache import EngineKey, write_plan
key = EngineKey("ab", "fp16", "tensorrt", "10.3", "Orin", "8.7", 12060, "Linux", 1)
print("ready", flush=True)
sys.stdin.readline()
for i in range(150):
    write_plan(Path(sys.argv[1]), key, sys.argv[2].encode() * (100_000 + i))
"""


def test_two_processes_may_build_at_once(tmp_path: Path) -> None:
    enginecache.write_plan(tmp_path, KEY, b"x")
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITES, str(tmp_path), letter],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for letter in "ab"
    ]
    for one in writers:
        assert one.stdout is not None
        assert one.stdin is not None
        one.stdout.readline()
    for one in writers:
        assert one.stdin is not None
        one.stdin.write(b"\n")
        one.stdin.flush()
    seen = set()
    while any(one.poll() is None for one in writers):
        plan = enginecache.read_plan(tmp_path, KEY)  # raises if it is half of one
        seen.update(plan[:1].decode())
    for one in writers:
        one.communicate()
        assert one.returncode == 0
    assert seen >= {"a", "b"}
    assert [path.suffix for path in tmp_path.iterdir()] == [".engine"]


CARD, SCREEN = FakeGpu(), FakeGpu("NVIDIA T400", (7, 5), display=1)


def test_the_gpu_of_the_display_is_taken_only_when_named(tmp_path: Path, bundle: Bundle) -> None:
    rig = Rig(tmp_path)
    rig.driver.gpus = [SCREEN, CARD]
    assert rig.engine(bundle).gpu.number == 1
    with pytest.raises(UserError) as caught:
        cuda.choose_gpu([cuda.Gpu(0, "T400", (7, 5), True, False)], None)
    one_line(caught, "0: T400", "engine.gpu = 0")
    assert rig.engine(bundle, gpu=0).gpu.name == SCREEN.name
    with pytest.raises(UserError) as caught:
        rig.engine(bundle, gpu=2)
    one_line(caught, "engine.gpu: 2", "1: NVIDIA GeForce RTX 3060")


@pytest.mark.parametrize(
    "gpu", [FakeGpu("Orin", (8, 7), integrated=1), FakeGpu("NVIDIA H100", (9, 0))]
)
def test_a_gpu_that_tensorrt_rtx_does_not_know(
    tmp_path: Path, bundle: Bundle, gpu: FakeGpu
) -> None:
    rig = Rig(tmp_path, "tensorrt_rtx")
    rig.driver.gpus = [gpu]
    with pytest.raises(UserError) as caught:
        rig.engine(bundle)
    one_line(caught, gpu.name, "set it to tensorrt")


def test_no_gpu_and_no_driver_are_one_line(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path)
    rig.driver.gpus = []
    with pytest.raises(UserError) as caught:
        rig.engine(bundle)
    one_line(caught, "no NVIDIA GPU is seen")

    def none(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(cuda.ctypes, "CDLL", none)
    with pytest.raises(UserError) as caught:
        TensorRtEngine(bundle)
    one_line(caught, "no NVIDIA driver", "docs/gpu.md")


def test_a_missing_or_broken_tensorrt_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for flavour, extra in (("tensorrt", "tensorrt"), ("tensorrt_rtx", "tensorrt-rtx")):
        monkeypatch.setitem(sys.modules, flavour, None)
        with pytest.raises(UserError) as caught:
            builder.load_library(flavour)  # type: ignore[arg-type]
        one_line(caught, f"the package {flavour} is not here", f"rtface[{extra}]")
    monkeypatch.delitem(sys.modules, "tensorrt")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.10: not\\nfound')")
    with pytest.raises(UserError) as caught:
        builder.load_library("tensorrt")
    one_line(caught, "does not load (libnvinfer.so.10: not found)")
    (tmp_path / "tensorrt.py").write_text("__version__ = '8.6.1'")
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(UserError) as caught:
        builder.load_library("tensorrt")
    one_line(caught, "tensorrt 8.6.1", "10 and 11")


def test_int8_wants_its_own_file(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "net")
    rig = Rig(tmp_path / "engines")
    with pytest.raises(UserError) as caught:
        rig.engine(load_bundle(folder), precision="int8")
    one_line(caught, builder.INT8_FILE, "rtface model quantize")
    (folder / builder.INT8_FILE).write_bytes((folder / "model.onnx").read_bytes())
    bundle = load_bundle(folder)
    assert same_as_onnx(rig.engine(bundle, precision="int8"), bundle)
    bundle.about["sha256"][builder.INT8_FILE] = "0" * 64
    with pytest.raises(UserError) as caught:
        rig.engine(bundle, precision="int8")
    one_line(caught, builder.INT8_FILE, "damaged")


def changed(bundle: Bundle, change: Callable[[onnx.ModelProto], object]) -> bytes:
    model = onnx.load_from_string(bundle.onnx)
    change(model)
    content: bytes = model.SerializeToString()
    return content


def test_a_shape_that_is_not_fixed_is_refused(tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "net")

    def free(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "height"

    bundle = load_bundle(folder)
    (folder / "model.onnx").write_bytes(changed(bundle, free))
    with pytest.raises(UserError) as caught:
        Rig(tmp_path / "engines").engine(bundle)
    one_line(caught, "input image", "is not fixed")


def test_half_precision_lies_between_the_convolutions() -> None:
    bundle = load_bundle("default")
    graph = onnx.load_from_string(to_half(bundle.onnx)).graph
    kinds = {one.name: one.data_type for one in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    halves = [kinds[node.input[1]] == TensorProto.FLOAT16 for node in convolutions]
    assert halves == [True] * (len(halves) - 1) + [False]
    assert [one.type.tensor_type.elem_type for one in graph.output] == [TensorProto.FLOAT]


def test_a_weight_too_large_for_half_precision_is_refused() -> None:
    def blow_up(model: onnx.ModelProto) -> None:
        weight = next(one for one in model.graph.initializer if len(one.dims) == 4)
        value = onnx.numpy_helper.to_array(weight) * 1e9
        weight.CopyFrom(onnx.numpy_helper.from_array(value, weight.name))

    with pytest.raises(UserError) as caught:
        to_half(changed(load_bundle("default"), blow_up))
    one_line(caught, "beyond 65504", "fp32")


def test_a_wrong_picture_is_not_run(rig: Rig, bundle: Bundle) -> None:
    engine = rig.engine(bundle)
    with pytest.raises(TypeError):
        engine.infer(np.zeros(bundle.input_shape, np.float64), 1, 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        engine.infer(np.zeros((3, 3), np.uint8), 1, 0)
