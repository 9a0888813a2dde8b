"""Speed and shift of a network in every runtime and precision that this machine can start."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from rtface.camera.film import Film
from rtface.engine import RUNTIMES, Started, start_engine
from rtface.engine.bundle import Bundle
from rtface.facemap_pose import FacemapEstimator, facemap_estimator
from rtface.pose import PoseEstimator, finder_for
from rtface.types import Engine, UInt8Image, UserError

#: the frame that all times are of: (height, width), px
FRAME_SHAPE = (480, 640)
#: which synthetic mouse is on it
SEED = 11


class Row(NamedTuple):
    """A runtime with a precision: its times, or why there are none.

    Attributes
    ----------
    runtime, precision : str
    network_ms, whole_ms : (float, float)
        p50 and p99 of the network alone, and of the whole way from a frame of 640x480 px to
        keypoints in its pixels.
    shift_px : float
        Largest shift of a sure keypoint of the reference frames from FP32, px of the input.
    fault : str
        Why it did not start; the rest is 0 then.
    """

    runtime: str
    precision: str
    network_ms: tuple[float, float] = (0.0, 0.0)
    whole_ms: tuple[float, float] = (0.0, 0.0)
    shift_px: float = 0.0
    fault: str = ""


def bench(bundle: Bundle, threads: int = 1, seconds: float = 1.0) -> Iterator[Row]:
    """Yield a row for every runtime and precision, as it is measured.

    ``seconds`` is how long each of the two is timed, s.
    """
    frame = synthetic_frame()
    for runtime, precisions in RUNTIMES.items():
        for precision in precisions:
            try:
                started = start_engine(bundle, runtime, threads, precision)
            except UserError as error:
                yield Row(runtime, precision, fault=str(error))
                continue
            yield measure(bundle, started, frame, seconds)


def measure(bundle: Bundle, started: Started, frame: UInt8Image, seconds: float) -> Row:
    """Return the row of an engine that runs."""
    engine = started.engine
    image, scale, shift, _ = (part[0] for part in bundle.reference())
    scale, shift = float(scale), float(shift)
    estimator = estimator_of(bundle, engine)
    return Row(
        started.runtime,
        started.precision,
        _times_ms(lambda: engine.infer(image, scale, shift), seconds),
        _times_ms(lambda: estimator(frame), seconds),
        bundle.shift_px(engine),
    )


def estimator_of(bundle: Bundle, engine: Engine) -> PoseEstimator | FacemapEstimator:
    """Return what takes frames of ``FRAME_SHAPE``, finding the face as live."""
    if made := facemap_estimator(bundle.normalisation, engine, FRAME_SHAPE):
        return made
    finder = finder_for(bundle.crop, engine, FRAME_SHAPE)
    return PoseEstimator(engine, FRAME_SHAPE, finder=finder)


def synthetic_frame() -> UInt8Image:
    """Return a frame (480, 640) of a synthetic mouse."""
    height, width = FRAME_SHAPE
    film = Film(SEED, width, height)
    image = np.empty(FRAME_SHAPE, np.uint8)
    film.draw(film.face.snap(film.script.at(0.0)), image)
    return image


def _times_ms(call: Callable[[], object], seconds: float) -> tuple[float, float]:
    """Return p50 and p99 of a call in a loop, ms; the first are not counted."""
    for _ in range(20):
        call()
    took: list[float] = []
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end or not took:
        call()
        took.append(time.perf_counter() - start)
    p50, p99 = np.percentile(took, (50, 99)) * 1e3
    return float(p50), float(p99)
