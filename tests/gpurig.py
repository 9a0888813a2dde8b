"""A machine with a GPU and TensorRT, both fake, for tests of the TensorRT engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakecuda import FakeDriver
from faketensorrt import FakeTensorRt

from rtface.engine import builder
from rtface.engine.bundle import Bundle
from rtface.engine.onnx import OnnxEngine
from rtface.engine.tensorrt import TensorRtEngine
from rtface.types import UserError


class Rig:
    """A machine with a GPU and TensorRT, both fake, and a folder for engines."""

    def __init__(self, folder: Path, flavour: builder.Flavour = "tensorrt") -> None:
        self.driver = FakeDriver()
        self.trt = FakeTensorRt(
            self.driver, flavour, "1.7.1.116" if flavour == "tensorrt_rtx" else "10.13.3.9"
        )
        self.folder = folder

    def engine(self, bundle: Bundle, **options: Any) -> TensorRtEngine:
        options = {"precision": "fp32", "build": True, **options}
        return TensorRtEngine(
            bundle,
            flavour=self.trt.flavour,
            folder=self.folder,
            library=self.trt.library,
            functions=self.driver,
            **options,
        )


def frames(bundle: Bundle, n: int = 5) -> list[tuple[np.ndarray, float, float]]:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (n, *bundle.input_shape)).astype(bundle.input_dtype)
    # each darker than the last, so that a result of the frame before is another
    return [(image // (i + 1), 0.01 * (i + 1), 0.3 - i) for i, image in enumerate(images)]


def same_as_onnx(engine: TensorRtEngine, bundle: Bundle) -> bool:
    reference = OnnxEngine(bundle)
    return all(np.array_equal(engine.infer(*one), reference.infer(*one)) for one in frames(bundle))


def one_line(error: pytest.ExceptionInfo[UserError], *parts: str) -> None:
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
