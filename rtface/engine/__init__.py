"""Networks in runtimes: one file per runtime, one function that makes the one asked for."""

from __future__ import annotations

from typing import Any, NamedTuple

from rtface.engine.bundle import Bundle, NotHere
from rtface.types import Engine, UserError

#: runtime -> precisions that it can have, the exact one first
RUNTIMES = {
    "onnxruntime": ("fp32", "int8"),
    "openvino": ("fp32", "bf16", "int8", "int8-bf16"),
    "tensorrt": ("fp32", "fp16", "int8"),
    "tensorrt_rtx": ("fp32", "fp16", "int8"),
}
#: those among which ``auto`` chooses
CPU_RUNTIMES = ("onnxruntime", "openvino")
_GET = {"onnxruntime": "onnxruntime", "openvino": "'rtface[openvino]'"}


class Started(NamedTuple):
    """An engine that runs, and what it is.

    Attributes
    ----------
    engine : Engine
    runtime : str
    precision : str
        Empty where there is no network.
    why : str
        Of ``auto``: what was measured and why the others were not taken; else empty.
    """

    engine: Engine
    runtime: str
    precision: str
    why: str = ""

    @property
    def label(self) -> str:
        """Runtime and precision in one word or two."""
        return f"{self.runtime} {self.precision}".strip()


def start_engine(
    bundle: Bundle,
    runtime: str,
    threads: int = 1,
    precision: str | None = None,
    gpu: int | None = None,
) -> Started:
    """Return an engine that runs ``bundle`` in the runtime asked for; never another.

    Parameters
    ----------
    bundle : Bundle
    runtime : str
        One of ``RUNTIMES``, ``null`` (no network), or ``auto``: the fastest of ``CPU_RUNTIMES``, by
        a measurement.
    threads : int
    precision : str, optional
        One of those of the runtime. By default ``fp32``; of ``auto`` whichever is fastest.
    gpu : int, optional
        Of TensorRT: which one, as nvidia-smi counts; the first that drives no display by default.

    Raises
    ------
    NotHere
        This machine or bundle lacks what was asked for.
    UserError
        There is no such runtime, or its keypoints differ from the bundle's reference.
    """
    if runtime == "null":
        from rtface.engine.null import NullEngine

        return Started(NullEngine(bundle), runtime, "")
    if runtime == "auto":
        from rtface.engine.auto import fastest

        return fastest(bundle, threads, precision)
    if runtime not in RUNTIMES:
        known = ", ".join((*RUNTIMES, "auto", "null"))
        raise UserError(f"engine.runtime: there is no '{runtime}'; use one of {known}")
    precision = precision or "fp32"
    if precision not in RUNTIMES[runtime]:
        known = ", ".join(RUNTIMES[runtime])
        raise UserError(f"engine.precision: {runtime} has no {precision}; it has {known}")
    try:
        engine = _make(bundle, runtime, threads, precision, gpu)
    except (ImportError, OSError) as error:
        get = f"; pip install {_GET[runtime]}" if runtime in _GET else ""
        raise NotHere(f"engine.runtime: {runtime} cannot be loaded ({_line(error)}){get}") from None
    bundle.check(engine)
    return Started(engine, runtime, precision)


def make_engine(
    bundle: Bundle, runtime: str, threads: int = 1, precision: str | None = None
) -> Engine:
    """Return the engine of ``start_engine`` alone."""
    return start_engine(bundle, runtime, threads, precision).engine


def _make(bundle: Bundle, runtime: str, threads: int, precision: str, gpu: int | None) -> Engine:
    if runtime == "onnxruntime":
        from rtface.engine.onnx import OnnxEngine

        return OnnxEngine(bundle, threads, precision)
    if runtime == "openvino":
        from rtface.engine.openvino import OpenVinoEngine

        return OpenVinoEngine(bundle, threads, precision)
    from rtface.engine.tensorrt import TensorRtEngine

    try:
        kind: Any = precision, runtime  # of RUNTIMES, as it was checked
        engine: Engine = TensorRtEngine(bundle, kind[0], kind[1], gpu)
    except UserError as error:  # no library, driver, GPU ...: the CPU runs the same bundle
        raise NotHere(f"engine.runtime: {runtime}: {error}") from None
    return engine


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
