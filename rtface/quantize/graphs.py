"""Two quantised graphs of one network, with ONNX Runtime's tools: for CPUs and for TensorRT.

Both have explicit Q/DQ pairs. For CPUs: activations of 8 bits without sign, weights with, whole
layers including what lies between convolutions. For TensorRT: signed and symmetric, convolutions
alone, biases in float, which is all that it reads.
"""

from __future__ import annotations

import io
import logging
import math
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.shape_inference import quant_pre_process

#: what others lie between; transposed ones stay in float: ONNX Runtime has none in 8 bits
CONVOLUTIONS = ("Conv", "ConvTranspose")
#: convolutions of fewer channels stay in float: they are no faster in 8 bits, and the picture
#: itself is not rounded twice
LEAST_CHANNELS = 4


class Quantizer:
    """A network with its layers' ranges, from which quantised graphs are written.

    Parameters
    ----------
    model : bytes
        The ONNX file.
    feeds : iterable of dict
        What the graph is given, to find the ranges of its activations.

    Attributes
    ----------
    layers : dict of str to int
        Convolutions that may be quantised, first to last, and how many multiplications each is;
        the head is not among them.
    multiplications : int
        Of all convolutions.
    """

    def __init__(self, model: bytes, feeds: Iterable[dict[str, np.ndarray]]) -> None:
        with tempfile.TemporaryDirectory() as folder, _quiet():
            whole, simple = Path(folder) / "whole.onnx", Path(folder) / "simple.onnx"
            whole.write_bytes(model)
            quant_pre_process(str(whole), str(simple), skip_symbolic_shape=True)
            self._model = onnx.load(str(simple))
            for number, node in enumerate(self._model.graph.node):
                node.name = node.name or f"node{number}"
            onnx.save(self._model, str(simple))
            self._read()
            self._ranges = self._calibrate(simple, feeds, Path(folder) / "more.onnx")

    def _read(self) -> None:
        """Find the convolutions, and what lies between which of them."""
        nodes = [node for node in self._model.graph.node if node.op_type != "Constant"]
        shapes = {one.name: list(one.dims) for one in self._model.graph.initializer}
        source = {out: node for node in nodes for out in node.output}
        users: dict[str, list[Any]] = {}
        for node in nodes:
            for name in node.input:
                users.setdefault(name, []).append(node)
        above = {
            node.name: [source[name] for name in node.input if name in source] for node in nodes
        }
        below = {
            node.name: [user for out in node.output for user in users.get(out, ())]
            for node in nodes
        }
        convolutions = [node for node in nodes if node.op_type in CONVOLUTIONS]
        places = {
            one.name: math.prod(size.dim_value for size in one.type.tensor_type.shape.dim[2:])
            for one in self._model.graph.value_info
        }
        costs = {
            node.name: math.prod(shapes.get(node.input[1], [0]))
            * places.get(node.output[0] if node.op_type == "Conv" else node.input[0], 1)
            for node in convolutions
        }
        self.multiplications = sum(costs.values())
        self.layers = {
            node.name: costs[node.name]
            for node in convolutions
            if node.op_type == "Conv"
            and nearest(node.name, below)
            and shapes.get(node.input[1], [0, 0])[1] >= LEAST_CHANNELS
        }
        self._kinds = {node.name: node.op_type for node in nodes}
        #: node between convolutions -> convolutions that must all be quantised for it to be
        self._between: dict[str, set[str]] = {}
        for node in nodes:
            over, under = nearest(node.name, above), nearest(node.name, below)
            if node.op_type in CONVOLUTIONS or not over or not under:
                continue
            # a rectifier becomes part of its convolution
            first = above[node.name][0]
            alone = node.op_type == "Relu" and first.op_type == "Conv"
            self._between[node.name] = {first.name} if alone else over | under

    def _calibrate(self, path: Path, feeds: Iterable[dict[str, np.ndarray]], more: Path) -> Any:
        """Return the range of every activation of the layers."""
        kinds = sorted({self._kinds[name] for name in (*self.layers, *self._between)})
        calibrator = create_calibrator(
            path,
            kinds,
            augmented_model_path=str(more),
            # whatever is cut off moves keypoints: they are the largest values
            calibrate_method=CalibrationMethod.MinMax,
        )
        for feed in feeds:  # one by one, because it keeps all activations of a call in memory
            calibrator.collect_data(_Reader(iter([feed])))
        return calibrator.compute_data()

    def for_cpu(self, layers: Collection[str], reduced_range: bool = False) -> bytes:
        """Return the graph with these layers in 8 bits, for CPUs.

        ``reduced_range``: weights of 7 bits, for processors without VNNI.
        """
        between = [name for name, of in self._between.items() if of <= set(layers)]
        return self._quantised([*layers, *between], reduced_range, QuantType.QUInt8, {})

    def for_tensorrt(self, layers: Collection[str]) -> bytes:
        """Return the graph with these convolutions in 8 bits, for TensorRT."""
        options = {
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "AddQDQPairToWeight": True,
            "OpTypesToExcludeOutputQuantization": ["Conv"],
        }
        model = onnx.load_from_string(
            self._quantised(list(layers), False, QuantType.QInt8, options)
        )
        _float_for_others(model, layers)
        data: bytes = model.SerializeToString()
        return data

    def _quantised(
        self, nodes: list[str], reduced_range: bool, activations: Any, options: dict[str, Any]
    ) -> bytes:
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        with _quiet():
            quantizer = QDQQuantizer(
                model,
                True,  # a scale for each channel of weights
                reduced_range,
                QuantType.QInt8,
                activations,
                self._ranges,
                nodes,
                [],
                sorted({self._kinds[name] for name in nodes}),
                options,
            )
            quantizer.quantize_model()
            quantizer.model.topological_sort()
        onnx.checker.check_model(quantizer.model.model)
        data: bytes = quantizer.model.model.SerializeToString()
        return data


def _float_for_others(model: onnx.ModelProto, layers: Collection[str]) -> None:
    """Give every node but these layers what stood before the Q/DQ pairs that they read."""
    nodes = model.graph.node
    before = {n.output[0]: n.input[0] for n in nodes if n.op_type == "QuantizeLinear"}
    exact = {
        n.output[0]: before[n.input[0]]
        for n in nodes
        if n.op_type == "DequantizeLinear" and n.input[0] in before
    }
    for node in nodes:
        if node.name not in layers:
            for place, name in enumerate(node.input):
                node.input[place] = exact.get(name, name)


def nearest(name: str, beside: dict[str, list[Any]]) -> set[str]:
    """Return the names of the nearest convolutions on one side of a node."""
    found, seen, rest = set(), set(), list(beside[name])
    while rest:
        node = rest.pop()
        if node.name in seen:
            continue
        seen.add(node.name)
        if node.op_type in CONVOLUTIONS:
            found.add(node.name)
        else:
            rest += beside[node.name]
    return found


class _Reader:
    """Feeds, as the tools want them."""

    def __init__(self, feeds: Iterator[dict[str, np.ndarray]]) -> None:
        self._feeds = feeds

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the tools print and warn of to themselves."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(level)
