"""Networks for tests: none of them knows anything, and each differs from what it starts from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from rtface.camera.film import Film
from rtface.train import data, export
from rtface.train.network import Network
from rtface.types import Float32Array, UInt8Image


def face(
    seed: int, height: int, width: int, facing: str | None = None, t_s: float = 5.0
) -> tuple[UInt8Image, Float32Array]:
    """A picture of a synthetic mouse and the keypoints that networks learn, hidden ones too."""
    film = Film(seed, width, height, facing)  # type: ignore[arg-type]
    state = film.face.snap(film.script.at(t_s))
    image = np.empty((height, width), np.uint8)
    film.draw(state, image)
    return image, film.face.points(state)[data._LEARNED]


def lively(seed: int, n_keypoints: int = len(data.KEYPOINTS), heads: float = 0.3) -> Network:
    """A network whose head and normalisations are random, so that no two parts are alike."""
    torch.manual_seed(seed)
    network = Network(n_keypoints)
    network.head.weight.data.normal_(0, heads)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.7, 1.4)
            module.bias.data.normal_(0, 0.1)
    return network.eval()


def write_start(folder: Path, names: Sequence[str] = data.KEYPOINTS, seed: int = 5) -> Path:
    """Write a bundle of the recipe that knows nothing."""
    network = lively(seed, len(names))
    export.write_bundle(network, folder, "start", {}, {}, names=names)
    return folder
