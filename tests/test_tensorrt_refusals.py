"""What keeps a network from a GPU, in one line each; and half precision."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import ROOT, make_bundle
from fakecuda import FakeGpu
from gpurig import Rig, one_line, same_as_onnx
from onnx import TensorProto

from rtface.engine import builder, cuda
from rtface.engine.bundle import Bundle, load_bundle
from rtface.engine.half import to_half
from rtface.engine.tensorrt import TensorRtEngine
from rtface.types import UserError


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return load_bundle(tiny_bundle)


@pytest.fixture(params=["tensorrt", "tensorrt_rtx"])
def rig(tmp_path: Path, request: pytest.FixtureRequest) -> Rig:
    return Rig(tmp_path / "engines", request.param)


CARD, SCREEN = FakeGpu(), FakeGpu("NVIDIA T400", (7, 5), display=1)


def test_the_gpu_of_the_display_is_taken_only_when_named(tmp_path: Path, bundle: Bundle) -> None:
    rig = Rig(tmp_path)
    rig.driver.gpus = [SCREEN, CARD]
    assert rig.engine(bundle).gpu.number == 1
    with pytest.raises(UserError) as caught:
        cuda.choose_gpu([cuda.Gpu(0, "T400", (7, 5), True)], None)
    one_line(caught, "0: T400", "engine.gpu = 0")
    assert rig.engine(bundle, gpu=0).gpu.name == SCREEN.name
    with pytest.raises(UserError) as caught:
        rig.engine(bundle, gpu=2)
    one_line(caught, "engine.gpu: 2", "1: NVIDIA GeForce RTX 3060")


@pytest.mark.parametrize("gpu", [FakeGpu("Orin", (8, 7)), FakeGpu("NVIDIA H100", (9, 0))])
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


def test_the_calibration_script_checks_an_engine_and_says_what_is_missing(
    tmp_path: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "calibration")
    import engine as calibration  # calibration/engine.py

    found = calibration.check(bundle, Rig(tmp_path).engine(bundle), 0.05)
    assert found.shift_px == 0
    assert 0 < found.hot_ms[0] <= found.hot_ms[1] <= found.hot_ms[2]
    assert found.paced_ms[0] > 0
    if not Path("/proc/driver/nvidia/version").exists():
        done = subprocess.run(
            [sys.executable, ROOT / "calibration" / "engine.py", "--runtime", "tensorrt_rtx"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert done.stderr.startswith("engine.py: no NVIDIA driver")
        assert done.stderr.count("\n") == 1
