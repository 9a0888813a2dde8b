"""Pictures in memory, ready to be warped into the network's input.

They are kept as uint8 in one tensor per source and size, with half their size beside it for views
from far away, so that a batch costs one gather and one warp.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from rtface.face import CROP
from rtface.types import Float32Array, UInt8Image


class Bank(NamedTuple):
    """Pictures of one source and one size, ready to be warped into the network's input.

    Attributes
    ----------
    images : Tensor (N, H, W) uint8
    small : Tensor (N, H // 2, W // 2) uint8
        The 2x2 means of ``images``.
    points : Tensor (N, K, 2) float32
        Keypoints in px of ``images``; NaN where not labelled.
    faces : Tensor (N, 3) float32
        x and y of the middle of the face and the length of its muzzle (``face_of``), px.
    weights : Tensor (N,) float32
        How often each is drawn, relative to the others.
    mirror : tuple of K int, or None
        The keypoint that each one becomes in a mirrored picture (``mirror_of``); empty: itself;
        None: pictures are never mirrored.
    turn : float
        Scales how far pictures are turned.
    """

    images: torch.Tensor
    small: torch.Tensor
    points: torch.Tensor
    faces: torch.Tensor
    weights: torch.Tensor
    mirror: tuple[int, ...] | None = ()
    turn: float = 1.0


def banks_by_size(
    pictures: Iterable[tuple[UInt8Image, Float32Array, Float32Array]], weights: Sequence[float]
) -> list[Bank]:
    """Keep pictures of any sizes: one bank per size and size of the face, as they first came.

    A picture whose muzzle is more than twice as long as the network's is halved, maybe repeatedly;
    those of one bank as often.

    Parameters
    ----------
    pictures : iterable of (ndarray (H, W) uint8, ndarray (K, 2), ndarray (3,))
        Each with its keypoints and its face (``face_of``), px.
    weights : sequence of float
        One per picture.
    """
    growing: dict[tuple[int, ...], _Growing] = {}
    for (image, xy, face), weight in zip(pictures, weights, strict=True):
        # a small face keeps its pixels, whatever the other pictures of its size show
        halvings = max(0, int(np.log2(face[2] / CROP.muzzle_px / 1.1)))
        alike = growing.setdefault((*image.shape, halvings), _Growing(halvings))
        alike.add(image, xy, face, weight)
    return [one.bank() for one in growing.values()]


def renamed(bank: Bank, names: Sequence[str], wanted: Sequence[str]) -> Bank:
    """Return a bank of keypoints ``names`` as one of ``wanted``; others are not labelled."""
    points = torch.full((len(bank.points), len(wanted), 2), torch.nan)
    for column, name in enumerate(wanted):
        if name in names:
            points[:, column] = bank.points[:, names.index(name)]
    return bank._replace(points=points)


class _Growing:
    """A bank while its pictures come, which are all halved so often."""

    def __init__(self, halvings: int) -> None:
        self._halvings = halvings
        self._images: list[UInt8Image] = []
        self._small: list[UInt8Image] = []
        self._points: list[Float32Array] = []
        self._faces: list[list[float]] = []
        self._weights: list[float] = []

    def add(self, image: UInt8Image, xy: Float32Array, face: Float32Array, weight: float) -> None:
        factor = 2**self._halvings
        self._images.append(_halved(image, self._halvings))
        self._small.append(_halved(self._images[-1], 1))
        self._points.append((xy + 0.5) / factor - 0.5)
        self._faces.append([*((face[:2] + 0.5) / factor - 0.5), face[2] / factor])
        self._weights.append(weight)

    def bank(self) -> Bank:
        return Bank(
            torch.from_numpy(np.stack(self._images)),
            torch.from_numpy(np.stack(self._small)),
            torch.from_numpy(np.stack(self._points).astype(np.float32)),
            torch.from_numpy(np.array(self._faces, np.float32)),
            torch.tensor(self._weights, dtype=torch.float32),
        )


def _halved(image: UInt8Image, times: int) -> UInt8Image:
    """Return the 2x2 means of a picture, so many times."""
    for _ in range(times):
        height, width = image.shape[0] & ~1, image.shape[1] & ~1
        four = image[:height, :width].reshape(height // 2, 2, width // 2, 2)
        image = (four.astype(np.uint16).sum((1, 3)) >> 2).astype(np.uint8)
    return image
