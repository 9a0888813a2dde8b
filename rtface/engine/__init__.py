"""Networks in runtimes: one file per runtime, one function that makes the one asked for."""

from __future__ import annotations

from rtface.engine.bundle import Bundle
from rtface.types import Engine


def make_engine(bundle: Bundle, runtime: str, threads: int = 1) -> Engine:
    """Return an engine that runs ``bundle``; the runtime asked for, or an error.

    Raises
    ------
    UserError
        The runtime cannot start, or its keypoints differ from the bundle's reference.
    """
    if runtime == "null":
        from rtface.engine.null import NullEngine

        return NullEngine(bundle)
    from rtface.engine.onnx import OnnxEngine

    engine = OnnxEngine(bundle, threads)
    bundle.check(engine)
    return engine
