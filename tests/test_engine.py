import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import make_bundle, write_manifest

from rtface.engine import make_engine
from rtface.engine.bundle import load_bundle
from rtface.types import UserError


@pytest.fixture
def copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "net"))


def test_engine_runs_the_network(tiny_bundle: Path) -> None:
    engine = make_engine(load_bundle(tiny_bundle), "onnxruntime")
    image = np.full(engine.input_shape, 100, np.uint8)
    keypoints = engine.infer(image, 0.02, -1.0)
    np.testing.assert_allclose(keypoints[0], [1.1, 2.1, 0.9], atol=1e-5)
    assert keypoints.shape == (3, 3)


def test_null_engine_has_the_bundle_s_keypoints(tiny_bundle: Path) -> None:
    engine = make_engine(load_bundle(tiny_bundle), "null")
    assert engine.infer(np.zeros((1, 1), np.uint8), 1, 0).shape == (3, 3)


def truncate(folder: Path) -> None:
    path = folder / "model.onnx"
    path.write_bytes(path.read_bytes()[:-20])


def flip_a_bit(folder: Path) -> None:
    path = folder / "reference.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def not_a_network(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"not a network")
    write_manifest(folder, ["eye(back)", "eye(front)", "nose(tip)"])


def wrong_names(folder: Path) -> None:
    write_manifest(folder, ["one", "two"])


def edit(**changes: object) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "model.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return apply


def drop(key: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "model.json"
        manifest = json.loads(path.read_text())
        del manifest[key]
        path.write_text(json.dumps(manifest))

    return apply


def moved_reference(folder: Path) -> None:
    with np.load(folder / "reference.npz") as data:
        arrays = dict(data)
    arrays["keypoints"][:, :, 0] += 1
    np.savez_compressed(folder / "reference.npz", **arrays)
    write_manifest(folder, ["eye(back)", "eye(front)", "nose(tip)"])


@pytest.mark.parametrize(
    ("damage", "where", "what"),
    [
        (truncate, "model.onnx", "damaged"),
        (flip_a_bit, "reference.npz", "damaged"),
        (not_a_network, "model.onnx", "cannot load"),
        (wrong_names, "model.onnx", "names 2"),
        (moved_reference, "net", "moves keypoints"),
        (edit(format=2), "model.json", "format"),
        (edit(input={"height": "x", "width": 1}), "model.json", "wrong contents"),
        (edit(input={"height": 50, "width": 64}), "model.onnx", "does not run"),
        (drop("keypoints"), "model.json", "keypoints: missing"),
        (lambda folder: (folder / "model.json").write_text("{"), "model.json", "cannot be read"),
        (lambda folder: (folder / "model.json").unlink(), "model.json", "no such file"),
        (lambda folder: (folder / "model.onnx").unlink(), "model.onnx", "No such file"),
    ],
)
def test_a_damaged_bundle_is_refused_in_one_line(
    copy: Path, damage: Callable[[Path], object], where: str, what: str
) -> None:
    damage(copy)
    with pytest.raises(UserError) as caught:
        make_engine(load_bundle(copy), "onnxruntime")
    message = str(caught.value)
    assert where in message
    assert what in message
    assert "\n" not in message


def test_a_bundle_made_now_is_accepted(tmp_path: Path) -> None:
    make_engine(load_bundle(make_bundle(tmp_path / "new")), "onnxruntime")


def test_the_shipped_bundle_reproduces_its_reference() -> None:
    bundle = load_bundle("default")
    engine = make_engine(bundle, "onnxruntime")
    assert len(set(bundle.names)) == len(bundle.names) == len(engine.names)
    assert all(0 <= i < len(bundle.names) for edge in bundle.skeleton for i in edge)
