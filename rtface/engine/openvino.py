"""OpenVINO on the CPU: often the fastest there, and the one with BF16."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13

from rtface.engine.bundle import Bundle, NotHere
from rtface.types import Float32Array, UInt8Image, UserError

#: precision of a network -> what OpenVINO is told to compute in; it would choose BF16 by itself
_HINTS = {"fp32": "f32", "int8": "f32", "bf16": "bf16", "int8-bf16": "bf16"}


class OpenVinoEngine:
    """Runs a bundle in OpenVINO; belongs to one thread.

    Parameters
    ----------
    bundle : Bundle
    threads : int
    precision : str
        ``fp32``, ``bf16`` (only where the processor has it), ``int8`` (only what is quantised in
        the bundle's file; the rest of it is FP32) or ``int8-bf16`` (the rest is BF16).
    """

    def __init__(self, bundle: Bundle, threads: int = 1, precision: str = "fp32") -> None:
        self.names = bundle.names
        self.input_shape = bundle.input_shape
        path = bundle.file_of(precision)
        core = ov.Core()
        if _HINTS[precision] == "bf16" and "BF16" not in core.get_property(
            "CPU", "OPTIMIZATION_CAPABILITIES"
        ):
            raise NotHere(
                "engine.precision: this processor has no BF16 (avx512_bf16 or amx_bf16 of "
                "/proc/cpuinfo); set it to fp32"
            )
        try:
            model = core.read_model(path.read_bytes())
        except Exception as error:  # noqa: BLE001 - RuntimeError and others, as the file has it
            raise UserError(f"{path}: OpenVINO cannot load it ({_reason(error)})") from None
        found = [name for port in (*model.inputs, *model.outputs) for name in _names(port)]
        if set(found) != {"image", "scale", "shift", "keypoints"}:
            raise UserError(
                f"{path}: inputs and outputs are {found}, "
                "not image, scale, shift -> keypoints; export the bundle again"
            )
        if any(port.partial_shape.is_dynamic for port in model.inputs):
            shapes = [str(port.partial_shape) for port in model.inputs]
            raise UserError(
                f"{path}: inputs have open dimensions ({', '.join(shapes)}); export the bundle "
                "again with fixed ones"
            )
        hint = _HINTS[precision]
        parts = _parted(model) if hint == "bf16" and bundle.fp32_head else [model]
        hints = [hint, "f32"][: len(parts)]
        self._requests = [
            _compiled(core, part, part_hint, threads, path).create_infer_request()
            for part, part_hint in zip(parts, hints, strict=True)
        ]
        first, last = self._requests[0], self._requests[-1]
        # OpenVINO reads these arrays in place
        self._image = np.zeros(self.input_shape, bundle.input_dtype)
        self._scale, self._shift = np.zeros((), np.float32), np.zeros((), np.float32)
        feed = {"image": self._image, "scale": self._scale, "shift": self._shift}
        try:
            for name, array in feed.items():
                first.set_tensor(name, ov.Tensor(array, shared_memory=True))
            if last is not first:
                last.set_input_tensor(first.get_output_tensor())
            self._run()
        except Exception as error:  # noqa: BLE001 - as above
            raise UserError(
                f"{path}: does not run on a {self.input_shape} image ({_reason(error)})"
            ) from None
        self._keypoints = last.get_tensor("keypoints").data
        if self._keypoints.shape != (len(self.names), 3):
            raise UserError(
                f"{path}: gives keypoints of shape {self._keypoints.shape}, "
                f"but model.json names {len(self.names)}; export the bundle again"
            )

    def infer(self, image: UInt8Image, scale: float, shift: float) -> Float32Array:
        """Return (K, 3) float32 x, y (input px) and score; a new array each call."""
        np.copyto(self._image, image)
        self._scale[...] = scale
        self._shift[...] = shift
        self._run()
        keypoints: Float32Array = self._keypoints.copy()
        return keypoints

    def _run(self) -> None:
        for request in self._requests:
            request.infer()


def _compiled(core: ov.Core, model: ov.Model, hint: str, threads: int, path: Path) -> Any:
    """Return a model that computes as the hint says; UserError if OpenVINO will not."""
    try:
        compiled = core.compile_model(
            model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": hint,
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
                # a pinned thread waits for its core while others are free
                "ENABLE_CPU_PINNING": False,
                "CACHE_DIR": "",
            },
        )
    except Exception as error:  # noqa: BLE001 - RuntimeError and others
        raise UserError(f"{path}: OpenVINO cannot compile it ({_reason(error)})") from None
    if (got := compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()) != hint:
        raise UserError(f"{path}: OpenVINO computes in {got}, not {hint}; set another precision")
    return compiled


def _parted(model: ov.Model) -> list[ov.Model]:
    """Return a network before its last convolution, and from there on; whole where that cannot be.

    That one becomes a product of matrices, and pixels go from part to part with their channels
    together, as convolutions have them: OpenVINO takes as long to put them apart as to multiply.
    """
    parted = model.clone()
    convolutions = [op for op in parted.get_ordered_ops() if op.get_type_name() == "Convolution"]
    if not convolutions or not _is_product(convolutions[-1]):
        return [model]
    last = convolutions[-1]
    source, kernel = last.input_value(0), last.input_value(1)
    _, channels, height, width = source.get_shape()
    n, cells = kernel.get_shape()[0], height * width
    results, inputs = parted.get_results(), parted.get_parameters()
    body = opset13.reshape(opset13.transpose(source, [0, 2, 3, 1]), [cells, channels], False)
    features = opset13.parameter([cells, channels], np.float32)
    kernel = opset13.reshape(kernel, [n, channels], False)
    maps = opset13.matmul(kernel, features, False, True)
    maps = opset13.reshape(maps, [1, n, height, width], False)
    for user in last.output(0).get_target_inputs():
        user.replace_source_output(maps.output(0))
    try:
        return [ov.Model([opset13.result(body)], inputs), ov.Model(results, [features])]
    except RuntimeError:  # results hang on more than this convolution
        return [model]


def _is_product(convolution: ov.Node) -> bool:
    """Return whether a convolution of one picture does to each pixel the same by itself."""
    source, kernel = (convolution.input_value(i).get_partial_shape() for i in range(2))
    told = convolution.get_attributes()
    return bool(
        source.is_static
        and kernel.is_static
        and source.to_shape()[0] == 1
        and list(kernel.to_shape())[2:] == [1, 1]
        and set(told["strides"]) == {1}
        and not any([*told["pads_begin"], *told["pads_end"]])
    )


def _names(port: ov.Output) -> list[str]:
    known = {"image", "scale", "shift", "keypoints"} & set(port.get_names())
    return sorted(known) or sorted(port.get_names())[:1] or ["(no name)"]


def _reason(error: Exception) -> str:
    """Return the line that tells: those before it are places in OpenVINO's source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return (told or lines or [repr(error)])[0][:200]
