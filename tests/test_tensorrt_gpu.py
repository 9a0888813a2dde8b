"""TensorRT and its CUDA on hardware: ``pytest -m gpu`` on a machine with an NVIDIA GPU.

Nobody has run these yet. A flavour that is not installed is skipped; no GPU is a failure.
"""

from __future__ import annotations

import ctypes
import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rtface.engine import builder
from rtface.engine.bundle import Bundle, load_bundle
from rtface.engine.cuda import CudaError, Device, Driver, choose_gpu, load_driver
from rtface.engine.launch import Launch
from rtface.engine.onnx import OnnxEngine
from rtface.engine.tensorrt import TensorRtEngine

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(900)]

#: largest shift of a sure keypoint against ONNX Runtime, px of the input
SHIFT_PX = {"fp32": 0.01, "fp16": 0.5}


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engines")


def any_gpu() -> int:
    gpus = Driver(load_driver()).gpus()
    return next((one.number for one in gpus if not one.display), 0)


def engine_of(
    flavour: builder.Flavour, precision: builder.Precision, folder: Path
) -> TensorRtEngine:
    if importlib.util.find_spec(flavour) is None:
        pytest.skip(f"{flavour} is not installed")
    return TensorRtEngine(
        load_bundle("default"), precision, flavour, any_gpu(), build=True, folder=folder
    )


@pytest.fixture(
    scope="module",
    params=[(f, p) for f in ("tensorrt", "tensorrt_rtx") for p in SHIFT_PX],
    ids=lambda one: "-".join(one),
)
def engine(request: pytest.FixtureRequest, engines: Path) -> Iterator[TensorRtEngine]:
    made = engine_of(*request.param, engines)
    made.precision = request.param[1]  # type: ignore[attr-defined]
    yield made
    made.close()


def reference(bundle: Bundle) -> list[tuple[np.ndarray, float, float]]:
    images, scales, shifts, _ = bundle.reference()
    return [(i, float(s), float(o)) for i, s, o in zip(images, scales, shifts, strict=True)]


def test_keypoints_are_onnx_runtime_s(engine: TensorRtEngine) -> None:
    bundle = load_bundle("default")
    bundle.check(engine)
    cpu = OnnxEngine(bundle)
    for _ in range(3):  # in turns: a result of the frame before would be seen
        for frame in reference(bundle):
            expected = cpu.infer(*frame)
            sure = expected[:, 2] > 0.5
            moved = np.abs(engine.infer(*frame)[sure, :2] - expected[sure, :2])
            assert moved.max() <= SHIFT_PX[engine.precision]  # type: ignore[attr-defined]


def test_a_frame_is_one_graph(engine: TensorRtEngine) -> None:
    assert engine.captured, engine.fault


def test_without_its_graph_it_gives_the_same(engine: TensorRtEngine) -> None:
    frame = reference(load_bundle("default"))[0]
    captured = engine.infer(*frame)
    graph, engine._launch.graph = engine._launch.graph, 0
    try:
        np.testing.assert_allclose(engine.infer(*frame), captured, atol=1e-5)
    finally:
        engine._launch.graph = graph


def test_it_is_fast_hot_and_paced(engine: TensorRtEngine) -> None:
    """Ten times what is expected of the slowest GPU; what it was is printed."""
    frame = reference(load_bundle("default"))[0]
    for pause in (0.0, 0.005):
        took = []
        for _ in range(400):
            time.sleep(pause)
            start = time.perf_counter()
            engine.infer(*frame)
            took.append((time.perf_counter() - start) * 1e3)
        p50, p99 = np.percentile(took, [50, 99])
        print(f"{engine.gpu.name} pause {pause}: p50 {p50:.3f} p99 {p99:.3f} ms")
        assert p50 < 10


def test_the_gpu_kept_warm_gives_the_same(engine: TensorRtEngine) -> None:
    frames = reference(load_bundle("default"))
    expected = [engine.infer(*frame) for frame in frames]
    for frame, there in zip(frames, expected, strict=True):
        engine.keep_warm()
        np.testing.assert_array_equal(engine.infer(*frame), there)


@pytest.mark.parametrize("flavour", ["tensorrt", "tensorrt_rtx"])
def test_many_engines_one_after_the_other_and_at_once(
    flavour: builder.Flavour, engines: Path
) -> None:
    frame = reference(load_bundle("default"))[0]
    one, other = (engine_of(flavour, "fp16", engines) for _ in range(2))
    np.testing.assert_array_equal(one.infer(*frame), other.infer(*frame))
    one.close()
    first = other.infer(*frame)
    other.close()
    for _ in range(20):
        again = engine_of(flavour, "fp16", engines)
        np.testing.assert_array_equal(again.infer(*frame), first)
        again.close()


def test_copies_and_graphs_without_tensorrt() -> None:
    """The work is a copy on the GPU: what goes in comes out, captured or not."""
    functions = load_driver()
    driver = Driver(functions)
    copy = functions.cuMemcpyDtoDAsync_v2
    copy.argtypes = (ctypes.c_uint64, ctypes.c_uint64, ctypes.c_size_t, ctypes.c_void_p)  # type: ignore[attr-defined]
    device = Device(driver, choose_gpu(driver.gpus(), any_gpu()))
    launch = Launch(device, 4096, 4096, 0)

    def work(stream: int) -> None:
        if code := copy(launch.device_output, launch.device_input, 4096, stream):
            raise CudaError(str(code))

    launch.prepare(work)
    assert launch.graph, launch.fault
    graph = launch.graph
    rng = np.random.default_rng(0)
    for launch.graph in (graph, 0, graph):
        for _ in range(50):
            launch.input[:] = rng.integers(0, 256, 4096)
            launch.run()
            np.testing.assert_array_equal(launch.output, launch.input)
    launch.close()
    device.close()
