"""The TensorRT engine on a strict fake of the driver and TensorRT that runs ONNX Runtime inside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from gpurig import Rig, frames, one_line, same_as_onnx
from onnx import TensorProto

from rtface.engine import cuda
from rtface.engine.bundle import Bundle, load_bundle
from rtface.engine.keepwarm import KeepWarm
from rtface.types import UserError


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return load_bundle(tiny_bundle)


@pytest.fixture(params=["tensorrt", "tensorrt_rtx"])
def rig(tmp_path: Path, request: pytest.FixtureRequest) -> Rig:
    return Rig(tmp_path / "engines", request.param)


def test_keypoints_are_onnx_runtime_s_in_two_calls_a_frame(rig: Rig, bundle: Bundle) -> None:
    engine = rig.engine(bundle)
    assert (engine.captured, engine.fault) == (True, "")
    assert engine.gpu.name == "NVIDIA GeForce RTX 3060"
    assert same_as_onnx(engine, bundle)
    rig.driver.calls.clear()
    engine.infer(*frames(bundle)[0])
    assert rig.driver.calls == ["cuGraphLaunch", "cuStreamSynchronize"]
    warmth = KeepWarm(engine.keep_warm, every_ms=2)
    warmth.used(now_ns=10_000_000)
    rig.driver.calls.clear()
    for now_ns in (10_100_000, 11_900_000, 12_000_000, 13_900_000, 14_100_000):
        warmth.tend(now_ns)
    assert rig.driver.calls == ["cuGraphLaunch"] * 2  # and nobody waited
    KeepWarm(engine.keep_warm, every_ms=0).tend(10**12)
    KeepWarm(None, every_ms=2).tend(10**12)
    assert rig.driver.calls == ["cuGraphLaunch"] * 2
    assert same_as_onnx(engine, bundle)
    bundle.check(engine)
    del engine, warmth
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


def test_a_gpu_that_is_lost_says_so_first(rig: Rig, bundle: Bundle) -> None:
    engine = rig.engine(bundle)
    rig.driver.fail |= dict.fromkeys(("cuGraphLaunch", "cuStreamSynchronize"), 719)
    with pytest.raises(UserError) as caught:
        engine.infer(*frames(bundle)[0])
    one_line(caught, "CUDA: cuGraphLaunch")
    engine.close()
    rig.driver.fail["cuMemAlloc_v2"] = 2
    rig.driver.fail["cuDevicePrimaryCtxRelease_v2"] = 719
    with pytest.raises(UserError) as caught:
        rig.engine(bundle)
    one_line(caught, "cuMemAlloc_v2: out of memory")


FORGIVEN = {
    *("cuGetErrorString", "cuDevicePrimaryCtxRelease_v2"),
    *("cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags"),
    *("cuGraphLaunch", "cuGraphDestroy", "cuGraphExecDestroy"),
}


@pytest.mark.parametrize("name", [name for name in cuda.FUNCTIONS if name not in FORGIVEN])
def test_a_driver_that_refuses_any_call_is_one_line(rig: Rig, bundle: Bundle, name: str) -> None:
    if name in ("cuMemFree_v2", "cuMemFreeHost", "cuStreamDestroy_v2"):
        rig.driver.fail["cuStreamSynchronize"] = 700  # so that it ends at all
    rig.driver.fail[name] = 2
    with pytest.raises(UserError) as caught:
        rig.engine(bundle)
    one_line(caught, "CUDA" if name != "cuInit" else "out of memory")
