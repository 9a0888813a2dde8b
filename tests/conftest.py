"""Shared pieces: a ring directory of its own for every test, a tiny real network, free ports."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("RTFACE_DATA", ROOT.parent / "shared" / "data"))
TINY_NAMES = ["eye(back)", "eye(front)", "nose(tip)"]


@pytest.fixture(autouse=True)
def ring_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A ring directory in memory for this test alone."""
    root = "/dev/shm" if Path("/dev/shm").is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="rtface-test-", dir=root))
    folder.chmod(0o700)
    monkeypatch.setenv("RTFACE_RING_DIR", str(folder))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def data() -> Path:
    """The folder of real recordings."""
    if not DATA.is_dir():
        pytest.skip(f"no real recordings at {DATA}; set RTFACE_DATA")
    return DATA


def make_bundle(folder: Path, names: list[str] = TINY_NAMES) -> Path:
    """Write a bundle whose keypoints are (1, 2, score) plus the image mean."""
    folder.mkdir(parents=True, exist_ok=True)
    base = np.tile(np.float32([1, 2, 0.9]), (len(names), 1))
    base[:, 0] += np.arange(len(names)) * 10
    nodes = [
        helper.make_node("Cast", ["image"], ["x0"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x0", "scale"], ["x1"]),
        helper.make_node("Add", ["x1", "shift"], ["x2"]),
        helper.make_node("ReduceMean", ["x2"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "small"], ["moved"]),
        helper.make_node("Add", ["base", "moved"], ["keypoints"]),
    ]
    constants = {"base": base, "small": np.float32([0.1, 0.1, 0])}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, [48, 64]),
            helper.make_tensor_value_info("scale", TensorProto.FLOAT, []),
            helper.make_tensor_value_info("shift", TensorProto.FLOAT, []),
        ],
        [helper.make_tensor_value_info("keypoints", TensorProto.FLOAT, [len(names), 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    session = ort.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).integers(0, 256, (2, 48, 64), dtype=np.uint8)
    scale, shift = np.full(2, 1 / 255, np.float32), np.zeros(2, np.float32)
    keypoints = np.stack(
        [
            session.run(None, {"image": i, "scale": np.array(s), "shift": np.array(o)})[0]
            for i, s, o in zip(image, scale, shift, strict=True)
        ]
    )
    np.savez_compressed(
        folder / "reference.npz", image=image, scale=scale, shift=shift, keypoints=keypoints
    )
    write_manifest(folder, names)
    return folder


def write_manifest(folder: Path, names: list[str]) -> None:
    """Write model.json with the hashes of the files as they are now."""
    files = ("model.onnx", "reference.npz")
    manifest = {
        "format": 1,
        "name": "tiny",
        "keypoints": names,
        "skeleton": [[0, 1]],
        "input": {"height": 48, "width": 64},
        "normalisation": "percentile-1-99",
        "sha256": {f: hashlib.sha256((folder / f).read_bytes()).hexdigest() for f in files},
    }
    (folder / "model.json").write_text(json.dumps(manifest))


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real ONNX network that takes microseconds."""
    return make_bundle(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def wide_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with so many keypoints that a stream of them fills TCP's buffers in 1.5 s."""
    return make_bundle(tmp_path_factory.mktemp("wide"), [f"k{i}" for i in range(400)])


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Path:
    """A short lossless session of the synthetic mouse, with a remark, ended by Ctrl-C."""
    from programs import FFV1, SMALL, only_session, recorded_frames, running, wait_until

    import rtface

    folder = tmp_path_factory.mktemp("session")
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.setenv("RTFACE_RING_DIR", str(tmp_path_factory.mktemp("rings")))
        program = stack.enter_context(running(folder, tiny_bundle, SMALL, extra=FFV1))
        wait_until(lambda: recorded_frames(program) > 40, 20)
        control = f"tcp://127.0.0.1:{program.control}"
        assert rtface.ask("annotate", control, text="drop of milk")["ok"]
        wait_until(lambda: recorded_frames(program) > 120, 20)
        code, out, err = program.stop()
    assert code == 0, err
    assert "in the video" in out
    return only_session(folder)


def free_ports(n: int = 3) -> list[int]:
    """Return n TCP ports that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's Chromium."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is not installed")
        pytest.skip("chromium is not installed")
    with sync_playwright() as playwright:
        options = ["--no-sandbox"] if os.getuid() == 0 else []
        chromium = playwright.chromium.launch(executable_path=path, args=options)
        yield chromium
        chromium.close()
