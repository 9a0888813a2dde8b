"""Facemap's network and its decoding as one ONNX graph, written from weights without torch.

Normalisation after a convolution becomes part of it. That before the first convolution of a block
cannot: pooling, joining or the zeros around the picture come between. It stays a factor and an
addend per channel.

Where a block enlarges and joins, its first convolution is two that are added: of what lies beside,
and of what would be enlarged, as it is. A 3x3 kernel over a picture of which each value stands four
times sees 2x2 values, so a transposed convolution of 4x4 does with 4/9 of the multiplications.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from rtface.facemap.weights import HEADS, LEVELS, NORM, Weights, layers

OPSET = 17
#: the first format of files that has this opset: what reads the one reads the other
IR_VERSION = 8
#: (height, width) of the input, px; cells of the maps per side; px per cell; cells per offset unit
INPUT_SHAPE = (256, 256)
MAP, STRIDE, UNIT = 64, 4, 6
#: added to variances by the normalisation
EPSILON = 1e-5


def write_graph(weights: Weights) -> ModelProto:
    """Return the model: ``image`` (256, 256) float32, ``scale``, ``shift`` -> ``keypoints`` (K, 3).

    Keypoints are x, y in px of the input and Facemap's likelihood, 0.5 to 1.
    """
    graph = _Graph(weights)
    x = graph.add("Mul", "image", "scale")
    x = graph.add("Add", x, "shift")
    x = graph.add("Reshape", x, graph.constant(np.array([1, 1, *INPUT_SHAPE], np.int64)))
    levels = [graph.block("Conv.conv0", graph.norm("Conv.conv0", x))]
    for level in range(1, LEVELS):
        name = f"Conv.conv{level}"
        x = graph.add("MaxPool", levels[-1], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
        levels.append(graph.block(name, graph.add("Relu", graph.norm(name, x))))
    x = levels[-1]
    for k, beside in enumerate((levels[3], levels[2])):
        name = f"Up_conv.upconv{k}"
        n = weights.channels[4 - k]
        low = graph.add("Relu", graph.norm(name, x, slice(None, n)))
        high = graph.add("Relu", graph.norm(name, beside, slice(n, None)))
        x = graph.block(name, high, (low, n))
    graph.decode(x)
    k = weights.n_keypoints
    numbers = TensorProto.FLOAT
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "FMnet",
            [
                helper.make_tensor_value_info("image", numbers, list(INPUT_SHAPE)),
                helper.make_tensor_value_info("scale", numbers, []),
                helper.make_tensor_value_info("shift", numbers, []),
            ],
            [helper.make_tensor_value_info("keypoints", numbers, [k, 3])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="rtface",
    )
    return model


class _Graph:
    """Nodes and constants as they are added; every result is called by its number."""

    def __init__(self, weights: Weights) -> None:
        self._weights = weights
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node and return its output's name."""
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, value: np.ndarray) -> str:
        """Add a constant and return its name; float64 becomes float32."""
        name = f"c{len(self.constants)}"
        if value.dtype == np.float64:
            value = value.astype(np.float32)
        self.constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def norm(self, block: str, x: str, channels: slice = slice(None)) -> str:
        """Add the normalisation before a block, of some of its channels."""
        factor, addend = self._affine(layers(block)[0][0])
        x = self.add("Mul", x, self.constant(factor[channels, None, None]))
        return self.add("Add", x, self.constant(addend[channels, None, None]))

    def block(self, name: str, x: str, low: tuple[str, int] | None = None) -> str:
        """Add both convolutions of a block, after its first normalisation.

        ``low``, half as large, is joined once enlarged: so many channels, the first of all.
        """
        (_, first), (norm, second) = layers(name)
        factor, addend = self._affine(norm)
        tensors = self._weights.tensors
        weight = tensors[f"{first}.weight"] * factor[:, None, None, None]
        if low:
            small, n = low
            x = self._convolution(x, weight[:, n:], addend)
            x = self.add("Add", x, self._of_enlarged(small, weight[:, :n]))
        else:
            x = self._convolution(x, weight, addend)
        return self._convolution(self.add("Relu", x), tensors[f"{second}.weight"])

    def _of_enlarged(self, low: str, weight: np.ndarray) -> str:
        """Add a convolution of a picture with rows and columns doubled, without doubling them.

        Seen from a pixel of ``low``, that is a kernel of 4x4: 3x3 over 2x2.
        """
        a, b, c = (weight[:, :, k] for k in range(3))
        tall = np.stack([c, b + c, a + b, a], 2)
        a, b, c = (tall[..., k] for k in range(3))
        kernel = np.stack([c, b + c, a + b, a], 3).transpose(1, 0, 2, 3)
        return self.add(
            "ConvTranspose",
            low,
            self.constant(kernel),
            kernel_shape=[4, 4],
            strides=[2, 2],
            pads=[1] * 4,
        )

    def decode(self, x: str) -> None:
        """Add the heads, the search for each heat map's peak, and its offsets: ``keypoints``."""
        k, cells = self._weights.n_keypoints, MAP * MAP
        heads = [f"Conv2_1x1.{head}" for head in HEADS]
        weight, bias = (
            np.concatenate([self._weights.tensors[f"{head}.{part}"] for head in heads])
            for part in ("weight", "bias")
        )
        maps = self.add("Conv", x, self.constant(weight), self.constant(bias), kernel_shape=[1, 1])
        maps = self.add("Reshape", maps, self.constant(np.array([3, k, cells], np.int64)))
        heat, rows, columns = (
            self.add("Gather", maps, self.constant(np.array(i, np.int64)), axis=0) for i in range(3)
        )
        heat = self.add("Relu", heat)
        best = self.add("ArgMax", heat, axis=1, keepdims=1)
        peak = self.add("GatherElements", heat, best, axis=1)
        side = self.constant(np.array(MAP, np.int64))
        down = self._cell("Div", best, side, rows)
        right = self._cell("Mod", best, side, columns)
        score = self.add("Sigmoid", peak)
        self.nodes.append(
            helper.make_node("Concat", [right, down, score], ["keypoints"], axis=1, name="points")
        )

    def _cell(self, kind: str, best: str, side: str, offsets: str) -> str:
        """Add the way from the best cell's row or column and its offset to px of the input."""
        cell = self.add("Cast", self.add(kind, best, side), to=TensorProto.FLOAT)
        offset = self.add("GatherElements", offsets, best, axis=1)
        offset = self.add("Mul", offset, self.constant(np.array(UNIT, np.float32)))
        cell = self.add("Sub", cell, offset)
        return self.add("Mul", cell, self.constant(np.array(STRIDE, np.float32)))

    def _convolution(self, x: str, weight: np.ndarray, bias: np.ndarray | None = None) -> str:
        inputs = [x, self.constant(weight)]
        if bias is not None:
            inputs.append(self.constant(bias))
        return self.add("Conv", *inputs, kernel_shape=[3, 3], pads=[1] * 4)

    def _affine(self, norm: str) -> tuple[np.ndarray, np.ndarray]:
        """Return what a normalisation multiplies by and then adds, (C,) float64 each."""
        weight, bias, mean, variance = (
            self._weights.tensors[f"{norm}.{part}"].astype(np.float64) for part in NORM
        )
        factor = weight / np.sqrt(variance + EPSILON)
        return factor, bias - mean * factor
