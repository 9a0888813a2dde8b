"""TensorRT-RTX builds every network that rtface exports, for real; building needs no GPU.

What comes out cannot run here: that the GPU tests look at (``test_tensorrt_gpu.py``).
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest

from rtface.engine.builder import Library, build, load_library
from rtface.engine.bundle import load_bundle
from rtface.engine.half import to_half
from rtface.facemap.graph import INPUT_SHAPE, write_graph
from rtface.facemap.weights import Weights, shapes
from rtface.types import UserError

pytestmark = [pytest.mark.networks, pytest.mark.timeout(300)]
if not os.environ.get("CI"):  # there it has to be
    pytest.importorskip("tensorrt_rtx")

#: encoder widths of Facemap's architecture: as published, wider, and a quarter of that
WIDTHS = {
    "facemap": (16, 32, 64, 128, 200),
    "facemap-wide": (32, 64, 128, 128, 200),
    "facemap-narrow": (8, 16, 32, 32, 50),
}
NAMES = ["default", *WIDTHS]


@pytest.fixture(scope="module")
def library() -> Library:
    return load_library("tensorrt_rtx")


def facemap(channels: tuple[int, ...]) -> bytes:
    """Facemap's network with random weights that keep the size of what passes through."""
    rng = np.random.default_rng(3)
    tensors = {}
    for key, shape in shapes(channels, 15).items():
        if key.endswith(".running_var"):
            tensors[key] = rng.uniform(0.5, 2, shape)
        elif len(shape) == 4:
            tensors[key] = rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape)
        else:
            tensors[key] = rng.normal(1, 0.1, shape) if "weight" in key else np.zeros(shape)
    weights = Weights(channels, 15, {k: np.float32(v) for k, v in tensors.items()})
    content: bytes = write_graph(weights).SerializeToString()
    return content


def model_of(name: str) -> bytes:
    return load_bundle("default").onnx if name == "default" else facemap(WIDTHS[name])


def quantised(model: bytes, folder: Path) -> bytes:
    """The network with explicit Q and DQ as TensorRT wants them, from noise: for building only."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    inputs = {one.name: one for one in onnx.load_from_string(model).graph.input}
    image = inputs["image"].type.tensor_type
    shape = [dim.dim_value for dim in image.shape.dim]
    kind = np.uint8 if image.elem_type == onnx.TensorProto.UINT8 else np.float32

    left = [0, 1]

    class Noise(CalibrationDataReader):
        def get_next(self) -> dict[str, np.ndarray] | None:
            if not left:
                return None
            noise = np.random.default_rng(left.pop()).integers(0, 256, shape).astype(kind)
            feed = {"image": noise, "scale": np.float32(1 / 64), "shift": np.float32(-2)}
            return {k: np.array(v) for k, v in feed.items()}

    nodes = onnx.load_from_string(model).graph.node
    head = [one.name for one in nodes if one.op_type == "Conv"][-1]
    (folder / "model.onnx").write_bytes(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_static(
            folder / "model.onnx",
            folder / "int8.onnx",
            Noise(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[head],
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                "AddQDQPairToWeight": True,
            },
        )
    return (folder / "int8.onnx").read_bytes()


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("name", NAMES)
def test_every_network_is_built(
    library: Library, name: str, precision: str, tmp_path: Path
) -> None:
    model = model_of(name)
    if precision == "fp16":
        model = to_half(model)
    if precision == "int8":
        model = quantised(model, tmp_path)
        kinds = [one.op_type for one in onnx.load_from_string(model).graph.node]
        assert kinds.count("QuantizeLinear") > 10
    plan = build(library, Path(f"{name}.onnx"), model)
    # weights of 32, 16 or 8 bits for a network of some 10^5 numbers, at the least
    assert len(plan) > 100_000


def test_half_precision_is_half_the_plan(library: Library) -> None:
    model = model_of("facemap-wide")
    whole, half = (len(build(library, Path("x"), one)) for one in (model, to_half(model)))
    assert half < 0.7 * whole


def test_a_plan_for_older_gpus_is_built_when_asked(library: Library) -> None:
    model = to_half(model_of("default"))
    portable, turing = (build(library, Path("x"), model, target) for target in (None, "SM75"))
    assert len({portable, turing}) == 2


def test_without_a_gpu_a_plan_for_it_is_refused_in_one_line(library: Library) -> None:
    if Path("/proc/driver/nvidia/version").exists():
        pytest.skip("there is a driver")
    with pytest.raises(UserError, match="cannot build it") as caught:
        build(library, Path("x.onnx"), model_of("default"), "CURRENT")
    assert "\n" not in str(caught.value)


def bad(change: str) -> bytes:
    model = onnx.load_from_string(model_of("default"))
    if change == "a node that nobody knows":
        model.graph.node[-1].op_type = "Sing"
    elif change == "a shape that is not fixed":
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "height"
    content: bytes = model.SerializeToString()
    return content[: len(content) // 2] if change == "cut in half" else content


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("a node that nobody knows", "cannot read it"),
        ("cut in half", "cannot read it"),
        ("a shape that is not fixed", "not fixed"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(library: Library, change: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        build(library, Path("some/model.onnx"), bad(change))
    message = str(caught.value)
    assert message.startswith("some/model.onnx: ")
    assert says in message
    assert "\n" not in message


def test_facemap_s_network_in_half_precision_is_the_same_network() -> None:
    """ONNX Runtime runs both; weights are random, so peaks are flat and may be elsewhere."""
    import onnxruntime as ort

    model = facemap(WIDTHS["facemap"])
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 255, INPUT_SHAPE).astype(np.float32)
    feed = {"image": image, "scale": np.array(0.01, np.float32), "shift": np.zeros((), np.float32)}
    whole, half = (
        ort.InferenceSession(one, providers=["CPUExecutionProvider"]).run(None, feed)[0]
        for one in (model, to_half(model))
    )
    moved = np.abs(whole - half)
    assert np.median(moved[:, :2]) < 0.2
    assert np.median(moved[:, 2]) < 0.01
