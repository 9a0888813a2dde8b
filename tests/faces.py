"""Faces whose place is known, and networks that see them: one told, one that looks."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from rtface.face import CROP, FaceFinder
from rtface.types import BBox, Float32Array, Pose, UInt8Image

SHAPE = (480, 640)
INPUT = (192, 256)
NAMES = ("eye(back)", "eye(bottom)", "eye(front)", "eye(top)", "mouth", "nose(tip)")


class Mouse:
    """A face that looks right, and a network that sees it at about the right size.

    Parameters
    ----------
    x, y : float
        Middle of the eye, px of the frame.
    muzzle : float
        From there to the nose, px.
    """

    def __init__(self, x: float, y: float, muzzle: float, shape: tuple[int, int] = SHAPE) -> None:
        self.x, self.y, self.muzzle, self.shape = x, y, muzzle, shape
        self.hidden = False
        self.noise = np.random.default_rng(0)
        self.jitter = 0.0

    def points(self) -> Float32Array:
        m = self.muzzle
        relative = [[-0.15, 0], [0, 0.1], [0.15, 0], [0, -0.1], [0.7, 0.5], [0.96, 0.28]]
        return np.float32([self.x, self.y]) + m * np.float32(relative)

    def wanted(self) -> BBox:
        """The crop as it ought to be, in px that are not whole."""
        eye, nose = np.array([self.x, self.y]), self.points()[-1]
        x, y = eye + CROP.along * (nose - eye) + [0, CROP.down * self.muzzle]
        width, height = 2 * self.muzzle, 1.5 * self.muzzle
        return BBox(x - (width - 1) / 2, y - (height - 1) / 2, width, height)  # type: ignore[arg-type]

    def seen_in(self, box: BBox) -> Pose:
        points = self.points()
        scale = max(box.width / INPUT[1], box.height / INPUT[0])
        points += self.noise.normal(0, self.jitter * scale, points.shape).astype(np.float32)
        low = np.maximum([box.x, box.y], 0)
        high = np.minimum([box.x + box.width, box.y + box.height], self.shape[::-1])
        inside = ((points >= low) & (points < high)).all(1)
        sized = 64 <= self.muzzle / scale <= 220
        score = np.where(inside & sized & (not self.hidden), 0.9, 0.1)
        return Pose(np.concatenate([points, score[:, None]], 1).astype(np.float32), box)


def finder(follow: bool = True, box: BBox | None = None, rate_hz: float = 100.0) -> FaceFinder:
    return FaceFinder(SHAPE, NAMES, INPUT, follow=follow, box=box, rate_hz=rate_hz)


def watch(eyes: FaceFinder, mouse: Mouse, n: int, frames: int = 1) -> list[BBox]:
    """Let n frames pass; return the box of each."""
    boxes = []
    for _ in range(n):
        boxes.append(eyes.box)
        eyes.update(mouse.seen_in(eyes.box), frames)
        assert eyes.box.width > 0
        assert eyes.box.height > 0
    return boxes


# a bright square is the face of the pictures; in sides of it from its middle: back, front, nose
SQUARE_NAMES = ["eye(back)", "eye(front)", "nose(tip)"]
SQUARE_FACE = np.float32([[-0.8, 0], [-0.4, 0], [0.6, 0.1]])
#: sides in which the network knows it, px of the input
SQUARE_SIZES = 30.0, 170.0


def square(
    x: float, y: float, side: int, shape: tuple[int, int] = SHAPE, dtype: type = np.uint8
) -> np.ndarray:
    """A picture of a square with its middle at x, y."""
    image = np.zeros(shape, dtype)
    left, top = round(x - (side - 1) / 2), round(y - (side - 1) / 2)
    bits = 8 * np.dtype(dtype).itemsize
    image[max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)] = 2**bits - 1
    return image


class SquareEngine:
    """Sees the square by its pixels."""

    names = tuple(SQUARE_NAMES)
    input_shape = INPUT

    def infer(self, image: UInt8Image, scale: float, shift: float) -> Float32Array:
        bright = image * np.float32(scale) + np.float32(shift) > 0.5
        area = int(bright.sum())
        y, x = np.nonzero(bright)
        middle = [x.mean(), y.mean()] if area else [0.0, 0.0]
        side = np.sqrt(area)
        points = np.array(middle) + side * SQUARE_FACE
        known = SQUARE_SIZES[0] < side < SQUARE_SIZES[1] and x.std() < 0.35 * side
        return np.concatenate([points, np.full((3, 1), 0.9 if known else 0.1)], 1).astype("<f4")


def make_square_bundle(folder: Path, crop: bool = True) -> Path:
    """Write a bundle that sees the square; a real ONNX network, of 64x48 px."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, columns = np.mgrid[0:48, 0:64].astype(np.float32)
    least, most = ((side / 4) ** 2 for side in SQUARE_SIZES)  # of an input of a quarter
    face = np.concatenate([SQUARE_FACE, np.zeros((3, 1), np.float32)], 1)
    constants = {
        "half": np.float32(0.5),
        "one": np.float32(1),
        "rows": rows,
        "columns": columns,
        "least": np.float32(least),
        "most": np.float32(most),
        "face": face,
        "x_only": np.float32([1, 0, 0]),
        "y_only": np.float32([0, 1, 0]),
        "score_only": np.float32([0, 0, 0.9]),
    }
    steps = [
        ("Cast", ["image"], "x0"),
        ("Mul", ["x0", "scale"], "x1"),
        ("Add", ["x1", "shift"], "x2"),
        ("Greater", ["x2", "half"], "lit"),
        ("Cast", ["lit"], "mask"),
        ("ReduceSum", ["mask"], "area"),
        ("Max", ["area", "one"], "n"),
        ("Mul", ["mask", "columns"], "mx"),
        ("ReduceSum", ["mx"], "sx"),
        ("Div", ["sx", "n"], "cx"),
        ("Mul", ["mask", "rows"], "my"),
        ("ReduceSum", ["my"], "sy"),
        ("Div", ["sy", "n"], "cy"),
        ("Sqrt", ["area"], "side"),
        ("Mul", ["face", "side"], "about"),
        ("Mul", ["cx", "x_only"], "at_x"),
        ("Mul", ["cy", "y_only"], "at_y"),
        ("Greater", ["area", "least"], "enough"),
        ("Less", ["area", "most"], "not_all"),
        ("And", ["enough", "not_all"], "known"),
        ("Cast", ["known"], "sure"),
        ("Mul", ["sure", "score_only"], "score"),
        ("Add", ["about", "at_x"], "p1"),
        ("Add", ["p1", "at_y"], "p2"),
        ("Add", ["p2", "score"], "keypoints"),
    ]
    nodes = []
    for kind, inputs, output in steps:
        more = {"Cast": {"to": TensorProto.FLOAT}, "ReduceSum": {"keepdims": 0}}.get(kind, {})
        nodes.append(helper.make_node(kind, inputs, [output], **more))
    graph = helper.make_graph(
        nodes,
        "square",
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, [48, 64]),
            helper.make_tensor_value_info("scale", TensorProto.FLOAT, []),
            helper.make_tensor_value_info("shift", TensorProto.FLOAT, []),
        ],
        [helper.make_tensor_value_info("keypoints", TensorProto.FLOAT, [3, 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    session = ort.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    image = square(32, 24, 20, (48, 64))[None]
    scale, shift = np.full(1, 1 / 255, np.float32), np.zeros(1, np.float32)
    feed = {"image": image[0], "scale": np.array(scale[0]), "shift": np.array(shift[0])}
    keypoints = np.stack(session.run(None, feed))
    arrays = {"image": image, "scale": scale, "shift": shift, "keypoints": keypoints}
    np.savez_compressed(folder / "reference.npz", **arrays)
    files = ("model.onnx", "reference.npz")
    manifest = {
        "format": 1,
        "name": "square",
        "keypoints": SQUARE_NAMES,
        "input": {"height": 48, "width": 64},
        "sha256": {f: hashlib.sha256((folder / f).read_bytes()).hexdigest() for f in files},
    }
    if crop:
        manifest["crop"] = {**CROP._asdict(), "muzzle_px": 32.0}
    (folder / "model.json").write_text(json.dumps(manifest))
    return folder
