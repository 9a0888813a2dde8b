"""An ONNX graph in half precision: its convolutions and what lies between them, nothing else.

TensorRT takes types from the graph. Pixels are normalised in float32, and the last convolution and
all that finds keypoints in its maps stay float32 too: a position in px needs more than 11 bits.
"""

from __future__ import annotations

import numpy as np

from rtface.types import UserError

try:
    from onnx import ModelProto, NodeProto, TensorProto, helper, load_from_string, numpy_helper
except ModuleNotFoundError:
    raise UserError(
        "engine.precision: fp16 engines are built with the package onnx, which is not here; "
        "pip install onnx, or set precision to fp32"
    ) from None

#: inputs of these that are data, by place; all others (scales, sizes, axes) keep their types
_DATA_INPUTS = {
    **dict.fromkeys(("Conv", "ConvTranspose", "Add", "Mul", "Sub", "Div"), slice(None)),
    **dict.fromkeys(("Concat", "Clip"), slice(None)),
    **dict.fromkeys(("Relu", "MaxPool", "AveragePool", "Resize", "Sigmoid"), slice(1)),
    **dict.fromkeys(("LeakyRelu", "Identity", "BatchNormalization"), slice(None)),
}


def to_half(model: bytes) -> bytes:
    """Return an ONNX file with float16 between its first convolution and its last.

    Parameters
    ----------
    model : bytes
        An ONNX file in float32.

    Raises
    ------
    UserError
        A weight is too large for float16 (65504).
    """
    proto = load_from_string(model)
    _Halving(proto).run()
    out: bytes = proto.SerializeToString()
    return out


class _Halving:
    """A graph on its way: which tensors are half, and the casts made so far."""

    def __init__(self, proto: ModelProto) -> None:
        self._graph = proto.graph
        self._made_by = {name: node for node in self._graph.node for name in node.output}
        self._constants = {one.name: one for one in self._graph.initializer}
        for node in self._graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self._constants[node.output[0]] = node.attribute[0].t
        self._nodes: list[NodeProto] = []
        self._half: set[str] = set()  # tensors that are float16 now
        self._casts: dict[str, str] = {}

    def run(self) -> None:
        """Rewrite the graph."""
        wanted = self._between_convolutions()
        for node in list(self._graph.node):
            if id(node) in wanted and node.op_type in _DATA_INPUTS:
                self._to_half(node)
            else:
                for place, name in enumerate(node.input):
                    if name in self._half:
                        node.input[place] = self._cast(name, TensorProto.FLOAT)
                self._nodes.append(node)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        del self._graph.value_info[:]  # tells types that are no longer so
        used = {name for node in self._nodes for name in node.input}
        kept = [one for one in self._graph.initializer if one.name in used]
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)

    def _between_convolutions(self) -> set[int]:
        """Return ids of nodes that come from a convolution, or are one, and lead to another."""
        leads: set[int] = set()
        pending = [node for node in self._graph.node if node.op_type == "Conv"]
        while pending:
            for name in pending.pop().input:
                if (maker := self._made_by.get(name)) is not None and id(maker) not in leads:
                    leads.add(id(maker))
                    pending.append(maker)
        comes: set[int] = set()
        names: set[str] = set()
        for node in self._graph.node:  # in the order in which they run
            if node.op_type == "Conv" or not names.isdisjoint(node.input):
                comes.add(id(node))
                names.update(node.output)
        return leads & comes

    def _to_half(self, node: NodeProto) -> None:
        data = range(len(node.input))[_DATA_INPUTS[node.op_type]]
        for place in data:
            if (name := node.input[place]) and name not in self._half:
                node.input[place] = self._cast(name, TensorProto.FLOAT16)
        self._half.update(node.output)
        self._nodes.append(node)

    def _cast(self, name: str, to: int) -> str:
        """Return the name of a tensor in another type: a constant at once, else a new node."""
        if name not in self._casts:
            self._casts[name] = f"{name}/{TensorProto.DataType.Name(to).lower()}"
            if name in self._constants:
                self._graph.initializer.append(self._constant(name, self._casts[name]))
            else:
                made = helper.make_node("Cast", [name], [self._casts[name]], to=to)
                made.name = self._casts[name]
                self._nodes.append(made)
        return self._casts[name]

    def _constant(self, name: str, new: str) -> TensorProto:
        value = numpy_helper.to_array(self._constants[name])
        with np.errstate(over="ignore"):
            half = value.astype(np.float16)
        if not np.isfinite(half).all():
            raise UserError(f"model.onnx: {name}: has weights beyond 65504; set precision to fp32")
        return numpy_helper.from_array(half, new)
