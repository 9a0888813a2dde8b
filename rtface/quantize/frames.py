"""What a network saw in recordings, and what it answered: what quantising is judged by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rtface.camera.video import Truncated, declared_frames, probe, read_frames
from rtface.engine import make_engine
from rtface.engine.bundle import Bundle
from rtface.facemap_pose import FacemapEstimator, facemap_estimator
from rtface.offline import look_ahead
from rtface.pose import PoseEstimator, finder_for
from rtface.types import Engine, Float32Array, UInt8Image, UserError

#: frames of a recording that are used, evenly over its length
MOST_FRAMES = 400
#: fewer than this say nothing about the worst of a hundred
LEAST_FRAMES = 20
#: a recording is cut into so many parts, which are used in turn to quantise and to judge
PARTS = 10


class Seen(NamedTuple):
    """What a network was given, and its own answers in FP32.

    Attributes
    ----------
    images : ndarray (N, H, W)
        Of the type of the network's input.
    scales, shifts : ndarray (N,) float32
    keypoints : ndarray (N, K, 3) float32
        x, y in px of the input, score.
    px : ndarray (N,) float32
        px of the full frame per px of the input.
    """

    images: np.ndarray
    scales: Float32Array
    shifts: Float32Array
    keypoints: Float32Array
    px: Float32Array

    def of(self, which: np.ndarray) -> Seen:
        """Return some of the frames."""
        return Seen(*(part[which] for part in self))

    def feeds(self) -> Iterator[dict[str, np.ndarray]]:
        """Yield what the graph takes, frame by frame."""
        for image, scale, shift in zip(self.images, self.scales, self.shifts, strict=True):
            yield {"image": image, "scale": np.array(scale), "shift": np.array(shift)}


class Shift(NamedTuple):
    """How far keypoints moved from where FP32 has them, px of the full frame.

    Attributes
    ----------
    p50, p99, max : float
        Of keypoints that FP32 is sure of.
    p99_all : float
        Of all; where a network is unsure, the least change makes another place its peak.
    keypoints : int
        How many were sure.
    frames : int
    """

    p50: float
    p99: float
    max: float
    p99_all: float
    keypoints: int
    frames: int


def shift_of(engine: Engine, seen: Seen, sure: float) -> Shift:
    """Run an engine on what was seen; scores above ``sure`` are believed."""
    found = [
        engine.infer(image, float(scale), float(shift))
        for image, scale, shift in zip(seen.images, seen.scales, seen.shifts, strict=True)
    ]
    moved = np.hypot(*np.moveaxis(np.array(found)[..., :2] - seen.keypoints[..., :2], -1, 0))
    moved = np.where(np.isfinite(moved), moved, np.inf) * seen.px[:, None]
    believed = moved[seen.keypoints[..., 2] > sure]
    if not believed.size:
        return Shift(0.0, 0.0, 0.0, float(np.percentile(moved, 99)), 0, len(moved))
    p50, p99 = np.percentile(believed, (50, 99))
    p99_all = float(np.percentile(moved, 99))
    most = float(believed.max())
    return Shift(float(p50), float(p99), most, p99_all, len(believed), len(moved))


def split(seen: Seen) -> tuple[Seen, Seen]:
    """Return what to quantise by and what to judge by: parts of the recording in turn.

    Neighbours in time look alike, so single frames in turn would judge by what was used.
    """
    part = np.arange(len(seen.images)) * PARTS // len(seen.images)
    return seen.of(part % 2 == 0), seen.of(part % 2 == 1)


def watch(
    bundle: Bundle,
    recordings: Mapping[str, Sequence[Path]],
    on_progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Seen]:
    """Track recordings as live, in FP32, and return what the network saw of each.

    Raises
    ------
    UserError
        A file cannot be read, or a recording has too few frames with a face.
    """
    network = _Noting(make_engine(bundle, "onnxruntime"))
    return {
        name: _watch(bundle, network, name, files, on_progress)
        for name, files in recordings.items()
    }


def _watch(
    bundle: Bundle,
    network: _Noting,
    name: str,
    files: Sequence[Path],
    on_progress: Callable[[str], None],
) -> Seen:
    declared = [declared_frames(path) for path in files]
    step = max(1, sum(n or 0 for n in declared) // MOST_FRAMES)
    estimators: dict[tuple[int, int, int], PoseEstimator | FacemapEstimator] = {}
    kept: list[tuple[np.ndarray, float, float, Float32Array, float]] = []
    looked_at, frame = 0, count()
    height, width = bundle.input_shape
    for path in files:
        info = probe(path)
        kind = info.height, info.width, info.bits
        if kind not in estimators:
            estimators[kind] = _estimator(bundle, network, *kind)
        estimator = estimators[kind]
        look_ahead(estimator, path, info.rate_hz)
        for image in _whole_frames(path):
            if next(frame) % step or len(kept) == MOST_FRAMES:
                continue
            pose = estimator(image, step)
            looked_at += 1
            if pose.face and pose.crop:
                px = max(pose.crop.width / width, pose.crop.height / height)
                kept.append((*network.last, px))
    on_progress(f"{name}: {len(kept)} frames with a face of {looked_at}")
    if len(kept) < LEAST_FRAMES:
        raise UserError(
            f"{name}: has {len(kept)} frames with a face of {looked_at} looked at, and quantising "
            f"needs {LEAST_FRAMES}; give a longer recording of your own mouse, as it is tracked"
        )
    images, scales, shifts, keypoints, px = zip(*kept, strict=True)
    numbers = (np.array(part, np.float32) for part in (scales, shifts, keypoints, px))
    return Seen(np.array(images), *numbers)


def _estimator(
    bundle: Bundle, engine: Engine, height: int, width: int, bits: int
) -> PoseEstimator | FacemapEstimator:
    shape = height, width
    if made := facemap_estimator(bundle.normalisation, engine, shape):
        return made
    return PoseEstimator(engine, shape, bits, finder=finder_for(bundle.crop, engine, shape))


def _whole_frames(path: Path) -> Iterator[np.ndarray]:
    """Yield the frames of a file up to where it broke off, if it did."""
    try:
        yield from read_frames(path)
    except Truncated:
        return


class _Noting:
    """An engine that remembers what it was given last, and what it answered."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.names, self.input_shape = engine.names, engine.input_shape
        self.last: tuple[np.ndarray, float, float, Float32Array]

    def infer(self, image: UInt8Image, scale: float, shift: float) -> Float32Array:
        """Return what the engine does."""
        keypoints = self._engine.infer(image, scale, shift)
        self.last = image.copy(), scale, shift, keypoints.copy()
        return keypoints
