"""ONNX Runtime on the CPU: the embedded default."""

from __future__ import annotations

import re

import numpy as np
import onnxruntime as ort

from rtface.engine.bundle import Bundle
from rtface.types import Float32Array, UInt8Image, UserError


class OnnxEngine:
    """Runs a bundle in ONNX Runtime; belongs to one thread.

    One intra-op thread runs in the caller's thread: no pool and no hand-over. Spinning is off
    because it takes whole cores from the rest of the rig and makes p99 worse.

    Parameters
    ----------
    bundle : Bundle
    threads : int
    precision : str
        ``fp32``, or ``int8`` (what is quantised in the bundle's file; the rest of it is FP32).
    """

    def __init__(self, bundle: Bundle, threads: int = 1, precision: str = "fp32") -> None:
        self.names = bundle.names
        self.input_shape = bundle.input_shape
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        path = bundle.file_of(precision)
        try:
            self._session = ort.InferenceSession(
                path.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # noqa: BLE001 - ONNX Runtime raises a dozen private types
            raise UserError(f"{path}: {_why_not_loaded(error)}") from None
        found = [i.name for i in self._session.get_inputs()]
        found += [o.name for o in self._session.get_outputs()]
        if found != ["image", "scale", "shift", "keypoints"]:
            raise UserError(
                f"{path}: inputs and outputs are {found}, "
                "not image, scale, shift -> keypoints; export the bundle again"
            )
        shapes = {i.name: i.shape for i in self._session.get_inputs()}
        if any(not isinstance(n, int) for shape in shapes.values() for n in shape):
            told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise UserError(
                f"{path}: inputs have open dimensions ({told}); export the bundle again with "
                "fixed ones"
            )
        self._scale = np.zeros((), np.float32)
        self._shift = np.zeros((), np.float32)
        self._feed = {"image": np.zeros(0), "scale": self._scale, "shift": self._shift}
        try:
            keypoints = self.infer(np.zeros(self.input_shape, bundle.input_dtype), 1.0, 0.0)
        except Exception as error:  # noqa: BLE001 - as above
            raise UserError(
                f"{path}: does not run on a {self.input_shape} image ({_first_line(error)})"
            ) from None
        if keypoints.shape != (len(self.names), 3):
            raise UserError(
                f"{path}: gives keypoints of shape {keypoints.shape}, "
                f"but model.json names {len(self.names)}; export the bundle again"
            )

    def infer(self, image: UInt8Image, scale: float, shift: float) -> Float32Array:
        """Return (K, 3) float32 x, y (input px) and score; a new array each call."""
        self._scale[...] = scale
        self._shift[...] = shift
        self._feed["image"] = image
        keypoints: Float32Array = self._session.run(["keypoints"], self._feed)[0]
        return keypoints


def providers() -> list[str]:
    """Return what the installed ONNX Runtime could run on; ``OnnxEngine`` asks for the CPU."""
    return list(ort.get_available_providers())


def _why_not_loaded(error: Exception) -> str:
    """Return in one line why ONNX Runtime refused a file; too new a file is the common reason."""
    newer = re.search(r"Opset (\d+) is under|model IR version: (\d+)", str(error))
    if newer:
        what = f"opset {newer[1]}" if newer[1] else f"version {newer[2]} of ONNX files"
        return (
            f"uses {what}, which ONNX Runtime {ort.__version__} does not know; "
            "pip install -U onnxruntime, or export the bundle for opset 17"
        )
    return f"ONNX Runtime cannot load it ({_first_line(error)})"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else repr(error)
