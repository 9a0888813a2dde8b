"""What networks say of labelled pictures, each picture by itself as if nothing came before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from rtface.engine import make_engine
from rtface.engine.bundle import Bundle
from rtface.pose import PoseEstimator, find_face, finder_for
from rtface.train.data import INPUT_SHAPE, Still, read_gray
from rtface.types import BBox, Engine, Float32Array, Pose, UInt8Image


class Finder:
    """Finds the face and its keypoints in pictures of any size.

    Parameters
    ----------
    bundle : Bundle
    """

    def __init__(self, bundle: Bundle) -> None:
        self._bundle, self._engine = bundle, make_engine(bundle, "onnxruntime")
        self._estimators: dict[tuple[int, ...], PoseEstimator] = {}

    def __call__(self, image: UInt8Image) -> Pose:
        """Return the pose of a still picture (H, W); its ``face`` says whether one was found."""
        shape = image.shape[0], image.shape[1]
        if shape not in self._estimators:
            finder = finder_for(self._bundle.crop, self._engine, shape)
            self._estimators[shape] = PoseEstimator(self._engine, shape, finder=finder)
        return find_face(self._estimators[shape], image)[0]


class Predicted(NamedTuple):
    """What a network says of N pictures, and what is true.

    Attributes
    ----------
    found : ndarray (N, K, 3) float32
        x, y in px of the picture, and the score.
    truth : ndarray (N, K, 2) float32
        NaN where not labelled.
    face : ndarray (N,) bool
        Whether a face was found.
    boxes : list of BBox
        Where it was found.
    groups : ndarray (N,) str
        Videos or animals.
    recordings : ndarray (N,) str
    """

    found: Float32Array
    truth: Float32Array
    face: np.ndarray
    boxes: list[BBox]
    groups: np.ndarray
    recordings: np.ndarray


def predict(bundle: Bundle, stills: Sequence[Still]) -> Predicted:
    """Return what a network says of pictures on disk."""
    finder = Finder(bundle)
    poses = [finder(read_gray(still.path)) for still in stills]
    return Predicted(
        np.stack([pose.keypoints for pose in poses]),
        np.stack([still.points for still in stills]),
        np.array([pose.face for pose in poses]),
        [pose.crop or BBox(0, 0, 1, 1) for pose in poses],
        np.array([still.group for still in stills]),
        np.array([still.recording for still in stills]),
    )


def joined(parts: Sequence[Predicted]) -> Predicted:
    """Return the predictions of several networks on different pictures as one."""
    found, truth, face, boxes, groups, recordings = zip(*parts, strict=True)
    return Predicted(
        np.concatenate(found),
        np.concatenate(truth),
        np.concatenate(face),
        [box for each in boxes for box in each],
        np.concatenate(groups),
        np.concatenate(recordings),
    )


class TorchEngine:
    """A network in torch where a runtime would be.

    Parameters
    ----------
    network : torch.nn.Module
    decode : callable
        Makes (1, K, 3 or more) keypoints of its maps; the third is the score, what follows is
        kept in ``rest``.
    names : tuple of str

    Attributes
    ----------
    rest : ndarray (K, more) float32
        Of the last picture.
    """

    input_shape = INPUT_SHAPE

    def __init__(
        self,
        network: nn.Module,
        decode: Callable[..., torch.Tensor],
        names: tuple[str, ...],
    ) -> None:
        self.names = names
        self._network, self._decode = network.eval(), decode
        self.rest: Float32Array = np.empty((len(names), 0), np.float32)

    @torch.no_grad()
    def infer(self, image: UInt8Image, scale: float, shift: float) -> Float32Array:
        """Return keypoints (K, 3) in px of the input."""
        seen = torch.from_numpy(image).float()[None, None] * scale + shift
        found = self._decode(self._network(seen))[0].numpy()
        self.rest = found[:, 3:]
        return np.ascontiguousarray(found[:, :3])


def through(engine: Engine, stills: Sequence[Still], boxes: Sequence[BBox]) -> Float32Array:
    """Return keypoints (N, K, 3) of pictures on disk, each seen through its box."""
    pairs = zip(stills, boxes, strict=True)
    return np.stack([_at(engine, read_gray(still.path), box) for still, box in pairs])


def peaks_and_spreads(
    engine: TorchEngine, stills: Sequence[Still], boxes: Sequence[BBox]
) -> tuple[Float32Array, Float32Array]:
    """Return the peaks and the spreads (input px), both (N, K), that scores are made of."""
    peaks, spreads = [], []
    for still, box in zip(stills, boxes, strict=True):
        peaks.append(_at(engine, read_gray(still.path), box)[:, 2])
        spreads.append(engine.rest[:, 0])
    return np.stack(peaks), np.stack(spreads)


def _at(engine: Engine, image: UInt8Image, box: BBox) -> Float32Array:
    shape = image.shape[0], image.shape[1]
    return PoseEstimator(engine, shape, bbox=box)(image).keypoints
