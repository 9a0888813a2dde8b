"""Every runtime of the CPU: same keypoints, or one line that says why not. INT8, or why not."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from conftest import ROOT
from onnx import TensorProto, helper, numpy_helper
from programs import SMALL, running
from test_cli import one_line, rtface
from videofiles import write

from rtface import subscribe
from rtface.camera.film import Film
from rtface.config import parse_rig
from rtface.engine import RUNTIMES, auto, cpu, make_engine, start_engine
from rtface.engine.bundle import INT8_CPU, INT8_TENSORRT, NotHere, load_bundle
from rtface.engine.onnx import OnnxEngine
from rtface.facemap.convert import import_weights
from rtface.quantize import LIMIT_PX, quantize
from rtface.quantize.frames import Seen, Shift, shift_of, split, watch
from rtface.types import Engine, UserError

NAMES = ["a", "b", "c"]
HEIGHT, WIDTH = 48, 64
HAVE_OPENVINO = importlib.util.find_spec("openvino") is not None
HAVE_BF16 = bool({"avx512_bf16", "amx_bf16"} & (cpu.flags() or frozenset()))
needs_openvino = pytest.mark.skipif(
    not HAVE_OPENVINO, reason="openvino is not installed: pip install 'rtface[openvino]'"
)
CPU_RUNTIMES = ["onnxruntime", pytest.param("openvino", marks=needs_openvino)]


def convolutional(folder: Path, sharpness: float = 1.0) -> Path:
    """Write a bundle of four convolutions; keypoints are the means of soft maps of cells.

    The sharper, the more a keypoint depends on which cell is the highest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[0 : HEIGHT // 4, 0 : WIDTH // 4] * 4
    constants = {
        "shape": np.array([1, 1, HEIGHT, WIDTH]),
        "flat": np.array([3, -1]),
        "w0": rng.normal(0, 0.4, (8, 1, 4, 4)),
        "w1": rng.normal(0, 0.15, (16, 8, 3, 3)),
        "w2": rng.normal(0, 0.1, (16, 16, 3, 3)),
        "w3": rng.normal(0, 0.3, (3, 16, 1, 1)),
        "b0": rng.normal(0, 0.1, 8),
        "b1": rng.normal(0, 0.1, 16),
        "b2": rng.normal(0, 0.1, 16),
        "sharpness": np.array(sharpness),
        "places": np.stack([columns.ravel(), rows.ravel()], 1),
        "scores": np.full((3, 1), 0.9),
    }
    floats = {
        name: value if name in ("shape", "flat") else value.astype(np.float32)
        for name, value in constants.items()
    }
    node = helper.make_node
    nodes = [
        node("Cast", ["image"], ["i0"], to=TensorProto.FLOAT),
        node("Mul", ["i0", "scale"], ["i1"]),
        node("Add", ["i1", "shift"], ["i2"]),
        node("Reshape", ["i2", "shape"], ["i3"]),
        node("Conv", ["i3", "w0", "b0"], ["c0"], name="stem", strides=[4, 4]),
        node("Relu", ["c0"], ["r0"]),
        node("Conv", ["r0", "w1", "b1"], ["c1"], name="first", pads=[1] * 4),
        node("Relu", ["c1"], ["r1"]),
        node("Conv", ["r1", "w2", "b2"], ["c2"], name="second", pads=[1] * 4),
        node("Relu", ["c2"], ["r2"]),
        node("Add", ["r1", "r2"], ["joined"]),
        node("Conv", ["joined", "w2", "b2"], ["c3"], name="third", pads=[1] * 4),
        node("Relu", ["c3"], ["r3"]),
        node("Conv", ["r3", "w3"], ["c4"], name="head"),
        node("Reshape", ["c4", "flat"], ["maps"]),
        node("Mul", ["maps", "sharpness"], ["sharp"]),
        node("Softmax", ["sharp"], ["soft"], axis=1),
        node("MatMul", ["soft", "places"], ["xy"]),
        node("Concat", ["xy", "scores"], ["keypoints"], axis=1),
    ]
    number = TensorProto.FLOAT
    made = helper.make_graph(
        nodes,
        "small",
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, [HEIGHT, WIDTH]),
            helper.make_tensor_value_info("scale", number, []),
            helper.make_tensor_value_info("shift", number, []),
        ],
        [helper.make_tensor_value_info("keypoints", number, [3, 3])],
        [numpy_helper.from_array(value, name) for name, value in floats.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "model.onnx")
    image = np.stack([face(0)[::10, ::10], face(1)[::10, ::10]])
    numbers = np.full(2, 1 / 128, np.float32), np.full(2, -0.5, np.float32)
    blank = np.zeros((2, 3, 3), np.float32)
    np.savez(
        folder / "reference.npz", image=image, scale=numbers[0], shift=numbers[1], keypoints=blank
    )
    sign(folder)
    from rtface.engine.onnx import OnnxEngine

    engine = OnnxEngine(load_bundle(folder))
    answers = [engine.infer(i, 1 / 128, -0.5) for i in image]
    np.savez(
        folder / "reference.npz",
        image=image,
        scale=numbers[0],
        shift=numbers[1],
        keypoints=np.stack(answers),
    )
    sign(folder)
    return folder


def sign(folder: Path, **about: Any) -> None:
    """Write model.json with the hashes of the files as they are now."""
    files = [f for f in ("model.onnx", "reference.npz", INT8_CPU) if (folder / f).exists()]
    manifest = {
        "format": 1,
        "name": "small",
        "keypoints": NAMES,
        "input": {"height": HEIGHT, "width": WIDTH},
        "sha256": {f: hashlib.sha256((folder / f).read_bytes()).hexdigest() for f in files},
    }
    (folder / "model.json").write_text(json.dumps(manifest | about))


@cache
def mouse(seed: int) -> Film:
    return Film(seed, 640, 480)


def face(number: int, seed: int = 11) -> np.ndarray:
    """A frame (480, 640) of a synthetic mouse."""
    film = mouse(seed)
    image = np.empty((480, 640), np.uint8)
    film.draw(film.face.snap(film.script.at(number * 0.1)), image)
    return image


@pytest.fixture(scope="session")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convolutional(tmp_path_factory.mktemp("conv"))


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 small pictures of a mouse."""
    path = tmp_path_factory.mktemp("video") / "mouse.mkv"
    write(path, "ffv1", "gray", [np.ascontiguousarray(face(i)[::4, ::4]) for i in range(100)])
    return path


@pytest.fixture(scope="session")
def quantised(net: Path, video: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network with its INT8 files, of full range."""
    out = tmp_path_factory.mktemp("int8") / "net"
    quantize(load_bundle(net), {"mouse": [video]}, out, reduced_range=False)
    return out


# --- runtimes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", CPU_RUNTIMES)
@pytest.mark.parametrize("which", ["small", "default"])
def test_runtimes_give_the_same_keypoints(net: Path, which: str, runtime: str) -> None:
    bundle = load_bundle(net if which == "small" else "default")
    exact, other = make_engine(bundle, "onnxruntime"), make_engine(bundle, runtime)
    rng = np.random.default_rng(1)
    height, width = bundle.input_shape
    for number in range(4):
        image = np.ascontiguousarray(face(number)[20 : 20 + height, 20 : 20 + width])
        scale, shift = rng.uniform(0.005, 0.02), rng.uniform(-1, 0)
        found, expected = other.infer(image, scale, shift), exact.infer(image, scale, shift)
        assert found is not other.infer(image, scale, shift)
        sure = expected[:, 2] > bundle.sure
        np.testing.assert_allclose(found[sure], expected[sure], atol=1e-3)


@needs_openvino
def test_openvino_computes_in_the_callers_thread(net: Path) -> None:
    import time

    engine = make_engine(load_bundle(net), "openvino")
    image = np.zeros(engine.input_shape, np.uint8)
    process, thread = time.process_time(), time.thread_time()
    for _ in range(500):
        engine.infer(image, 0.01, 0.0)
    process, thread = time.process_time() - process, time.thread_time() - thread
    assert thread > 0.5 * process


@needs_openvino
def test_bf16_is_bf16_or_refused(net: Path) -> None:
    bundle = load_bundle(net)
    if not HAVE_BF16:
        with pytest.raises(NotHere, match="no BF16"):
            make_engine(bundle, "openvino", 1, "bf16")
        return
    # not FP32 under another name
    assert bundle.shift_px(make_engine(bundle, "openvino", 1, "bf16")) > 1e-3
    assert bundle.shift_px(make_engine(bundle, "openvino", 1, "fp32")) < 1e-3


@needs_openvino
@pytest.mark.skipif(not HAVE_BF16, reason="this processor has no BF16")
def test_peaks_of_facemaps_shape_are_not_rounded_to_bf16(tmp_path: Path) -> None:
    """Peaks would tie within 1 part in 256, and the first cell of them be taken."""
    bundle = import_weights(ROOT / "tests" / "data" / "fmnet_small.pt", tmp_path / "small")
    image, scale, shift, expected = (part[0] for part in bundle.reference())
    found = make_engine(bundle, "openvino", 1, "bf16").infer(image, scale, shift)
    assert np.abs(found - expected).max() > 1e-4  # what comes before is BF16
    peaks = np.log(found[:, 2] / (1 - found[:, 2].astype(float)))
    step = 2.0 ** (np.floor(np.log2(peaks)) - 7)  # of BF16 there
    off = np.abs(peaks / step - np.round(peaks / step))
    assert np.median(off) > 0.05
    # the two parts answer each frame by itself
    again = make_engine(bundle, "openvino", 1, "bf16")
    again.infer(image[::-1].copy(), scale, shift)
    assert np.array_equal(again.infer(image, scale, shift), found)


def test_an_unknown_runtime_or_precision_is_refused(net: Path) -> None:
    bundle = load_bundle(net)
    with pytest.raises(UserError, match="no 'cuda'; use one of onnxruntime, openvino"):
        start_engine(bundle, "cuda")
    with pytest.raises(UserError, match="onnxruntime has no bf16; it has fp32, int8"):
        start_engine(bundle, "onnxruntime", 1, "bf16")


@pytest.mark.parametrize("runtime", list(RUNTIMES))
def test_a_runtime_that_is_not_installed_is_one_line(
    net: Path, tmp_path: Path, runtime: str
) -> None:
    """As on a machine without the package, whatever is installed here."""
    package = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt_rtx"}.get(runtime, runtime)
    rig = tmp_path / "rig.toml"
    rig.write_text(
        f'[camera.cam1]\nkind = "synthetic"\n[engine]\nbundle = "{net}"\nruntime = "{runtime}"\n'
    )
    code = f"import sys; sys.modules[{package!r}] = None; from rtface.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "check", str(rig)], capture_output=True, text=True, check=False
    )
    line = one_line(done)
    assert runtime in line
    if runtime == "openvino":
        assert "pip install 'rtface[openvino]'" in line


def test_auto_says_what_it_took_and_why_not_the_others(net: Path) -> None:
    started = start_engine(load_bundle(net), "auto")
    assert started.why.startswith(f"{started.label} takes ")
    assert "onnxruntime int8 not: " in started.why
    assert "rtface model quantize" in started.why
    assert make_engine(load_bundle(net), "auto").names == tuple(NAMES)
    only = start_engine(load_bundle(net), "auto", 1, "fp32")
    assert only.precision == "fp32"
    assert "int8" not in only.why
    with pytest.raises(UserError, match="nothing starts; onnxruntime int8 not"):
        start_engine(load_bundle(net), "auto", 1, "int8")


def test_auto_leaves_out_what_moves_keypoints(
    quantised: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = load_bundle(quantised)
    assert start_engine(bundle, "auto", 1, "int8").precision == "int8"
    monkeypatch.setattr(auto, "ALLOWED_PX", 0.0)
    with pytest.raises(UserError, match="moves reference keypoints by"):
        start_engine(bundle, "auto", 1, "int8")


def test_a_run_says_what_auto_took(net: Path, tmp_path: Path) -> None:
    with (
        running(tmp_path, net, SMALL, runtime="auto") as program,
        subscribe("cam1", program.data, timeout_s=10) as stream,
    ):
        next(iter(stream))
        model = stream.meta()["model"]
    assert model["precision"] in RUNTIMES[model["runtime"]]
    assert model["chosen"].startswith(f"{model['runtime']} {model['precision']} takes ")


def test_the_rig_file_says_runtime_and_precision() -> None:
    rig = parse_rig(
        {"camera": {"cam1": {"kind": "synthetic"}}, "engine": {"runtime": "auto"}}, "rig"
    )
    assert rig.engine.precision is None
    with pytest.raises(UserError, match=r"engine\.precision"):
        parse_rig(
            {"camera": {"cam1": {"kind": "synthetic"}}, "engine": {"precision": "int4"}}, "rig"
        )


# --- files that are wrong ------------------------------------------------------------------------


def cut(model: bytes) -> bytes:
    return model[: len(model) // 2]


def edited(change: Callable[[onnx.ModelProto], object]) -> Callable[[bytes], bytes]:
    def apply(model: bytes) -> bytes:
        loaded = onnx.load_from_string(model)
        change(loaded)
        data: bytes = loaded.SerializeToString()
        return data

    return apply


def open_sides(model: onnx.ModelProto) -> None:
    for number, size in enumerate(model.graph.input[0].type.tensor_type.shape.dim):
        size.Clear()
        size.dim_param = f"side{number}"


def rename(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "soft"


@pytest.mark.parametrize("runtime", CPU_RUNTIMES)
@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (cut, "cannot load it"),
        (lambda _: b"not a network", "cannot load it"),
        (edited(open_sides), "open dimensions"),
        (edited(rename), "export the bundle again"),
    ],
    ids=["cut", "text", "open", "names"],
)
def test_a_wrong_network_is_refused_in_one_line(
    net: Path, tmp_path: Path, damage: Callable[[bytes], bytes], what: str, runtime: str
) -> None:
    folder = Path(shutil.copytree(net, tmp_path / "net"))
    path = folder / "model.onnx"
    path.write_bytes(damage(path.read_bytes()))
    sign(folder)
    with pytest.raises(UserError) as caught:
        make_engine(load_bundle(folder), runtime)
    message = str(caught.value)
    assert str(path) in message
    assert what in message
    assert "\n" not in message


# --- INT8 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("x86_64", {"avx2"}, True),
        ("AMD64", {"avx2", "avx512f", "avx512bw"}, True),
        ("x86_64", {"avx2", "avx_vnni"}, False),
        ("x86_64", {"avx2", "avx512_vnni"}, False),
        ("aarch64", {"asimd"}, False),
        ("AMD64", None, False),
    ],
)
def test_bytes_saturate_without_vnni(machine: str, flags: set[str] | None, expected: bool) -> None:
    assert cpu.saturates(machine, flags) is expected


def weights(folder: Path) -> np.ndarray:
    """The largest weight of each quantised tensor."""
    model = onnx.load(folder / INT8_CPU)
    tensors = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    found = [t for n, t in tensors.items() if t.dtype == np.int8 and t.ndim == 4]
    assert found
    return np.array([np.abs(t.astype(int)).max() for t in found])


def test_int8_is_written_checked_and_run(quantised: Path, net: Path, video: Path) -> None:
    bundle = load_bundle(quantised)
    told = bundle.about["int8"]
    assert told["reduced_range"] is False
    assert set(told["files"]) == {INT8_CPU, INT8_TENSORRT}
    assert told["made_by"] == {"mouse": 50}
    for of in told["files"].values():
        assert of["shift_px"]["mouse"]["frames"] == 50
        assert 0 < of["shift_px"]["mouse"]["p99"] <= LIMIT_PX
    judged = told["files"][INT8_CPU]["bf16_px"]
    if HAVE_OPENVINO and HAVE_BF16:
        assert told["with_bf16"] is (judged["mouse"]["p99"] <= LIMIT_PX) is True
    else:
        assert not judged
        assert told["with_bf16"] is False
    assert (weights(quantised) > 64).all()
    seen = split(watch(load_bundle(net), {"mouse": [video]})["mouse"])[1]
    moved = shift_of(make_engine(bundle, "onnxruntime", 1, "int8"), seen, bundle.sure)
    assert moved.p99 == pytest.approx(told["files"][INT8_CPU]["shift_px"]["mouse"]["p99"], abs=0.05)
    exact = shift_of(make_engine(bundle, "onnxruntime"), seen, bundle.sure)
    assert exact.max < 1e-3


@needs_openvino
@pytest.mark.parametrize("kind", ["one", "padded", "3x3", "three", "none"])
def test_only_a_last_product_of_pixels_is_set_apart(kind: str) -> None:
    import openvino as ov
    from openvino import opset13 as ops

    from rtface.engine.openvino import _parted

    rng = np.random.default_rng(0)
    picture = ops.parameter([1, 3, 5, 7], np.float32)
    x = ops.relu(picture)
    size, pad = (3, 0) if kind == "3x3" else (1, int(kind == "padded"))
    maps = [
        ops.convolution(
            x,
            rng.normal(size=(2, 3, size, size)).astype(np.float32),
            [1, 1],
            [pad] * 2,
            [pad] * 2,
            [1, 1],
        )
        for _ in range({"three": 3, "none": 0}.get(kind, 1))
    ]
    model = ov.Model([ops.result(ops.concat(maps, 1) if maps else x)], [picture])
    parts = _parted(model)
    assert len(parts) == (2 if kind == "one" else 1)
    seen = rng.normal(size=(1, 3, 5, 7)).astype(np.float32)
    answer = expected = seen
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    for part in parts:
        answer = ov.Core().compile_model(part, "CPU", exact)(answer)[0]
    expected = ov.Core().compile_model(model, "CPU", exact)(expected)[0]
    np.testing.assert_allclose(answer, expected, atol=1e-5)


def test_what_is_enlarged_by_a_convolution_stays_in_float(tmp_path: Path) -> None:
    """Facemap's shape with every layer in 8 bits, in both runtimes, its head beside BF16."""
    pytest.importorskip("onnxruntime.quantization")
    from rtface.quantize.graphs import Quantizer

    bundle = import_weights(ROOT / "tests" / "data" / "fmnet_small.pt", tmp_path / "small")
    images, scales, shifts, expected = bundle.reference()
    feeds = [
        {"image": i, "scale": np.array(a), "shift": np.array(b)}
        for i, a, b in zip(images, scales, shifts, strict=True)
    ]
    quantizer = Quantizer(bundle.onnx, iter(feeds))
    assert len(quantizer.layers) == 13
    assert sum(quantizer.layers.values()) < quantizer.multiplications
    for model in (quantizer.for_cpu(quantizer.layers), quantizer.for_tensorrt(quantizer.layers)):
        graph = onnx.load_from_string(model).graph
        tensors = {one.name: one.data_type for one in graph.initializer}
        enlarging = [node for node in graph.node if node.op_type == "ConvTranspose"]
        assert [tensors[node.input[1]] for node in enlarging] == [TensorProto.FLOAT] * 2
        (tmp_path / "small" / "model.onnx").write_bytes(model)
        engines: list[Engine] = [OnnxEngine(bundle)]
        if HAVE_OPENVINO:
            from rtface.engine.openvino import OpenVinoEngine

            engines.append(OpenVinoEngine(bundle, precision="bf16" if HAVE_BF16 else "fp32"))
        for engine in engines:
            found = engine.infer(images[0], float(scales[0]), float(shifts[0]))
            assert np.isfinite(found).all()
            # of weights that nobody trained peaks lie anywhere, but are as high
            assert np.abs(found[:, 2] - expected[0][:, 2]).max() < 0.1


@pytest.mark.parametrize(
    ("refusals", "least", "layers"), [(0, 0.75, 3), (1, 0.5, 2), (1, 0.75, 3), (9, 0.5, 3)]
)
def test_layers_go_back_to_float_until_bf16_may_stand_beside(
    net: Path,
    video: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refusals: int,
    least: float,
    layers: int,
) -> None:
    """With a few layers less, if that helps; with as many as INT8 alone allows, if not."""
    asked: list[bytes] = []

    def judge(chooser: Any, model: bytes) -> tuple[dict[str, Shift], bool]:
        if chooser.file != INT8_CPU:
            return {}, False
        asked.append(model)
        holds = len(asked) > refusals
        return {"mouse": Shift(0.1, 0.4 if holds else 0.6, 1.0, 1.0, 100, 50)}, holds

    monkeypatch.setattr("rtface.quantize._Chooser._in_bf16", judge)
    monkeypatch.setattr("rtface.quantize.LEAST_WITH_BF16", least)
    made, _ = quantize(load_bundle(net), {"mouse": [video]}, tmp_path / "out", False)
    assert made.layers == layers
    fewer = layers == 2
    assert made.model == asked[int(fewer)]
    told = load_bundle(tmp_path / "out").about["int8"]
    assert told["with_bf16"] is (fewer or not refusals)


@needs_openvino
def test_int8_with_bf16_is_both_or_refused(quantised: Path, net: Path, tmp_path: Path) -> None:
    bundle = load_bundle(quantised)
    with pytest.raises(NotHere, match="no INT8 network"):
        make_engine(load_bundle(net), "openvino", 1, "int8-bf16")
    if not HAVE_BF16:
        with pytest.raises(NotHere, match="not made and judged with BF16"):
            make_engine(bundle, "openvino", 1, "int8-bf16")
        return
    image, scale, shift, _ = (part[0] for part in bundle.reference())
    precisions = ("int8-bf16", "int8", "bf16")
    found = [
        make_engine(bundle, "openvino", 1, one).infer(image, scale, shift) for one in precisions
    ]
    assert np.abs(found[0] - found[1]).max() > 1e-3
    assert np.abs(found[0] - found[2]).max() > 1e-3
    # as made on a machine that could not judge it
    shutil.copytree(quantised, tmp_path / "other")
    manifest = tmp_path / "other" / "model.json"
    about = json.loads(manifest.read_text())
    about["int8"]["with_bf16"] = False
    manifest.write_text(json.dumps(about))
    with pytest.raises(NotHere, match=r"not made and judged with BF16.*quantize"):
        make_engine(load_bundle(tmp_path / "other"), "openvino", 1, "int8-bf16")


@needs_openvino
def test_int8_in_openvino_is_that_of_onnx_runtime(quantised: Path, video: Path) -> None:
    bundle = load_bundle(quantised)
    seen = watch(bundle, {"mouse": [video]})["mouse"]
    moved = shift_of(make_engine(bundle, "openvino", 1, "int8"), seen, bundle.sure)
    assert 0 < moved.p99 <= LIMIT_PX


def test_the_graph_for_tensorrt_has_what_it_reads(quantised: Path) -> None:
    """Signed bytes with zero points of zero, nothing but convolutions, biases in float."""
    model = onnx.load(quantised / INT8_TENSORRT)
    tensors = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    source = {out: node for node in model.graph.node for out in node.output}
    users: dict[str, list[str]] = {}
    for node in model.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node.op_type)
    pairs = [n for n in model.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert pairs
    for node in pairs:
        zero = tensors[node.input[2]]
        assert zero.dtype == np.int8
        assert not zero.any()
        if node.op_type == "DequantizeLinear":
            assert set(users[node.output[0]]) == {"Conv"}
    convolutions = [n for n in model.graph.node if n.op_type == "Conv"]
    assert all(n.input[2] in tensors for n in convolutions if len(n.input) > 2)
    quantised_ones = [n for n in convolutions if n.input[0] in source]
    assert any(source[n.input[0]].op_type == "DequantizeLinear" for n in quantised_ones)
    head = next(n for n in convolutions if n.name == "head")
    assert head.input[1] in tensors  # in float


def test_reduced_range_fits_into_sixteen_bits(
    net: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a processor without VNNI: 7-bit weights by themselves, and 8-bit ones are refused."""
    monkeypatch.setattr(cpu, "flags", lambda: frozenset({"avx2"}))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    quantize(load_bundle(net), {"mouse": [video]}, tmp_path / "net")
    largest = weights(tmp_path / "net")
    assert (largest * 255 * 2 < 2**15).all()
    bundle = load_bundle(tmp_path / "net")
    assert bundle.about["int8"]["reduced_range"] is True
    make_engine(bundle, "onnxruntime", 1, "int8")
    bundle.about["int8"]["reduced_range"] = False
    with pytest.raises(NotHere, match="needs VNNI"):
        make_engine(bundle, "onnxruntime", 1, "int8")


def test_int8_that_moves_keypoints_is_refused(tmp_path: Path) -> None:
    """Of noise, where keypoints jump between cells of almost the same height."""
    jumpy = convolutional(tmp_path / "jumpy", sharpness=30.0)
    path = tmp_path / "noise.mkv"
    rng = np.random.default_rng(0)
    write(path, "ffv1", "gray", list(rng.integers(0, 256, (60, 96, 128), np.uint8)))
    with pytest.raises(UserError, match=r"INT8 is refused: keypoints move by [\d.]+ px or more"):
        quantize(load_bundle(jumpy), {"noise": [path]}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_noise_is_no_recording_to_quantise_by(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "noise.mkv"
    write(path, "ffv1", "gray", list(rng.integers(0, 256, (25, 96, 128), np.uint8)))
    done = rtface("model", "quantize", "--video", path, "--out", tmp_path / "out")
    line = one_line(done)
    assert "noise.mkv: has 0 frames with a face of 25" in line
    assert "recording of your own mouse" in line
    assert not (tmp_path / "out").exists()


def test_quantise_writes_where_it_is_told(net: Path, video: Path, tmp_path: Path) -> None:
    done = rtface("model", "quantize", net, "--video", video, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert f"{INT8_CPU}: " in done.stdout
    assert "px (p99 of the worst recording, 50 other frames" in done.stdout
    assert load_bundle(tmp_path / "out").name == "small"
    assert INT8_CPU not in load_bundle(net).about["sha256"]


def test_damaged_or_undescribed_int8_is_refused(quantised: Path, tmp_path: Path) -> None:
    for name in (INT8_CPU, INT8_TENSORRT):
        folder = Path(shutil.copytree(quantised, tmp_path / name))
        (folder / name).write_bytes((folder / name).read_bytes()[:-1])
        with pytest.raises(UserError, match=f"{name}: damaged"):
            load_bundle(folder)
    about = json.loads((quantised / "model.json").read_text())
    del about["int8"]
    folder = Path(shutil.copytree(quantised, tmp_path / "without"))
    (folder / "model.json").write_text(json.dumps(about))
    with pytest.raises(UserError, match=r"model.json: int8: missing"):
        load_bundle(folder)


def test_parts_of_a_recording_make_or_judge() -> None:
    n = 100
    numbers = np.arange(n, dtype=np.float32)
    seen = Seen(np.zeros((n, 1, 1)), numbers, numbers, np.zeros((n, 3, 3), np.float32), numbers)
    made_by, judged_by = split(seen)
    assert not set(made_by.scales) & set(judged_by.scales)
    assert len(made_by.scales) == len(judged_by.scales) == n // 2
    assert list(made_by.scales[:11]) == [*range(10), 20]


# --- commands ------------------------------------------------------------------------------------


def test_verify_tries_every_runtime(net: Path) -> None:
    done = rtface("model", "verify", net)
    assert done.returncode == 0, done.stderr
    assert "onnxruntime fp32   2 reference frames" in done.stdout
    assert "onnxruntime int8   not here" in done.stdout
    assert ("openvino fp32      2 reference frames" in done.stdout) is HAVE_OPENVINO
    assert "use one of onnxruntime" in one_line(rtface("model", "verify", net, "--runtime", "x"))
    assert "use one of fp32, int8" in one_line(
        rtface("model", "verify", net, "--runtime", "onnxruntime", "--precision", "bf16")
    )
    asked = rtface("model", "verify", net, "--runtime", "onnxruntime", "--precision", "int8")
    assert "has no INT8 network" in one_line(asked)


def test_bench_prints_a_table(quantised: Path) -> None:
    done = rtface("model", "bench", quantised, "--seconds", "0.05")
    assert done.returncode == 0, done.stderr
    rows = {line[:20].strip(): line[20:].split() for line in done.stdout.splitlines()[2:]}
    assert set(rows) == {f"{r} {p}" for r, kinds in RUNTIMES.items() for p in kinds}
    for label in ("onnxruntime fp32", "onnxruntime int8"):
        p50, p99, whole_p50, whole_p99, shift = map(float, rows[label])
        assert 0 < p50 <= p99
        assert p50 < whole_p50 <= whole_p99
        assert (shift > 0) is label.endswith("int8")
    assert rows["tensorrt fp16"][0] == "not:"


# --- the shipped network on real frames ----------------------------------------------------------


def test_the_shipped_network_has_int8_within_the_limit() -> None:
    files = load_bundle("default").about["int8"]["files"]
    p99s = [
        shift["p99"]
        for of in files.values()
        for shifts in (of["shift_px"], of["bf16_px"])
        for shift in shifts.values()
    ]
    assert len(p99s) == 9
    assert max(p99s) <= LIMIT_PX


def test_keypoints_stay_on_real_frames(data: Path) -> None:
    bundle = load_bundle("default")
    seen = watch(bundle, {"clip": [data / "facemap_g7c1" / "cam1_G7c1_1_1second.avi"]})["clip"]
    limits = {"fp32": 1e-3, "bf16": 0.3, "int8": LIMIT_PX, "int8-bf16": LIMIT_PX}
    for runtime in ("onnxruntime", "openvino"):
        for precision in RUNTIMES[runtime]:
            try:
                engine = make_engine(bundle, runtime, 1, precision)
            except NotHere:
                continue
            assert shift_of(engine, seen, bundle.sure).p99 <= limits[precision], precision
