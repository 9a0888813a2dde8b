"""rtface model list, info and verify, and everything that is wrong with a bundle."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from test_cli import one_line, rtface

from rtface.bundles import card, list_bundles, models_dir, verify
from rtface.engine.bundle import load_bundle
from rtface.types import UserError


@pytest.fixture
def net(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "net"))


@pytest.fixture(autouse=True)
def no_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RTFACE_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def sign(folder: Path) -> None:
    """Write the hashes of the files as they are now."""
    about = json.loads((folder / "model.json").read_text())
    about["sha256"] = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in about["sha256"]
    }
    (folder / "model.json").write_text(json.dumps(about))


def reference(**changes: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        with np.load(folder / "reference.npz") as data:
            arrays = {key: changes.get(key, np.asarray)(value) for key, value in data.items()}
        np.savez_compressed(folder / "reference.npz", **arrays)
        sign(folder)

    return apply


def graph(change: Callable[[onnx.ModelProto], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        model = onnx.load(folder / "model.onnx")
        change(model)
        onnx.save(model, folder / "model.onnx")
        sign(folder)

    return apply


def no_number(value: float, name: str) -> Callable[[onnx.ModelProto], object]:
    def apply(model: onnx.ModelProto) -> None:
        (tensor,) = [one for one in model.graph.initializer if one.name == name]
        values = numpy_helper.to_array(tensor).copy()
        values.flat[0] = value
        tensor.CopyFrom(numpy_helper.from_array(values, name))

    return apply


def input_side(n: int) -> Callable[[onnx.ModelProto], object]:
    def apply(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = n

    return apply


def alter(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes() + b"x") and None


def about(**changes: object) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        told = json.loads((folder / "model.json").read_text()) | changes
        (folder / "model.json").write_text(json.dumps(told))

    return apply


FAULTS = {
    "no_manifest": (lambda folder: (folder / "model.json").unlink(), "model.json", "no such file"),
    "no_network": (lambda folder: (folder / "model.onnx").unlink(), "model.onnx", "No such file"),
    "no_frames": (lambda folder: (folder / "reference.npz").unlink(), "reference", "No such file"),
    "altered_network": (alter("model.onnx"), "model.onnx", "damaged"),
    "altered_frames": (alter("reference.npz"), "reference.npz", "damaged"),
    "opset": (
        graph(lambda model: setattr(model.opset_import[0], "version", 99)),
        *("model.onnx", "uses opset 99, which ONNX Runtime"),
    ),
    "older_opset": (
        graph(lambda model: setattr(model.opset_import[0], "version", 5)),
        *("model.onnx", "cannot load it"),
    ),
    "format": (
        graph(lambda model: setattr(model, "ir_version", 99)),
        *("model.onnx", "uses version 99 of ONNX files"),
    ),
    "nan": (graph(no_number(np.nan, "base")), "model.onnx", "base: has weights that are not"),
    "inf": (graph(no_number(np.inf, "small")), "model.onnx", "small: has weights that are not"),
    "other_input": (graph(input_side(50)), "model.onnx", "does not run"),
    "fewer_names": (about(keypoints=["a", "b"]), "model.onnx", "names 2"),
    "dtype": (
        about(input={"height": 48, "width": 64, "dtype": "int8"}),
        "model.json",
        "input.dtype",
    ),
    "float": (
        about(input={"height": 48, "width": 64, "dtype": "float32"}),
        "model.onnx",
        "not run",
    ),
    "normalisation": (about(normalisation="other"), "model.json", "normalisation"),
    "frames_shape": (reference(image=lambda a: a[:, 1:]), "reference.npz", "shapes"),
    "frames_type": (reference(image=lambda a: a.astype(np.float32)), "reference.npz", "float32"),
    "answers_shape": (reference(keypoints=lambda a: a[:, 1:]), "reference.npz", "shapes"),
    "scales_shape": (reference(scale=lambda a: a[1:]), "reference.npz", "shapes"),
    "no_answers": (
        reference(**dict.fromkeys(("image", "scale", "shift", "keypoints"), lambda a: a[:0])),
        *("reference.npz", "shapes"),
    ),
    "moved": (reference(keypoints=lambda a: a + np.float32([1, 0, 0])), "net", "moves keypoints"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_verify_says_what_is_wrong_in_one_line(net: Path, name: str) -> None:
    fault, where, said = FAULTS[name]
    fault(net)
    with pytest.raises(UserError) as caught:
        verify(net)
    message = str(caught.value)
    assert str(net) in message
    assert where in message
    assert said in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["altered_network", "opset", "nan"])
def test_the_command_ends_with_2(net: Path, name: str) -> None:
    fault, _, said = FAULTS[name]
    fault(net)
    assert said in one_line(rtface("model", "verify", net))


def test_nan_weights_are_noticed_without_onnx(net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FAULTS["nan"][0](net)
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(UserError, match="gives keypoints that are not finite"):
        verify(net)


def test_verify_measures(net: Path) -> None:
    found = verify(net)
    assert found.frames == 2
    assert found.shift_px < 1e-4
    assert found.score_change < 1e-5
    assert 0 < found.ms_per_frame < 1000
    reference(keypoints=lambda a: a + np.float32([0, 0.25, 0]))(net)
    assert verify(net).shift_px == pytest.approx(0.25, abs=1e-4)


def test_verify_tries_the_shipped_bundle() -> None:
    done = rtface("model", "verify")
    assert done.returncode == 0, done.stderr
    assert "largest shift 0.0" in done.stdout
    assert "ms per frame" in done.stdout


def test_info_prints_the_card(net: Path) -> None:
    shipped = dict(card(load_bundle("default")))
    assert shipped["licence"] == "BSD-3-Clause"
    assert shipped["sha256"] == load_bundle("default").sha256
    assert any(key.startswith("score, ") for key in shipped)
    lines = rtface("model", "info", net).stdout
    for said in ("tiny", "3: eye(back), eye(front), nose(tip)", "64x48 px, uint8", "not said"):
        assert said in lines
    assert "no such file" in one_line(rtface("model", "info", net.parent))


@pytest.mark.parametrize(
    "told",
    [
        {"training": "long"},
        {"training": [1], "scores": [1]},
        {
            "scores": {
                "a": 1,
                "b": {"c": 2, "d": {"rows": 3}, "e": {"rows": [4, {"error_px": "x"}]}},
            }
        },
        {"training": {"a": {"b": 1}}, "licence": None},
    ],
)
def test_info_prints_what_others_wrote(net: Path, told: dict[str, object]) -> None:
    about(**told)(net)
    assert all(isinstance(text, str) and "\n" not in text for _, text in card(load_bundle(net)))


def test_list_finds_the_shipped_ones_own_and_given(net: Path, no_models: Path) -> None:
    assert [entry.folder.name for entry in list_bundles()] == ["default"]
    shutil.copytree(net, no_models / "mine")
    shutil.copytree(net, no_models / "broken")
    (no_models / "broken" / "model.onnx").write_bytes(b"")
    (no_models / "other").mkdir()
    found = list_bundles([net, net.parent])  # the same one twice is one
    assert [entry.folder.name for entry in found] == ["default", "broken", "mine", "net"]
    assert found[1].bundle is None
    assert "damaged" in found[1].fault
    lines = rtface("model", "list", net).stdout.splitlines()
    assert len(lines) == 4
    assert "mouse-face-side" in lines[0]
    assert lines[1].startswith("(refused)")
    assert "no such folder" in one_line(rtface("model", "list", net / "none"))


def test_models_lie_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RTFACE_MODELS")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert models_dir() == tmp_path / ".rtface" / "models"


def test_help_of_the_group() -> None:
    text = rtface("model", "--help").stdout
    for command in ("list", "info", "verify", "import", "fetch"):
        assert f" {command} " in text
    assert " model " in rtface("--help").stdout
